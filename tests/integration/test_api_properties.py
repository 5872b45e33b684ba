"""Every route, asked with what schemathesis makes of its description: no 5xx, no breach of a schema."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import hypothesis
import pytest
import schemathesis
from live import Live, live_server
from schemathesis.specs.openapi.checks import positive_data_acceptance  # no schema says "not blank", "names differ"
from tiny_decoder import write_tiny_decoder
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.pack import TaskEntry
from umbel.retrieval import Document, Index
from umbel.server.app import described

EXAMPLES = 25  # for each route
BROKEN = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much]
DESCRIBED = described()
SCHEMA = schemathesis.openapi.from_dict(DESCRIBED)
ROUTES = [f"{method.upper()} {path}" for path, methods in DESCRIBED["paths"].items() for method in methods]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        hate = TaskEntry(kind="text-classification", labels=("neither", "hate"))
        backbone, entries = write_tiny_backbone(folder / "backbone"), {"hate": hate}
        decoders = ["--decoder", write_tiny_decoder(folder / "tiny.gguf")] if find_spec("xllamacpp") else []
        write_tiny_pack(folder / "base", backbone, branches=True, **entries)
        with Index.create(folder / "docs.index", umbel.load(folder / "base"), tokens=32) as index:
            index.add([Document("good to Paris", "a")])
        arguments = ["base=base", "--index", "docs=docs.index", "--workers", "0", "--threads", "1", *decoders]
        with live_server(folder, *arguments) as found:
            yield found


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_keeps_its_word(live: Live, route: str) -> None:
    method, path = route.split()

    @hypothesis.given(case=SCHEMA[path][method].as_strategy())
    @hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=BROKEN, derandomize=True)
    def asked(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=live.url, timeout=60, excluded_checks=[positive_data_acceptance])

    asked()

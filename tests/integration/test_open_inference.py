"""The Open Inference Protocol's routes of health and metadata against a live server, by the protocol's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from live import Live, live_server
from tiny_pack import write_tiny_backbone, write_tiny_pack

import umbel
from umbel.server.keys import add_key

TYPES = {  # of the fields of its response objects, all that it requires
    "/v2": {"name": str, "version": str, "extensions": list},
    "/v2/health/live": {"live": bool},
    "/v2/health/ready": {"ready": bool},
    "/v2/models/one": {"name": str, "versions": list, "platform": str, "inputs": list, "outputs": list},
    "/v2/models/one/ready": {"name": str, "ready": bool},
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("oip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UMBEL_CACHE", str(folder / "cache"))
        write_tiny_pack(folder / "one", write_tiny_backbone(folder / "backbone"), "0.3.0")
        key = add_key(folder / "keys.json", "cluster")
        with live_server(folder, "one=one", "--workers", "0", "--threads", "1", "--keys", "keys.json") as found:
            found.key = {"authorization": f"Bearer {key}"}  # type: ignore[attr-defined]
            yield found


def get(live: Live, path: str) -> Any:
    return live.get(path, headers=live.key)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", TYPES)
def test_responses_have_the_protocols_fields(live: Live, path: str) -> None:
    response = get(live, path)
    assert response.status_code == 200
    assert {name: type(value) for name, value in response.json().items()} == TYPES[path]


def test_what_is_served_is_told(live: Live) -> None:
    assert get(live, "/v2").json() == {"name": "umbel", "version": umbel.__version__, "extensions": []}
    assert get(live, "/v2/models/one").json()["versions"] == ["0.3.0"]
    assert get(live, "/v2/models/one/versions/0.3.0/ready").json() == {"name": "one", "ready": True}


def test_health_needs_no_key_and_the_rest_does(live: Live) -> None:
    assert live.get("/v2/health/live").json() == {"live": True}
    assert live.get("/v2/health/ready").json() == {"ready": True}
    response = live.get("/v2/models/one")
    assert (response.status_code, list(response.json())) == (401, ["error"])


@pytest.mark.parametrize("path", ["/v2/models/two", "/v2/models/two/ready", "/v2/models/one/versions/9"])
def test_errors_are_in_its_form(live: Live, path: str) -> None:
    response = get(live, path)
    assert response.status_code == 404
    assert isinstance(response.json()["error"], str)

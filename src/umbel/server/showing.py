"""What is known of a pack that is served, beside its answers: its report, and its flow for who draws it."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from umbel.errors import NotFoundError
from umbel.flow import read_flow
from umbel.flow_drawing import plain_drawing
from umbel.pack import Pack, read_pack
from umbel.report import report_of
from umbel.server.native import PackName
from umbel.server.protocols import Protocol
from umbel.server.routing import Answer, router
from umbel.server.service import Service

logger = logging.getLogger(__name__)

REPORT = "report.json"


class ReportAnswer(BaseModel):
    """A pack's report, as `umbel report` writes it to `report.json`."""

    model_config = ConfigDict(extra="allow")

    pack: str
    version: str
    measured: bool = Field(description="Whether scores were measured for the report, or are the manifest's.")
    tasks: dict[str, Any]
    advice: list[dict[str, str]] = Field(description="What to do next, in sentences by language.")


class AfterShown(BaseModel):
    """What a step comes after."""

    step: str = Field(description="A step, or `message`.")
    needed: bool = Field(description="False where the step can do without.")
    condition: bool = Field(description="Whether the step's condition asks it.")


class StepShown(BaseModel):
    """A step of a flow."""

    name: str
    action: str = Field(description="What it does: `tasks`, `ask`, `search`, `reply`, `write`.")
    answers: list[str]
    when: str | None = Field(description="The condition on which it runs.")
    timeout: float | None = Field(description="Seconds it may take.")
    fallback: bool = Field(description="Whether something stands in where it fails.")
    after: list[AfterShown]


class FlowShown(BaseModel):
    """A flow: its steps in the order they run."""

    name: str
    description: str
    steps: list[StepShown]


def protocol(service: Service) -> Protocol:
    """Return the routes that show what is known of a pack."""
    routes = router()
    drawings: dict[str, dict[str, Any]] = {}  # by the pack's key; to check a flow may take a second

    @routes.get("/v1/packs/{name}/report", response_model=ReportAnswer, tags=["packs"])
    async def report(name: PackName) -> Response:
        """Show a pack's report: the one that lies in its folder as `report.json`, else what its manifest says."""
        return Answer(await asyncio.to_thread(report_in, service.pack(name).folder))

    @routes.get("/v1/packs/{name}/flow", response_model=FlowShown, tags=["packs"])
    async def flow(name: PackName) -> Response:
        """Show the flow that a pack declares: its steps, what each comes after, and on what condition."""
        found = service.pack(name)
        if found.manifest.flow is None:
            raise NotFoundError(f"pack {found.name} declares no flow", "see docs/how-to/declare-a-flow.md")
        if found.key not in drawings:
            for gone in drawings.keys() - {each.key for each in service.packs.values()}:
                del drawings[gone]
            spec, _, _ = await asyncio.to_thread(read_flow, found.folder)
            drawings[found.key] = plain_drawing(spec)
        return Answer(drawings[found.key])

    return Protocol(routes)


def report_in(folder: Path) -> dict[str, Any]:
    """Return the report of the pack in a folder; one that was written there is shown if it is of this very version."""
    pack = read_pack(folder)
    return _written(pack) or report_of(pack)


def _written(pack: Pack) -> dict[str, Any] | None:
    try:
        found = json.loads((pack.folder / REPORT).read_text(encoding="utf-8"))
        named = (found["pack"], found["version"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read: %s", pack.folder / REPORT, error)
        return None
    return found if named == (pack.manifest.name, pack.manifest.version) else None

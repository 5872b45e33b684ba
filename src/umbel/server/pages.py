"""The studio: a web page in the browser that talks to the native routes. Files as they are, no build step.

Its rules for browsers allow nothing but what this server gives, so it works without a network. Pages need no key; what
they ask of the native routes does.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import Response
from starlette.responses import FileResponse, RedirectResponse

from umbel.errors import NotFoundError
from umbel.server.protocols import Protocol
from umbel.server.routing import router
from umbel.server.service import Service

FOLDER = Path(__file__).parent / "studio"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",  # not from the machine's own table, which may say anything
    ".svg": "image/svg+xml",
}
POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"


def protocol(service: Service) -> Protocol:
    """Return the routes of the pages, which stay out of the description of the API."""
    routes = router(include_in_schema=False)

    @routes.get("/")
    @routes.get("/studio")
    async def start() -> Response:
        """Lead to the studio."""
        return RedirectResponse("/studio/")

    @routes.get("/studio/{path:path}")
    async def page(path: str) -> Response:
        """Return one file of the studio."""
        file = FOLDER / (path or INDEX)
        if file not in FOLDER.iterdir():  # what lies elsewhere, by whatever way, is none of them
            raise NotFoundError("there is no such page", "the studio is at /studio/")
        headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
        return FileResponse(file, media_type=TYPES[file.suffix], headers=headers)

    return Protocol(routes, public=("/", "/studio"))

"""Writes docs/reference/http.md from the server's own description; with --check, tells whether it is up to date.

    python scripts/http_reference.py [--check]

What it says stands in `umbel.server`: routes, bodies and their fields, and the names of metrics.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from umbel.server.app import described
from umbel.server.metrics import Metrics
from umbel.server.routing import REASONS

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "http.md"
HEAD = """\
# HTTP

Made by `python scripts/http_reference.py`; do not edit.

Bodies are JSON in UTF-8, sent with `content-type: application/json`. The server describes itself at `/openapi.json`.
Where it has keys, a request brings one as `authorization: Bearer KEY`. Every answer has an `x-request-id`, the
request's own if it had one.

Errors of native routes are `{"error": {"code", "message", "hint", "field", "retry", "request_id"}}`; other protocols
have their own form.
"""
JSON_TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def page() -> str:
    """Return the page."""
    found = described()
    schemas = found["components"]["schemas"]
    parts = [HEAD.rstrip(), "| status | when |\n|---|---|\n" + "\n".join(f"| {s} | {r} |" for s, r in REASONS.items())]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            parts += _route(method.upper(), path, operation, schemas)
    parts += ["## Metrics", "Shown at `/metrics`, in the text format of Prometheus.", _metrics()]
    return "\n\n".join(parts) + "\n"


def _route(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{method} {path}`"
    yield " ".join(operation["description"].split())
    given = [f"- `{each['name']}` ({each['in']})" for each in operation.get("parameters", ())]
    if given:
        yield "\n".join(given)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        schema = _resolved(body, schemas)
        yield "Takes:"
        yield _fields(schema, schemas)
        for example in schema.get("examples", ()):
            yield f"```json\n{json.dumps(example, ensure_ascii=False, indent=1)}\n```"
    answer = operation["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema")
    if answer:
        yield "Gives:"
        yield _fields(_resolved(answer, schemas), schemas) or f"- {_type(answer, schemas)}"


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    lines = []
    for name, field in schema.get("properties", {}).items():
        default = "" if name in required or field.get("default") in (None, "") else f" Default: `{field['default']}`."
        need = "" if name in required else ", optional"
        about = f": {field['description']}" if field.get("description") else ""
        lines.append(f"- `{name}` ({_type(field, schemas)}{need}){about}{default}")
    return "\n".join(lines)


def _type(field: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """Return a field's type in words, with the fields of what it refers to."""
    if "$ref" in field:
        schema = _resolved(field, schemas)
        return "{" + ", ".join(schema.get("properties", {})) + "}"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    several = field.get("anyOf") or field.get("oneOf")
    if several:
        return " or ".join(dict.fromkeys(_type(each, schemas) for each in several if each.get("type") != "null"))
    if field.get("type") == "array":
        most = f", at most {field['maxItems']}" if "maxItems" in field else ""
        return f"list of {_type(field.get('items', {}), schemas)}{most}"
    if field.get("type") == "object":
        return "object"
    return JSON_TYPES.get(field.get("type", ""), "any")


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def _metrics() -> str:
    lines = ["| name | kind | what |", "|---|---|---|"]
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        lines.append(f"| `{name}` | {family.type} | {family.documentation} |")
    return "\n".join(lines)


def main() -> None:
    """Write the page or check it."""
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        sys.exit(f"{PAGE.name} is out of date: run python scripts/http_reference.py")


if __name__ == "__main__":
    main()

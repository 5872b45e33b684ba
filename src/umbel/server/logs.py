"""The log: one line for each request and event, for people or as JSON, without the words of texts unless asked for."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.server.guard import Seen

logger = logging.getLogger("umbel.requests")

QUIET = ("/health", "/ready", "/metrics")  # asked every few seconds by machines


class RequestLog:
    """Writes a line for each request that ended; `texts` adds the body."""

    def __init__(self, texts: bool = False) -> None:
        self._texts = texts

    def request(self, seen: Seen, route: str, seconds: float) -> None:
        """Log a request."""
        level = logging.DEBUG if route in QUIET and seen.status < 400 else logging.INFO
        if not logger.isEnabledFor(level):
            return
        fields = {
            "request_id": seen.id,
            "key": seen.caller.name,
            "method": seen.method,
            "route": route or "none",
            "status": seen.status,
            "milliseconds": round(1000 * seconds, 2),
            "received": seen.received,
            "sent": seen.sent,
        }
        if self._texts:
            fields["body"] = seen.body.decode("utf-8", "backslashreplace")
        shown = " ".join(f"{name}={value}" for name, value in fields.items() if value != "")
        logger.log(level, "%s", shown, extra={"fields": fields})


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "level": record.levelname.lower(), "logger": record.name}
        line |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(log_format: str, level: int = logging.INFO) -> None:
    """Send the log to standard error, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if log_format == "json" else plain)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("umbel").setLevel(level)

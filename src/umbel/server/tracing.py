"""OpenTelemetry traces: a span for each request (FastAPI's own), for its time with the service, and for each batch.

Needs the extra `trace`. Where spans go is said by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, ...).
No span holds the words of a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from umbel.errors import MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

QUIET = ("/health", "/ready", "/metrics")


class Tracing:
    """Makes spans and sends them.

    Raises:
        MissingExtraError: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise MissingExtraError("opentelemetry-sdk", "trace") from error
        self.provider: TracerProvider = TracerProvider(resource=Resource.create({"service.name": "umbel"}))
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self.provider.get_tracer("umbel")

    def span(self, name: str, attributes: Mapping[str, Any], root: bool = False) -> AbstractContextManager[Any]:
        """Return a span to be in: under the current one, or, for what several share, under none."""
        from opentelemetry.context import Context

        return self._tracer.start_as_current_span(name, Context() if root else None, attributes=dict(attributes))

    def telemetry(self) -> dict[str, Any]:
        """Return what FastAPI is told: to trace requests, and nothing that would hold their words."""
        return OFF | {
            "tracing": True,
            "tracer_provider": self.provider,
            "exclude": lambda scope: scope.get("path") in QUIET,
        }

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


OFF: dict[str, Any] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}

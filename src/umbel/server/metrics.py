"""What the server did, for Prometheus, at /metrics; every name is described there and in docs/reference/http.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fastapi import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from umbel.server.protocols import Protocol
from umbel.server.routing import router

if TYPE_CHECKING:
    from umbel.host import Spent
    from umbel.server.guard import Seen
    from umbel.server.service import Service

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
STAGES = ("tokenising", "encoding", "heads", "branches")
GAUGES: dict[str, tuple[str, Callable[[Service], float]]] = {
    "umbel_queue_jobs": ("Jobs that wait.", lambda service: service.scheduler.waiting),
    "umbel_queue_tokens": ("Tokens of work that wait.", lambda service: service.scheduler.waiting_work),
    "umbel_batches_running": ("Batches at work.", lambda service: service.scheduler.running),
    "umbel_writing_jobs": ("Texts that wait to be written.", lambda service: service.generating.scheduler.waiting),
    "umbel_writing_running": ("Texts being written.", lambda service: service.generating.scheduler.running),
    "umbel_packs": ("Packs that are served.", lambda service: len(service.packs)),
    "umbel_worker_restarts": ("Workers that died and were started again.", lambda service: service.crew.restarts),
}


class Metrics:
    """Counts in a registry of its own, so that servers in one process do not share theirs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, labels, registry=self.registry)

        def histogram(name: str, about: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(name, about, labels, registry=self.registry, buckets=buckets)

        said = "Requests answered, by route, method and status."
        self._requests = counter("umbel_requests", said, "route", "method", "status")
        said = "Seconds from a request's head to its answer's end."
        self._seconds = histogram("umbel_request_seconds", said, SECONDS, "route")
        self._waited = histogram("umbel_queue_seconds", "Seconds a job waited.", SECONDS)
        self._jobs = histogram("umbel_batch_jobs", "Jobs of a batch.", SIZES)
        self._work = histogram("umbel_batch_tokens", "Tokens of work of a batch.", [16 * size for size in SIZES])
        self._rejected = counter("umbel_rejections", "Calls that were not admitted, by reason.", "reason")
        self._encodings = counter("umbel_encodings", "Texts that were encoded.", "pack")
        self._tasks = counter("umbel_tasks", "Tasks that were answered.", "pack")
        self._questions = counter("umbel_questions", "Questions that were answered.", "pack")
        said = "Tasks and questions for each text encoded, by batch."
        self._shared = histogram("umbel_tasks_per_encoding", said, SIZES)
        self._hits = counter("umbel_cache_hits", "Encodings that were found kept.", "pack")
        self._stages = counter("umbel_stage_seconds", "Seconds of work, by stage.", "stage")
        self._texts = counter(
            "umbel_texts", "Texts that were written, by decoder and how they ended.", "decoder", "finish"
        )
        self._written = counter("umbel_written_tokens", "Tokens that were written.", "decoder")
        self._first = histogram("umbel_first_token_seconds", "Seconds until a text's first token.", SECONDS, "decoder")

        for name, (about, _) in GAUGES.items():
            self._gauges[name] = Gauge(name, about, registry=self.registry)

    def watch(self, service: Service) -> None:
        """Show the state of a service's queue and workers."""
        for name, (_, value) in GAUGES.items():
            self._gauges[name].set_function(partial(value, service))

    def request(self, seen: Seen, route: str, seconds: float) -> None:
        """Count a request that ended."""
        route = route or "none"  # not the path: anyone may make those up
        self._requests.labels(route, seen.method if route != "none" else "any", seen.status).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, jobs: int, work: int, waited: Sequence[float]) -> None:
        """Count a batch that starts."""
        self._jobs.observe(jobs)
        self._work.observe(work)
        for seconds in waited:
            self._waited.observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count a call that was not admitted."""
        self._rejected.labels(reason).inc()

    def wrote(self, decoder: str, finish: str, tokens: int, first_seconds: float) -> None:
        """Count a text that was written."""
        self._texts.labels(decoder, finish).inc()
        self._written.labels(decoder).inc(tokens)
        self._first.labels(decoder).observe(first_seconds)

    def spent(self, pack: str, spent: Spent, texts: int) -> None:
        """Count what answering a batch took."""
        self._encodings.labels(pack).inc(spent.encodings)
        self._tasks.labels(pack).inc(spent.tasks)
        self._questions.labels(pack).inc(spent.questions)
        self._hits.labels(pack).inc(spent.cache_hits)
        if spent.encodings:
            self._shared.observe((spent.tasks + spent.questions) / spent.encodings)
        for stage in STAGES:
            self._stages.labels(stage).inc(getattr(spent, f"seconds_{stage}"))


def protocol(service: Service) -> Protocol:
    """Return the route that Prometheus reads, if the service is metered for it."""
    routes = router()
    meter = service.meter
    if isinstance(meter, Metrics):

        @routes.get("/metrics", tags=["health"], response_class=Response)
        async def metrics() -> Response:
            """Show what the server did, in the text format of Prometheus."""
            return Response(generate_latest(meter.registry), media_type=CONTENT_TYPE_LATEST)

    return Protocol(routes)

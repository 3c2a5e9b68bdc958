"""Metrics for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.generation import Finished

__all__ = ["Metrics", "RequestMetrics"]

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics(Collector):
    """What a server counts, in a registry of its own.

    Args:
        engines: By the name of their model.
        replica: Which of several servers this is: a label of all metrics. None for the only one.
    """

    def __init__(self, engines: Mapping[str, Engine], replica: str | None = None) -> None:
        self._replica = replica
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "modrwkv_requests", "Requests by route and status.", ("route", "status"), registry=self._registry
        )
        self._first_token = Histogram(
            "modrwkv_first_token_seconds",
            "Seconds from a request to the first token of its answer.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._finished = Counter(
            "modrwkv_answers", "Answers by the reason why they ended.", ("model", "reason"), registry=self._registry
        )
        self._tokens = Counter(
            "modrwkv_tokens",
            "Tokens of prompts, of these the cached ones, and of completions.",
            ("model", "kind"),
            registry=self._registry,
        )
        self._registry.register(_Engines(engines))

    def request(self, route: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()

    def first_token(self, model: str, seconds: float) -> None:
        """Take the time to a first token."""
        self._first_token.labels(model).observe(seconds)

    def finished(self, model: str, finished: Finished) -> None:
        """Count an answer."""
        self._finished.labels(model, finished.reason).inc()
        usage = finished.usage
        for kind, tokens in (
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            ("completion", usage.completion_tokens),
        ):
            self._tokens.labels(model, kind).inc(tokens)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self)

    def collect(self) -> Iterable[Metric]:
        """Return all metrics as Prometheus' library has them."""
        for metric in self._registry.collect():
            if self._replica is not None:
                metric.samples = [
                    sample._replace(labels={**sample.labels, "replica": self._replica}) for sample in metric.samples
                ]
            yield metric


class _Engines(Collector):
    """Reads the engines when Prometheus asks."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines

    def collect(self) -> Iterable[Metric]:
        """Return the state of each engine."""
        running = GaugeMetricFamily("modrwkv_running", "Answers that are being written.", labels=("model",))
        waiting = GaugeMetricFamily("modrwkv_waiting", "Requests in the queue.", labels=("model",))
        free = GaugeMetricFamily("modrwkv_free_slots", "Slots for answers that are free.", labels=("model",))
        prefix = CounterMetricFamily("modrwkv_prefix_cache", "Look-ups of prompts.", labels=("model", "result"))
        for name, engine in self._engines.items():
            stats = engine.stats()
            running.add_metric((name,), stats.running)
            waiting.add_metric((name,), stats.waiting)
            free.add_metric((name,), stats.free_slots)
            prefix.add_metric((name, "hit"), stats.prefix_hits)
            prefix.add_metric((name, "miss"), stats.prefix_misses)
        return (running, waiting, free, prefix)


class RequestMetrics:
    """Middleware that counts requests by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and look at its status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def noticed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        finally:
            # Only paths of routes are labels: clients must not be able to make new ones.
            route = scope.get("route")
            self._metrics.request(getattr(route, "path", "other"), status)

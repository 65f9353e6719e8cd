"""What Prometheus reads at /metrics."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from inference.text.latency import BOUNDS, TokenGaps
from serving.loaded import Loaded

if TYPE_CHECKING:
    from inference.text.request import Request

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
disable_created_metrics()


class Metrics:
    """Counts requests, tokens and how long they take; all methods belong to one thread.

    Labels are routes, statuses and names of models in the folder, so their number is bounded.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self._registry = CollectorRegistry()
        common = {"namespace": "gpu_learning", "registry": self._registry}
        self._requests = Counter(
            "requests", "Answers by route and status.", ("method", "route", "status"), **common
        )
        self._tokens = Counter(
            "tokens",
            "Tokens of prompts, those of them that a cache had already, and generated ones.",
            ("model", "kind"),
            **common,
        )
        self._first = Histogram(
            "first_token_seconds",
            "From the queue to the first token.",
            ("model",),
            buckets=_BOUNDS,
            **common,
        )
        self._queue = Histogram(
            "queue_seconds", "From the queue to a slot.", ("model",), buckets=_BOUNDS, **common
        )
        self._gaps = _Gaps("gpu_learning_inter_token_seconds")
        self._registry.register(self._gaps)
        in_flight = Gauge("in_flight", "Requests that are being answered.", **common)
        in_flight.set_function(lambda: self.in_flight)
        self._loaded = Gauge("loaded_models", "Models in memory.", **common)
        self._slots = Gauge("slots", "Requests that can run at once.", ("model",), **common)
        self._active = Gauge("active_requests", "Requests with a slot.", ("model",), **common)
        self._waiting = Gauge("waiting_requests", "Requests without one.", ("model",), **common)

    def request(self, method: str, route: str, status: int) -> None:
        self._requests.labels(method, route, status).inc()

    def first_token(self, model: str, request: Request) -> None:
        """Counts how long a request waited for its first token, which came."""
        self._first.labels(model).observe((request.queued_ns + request.prompt_ns) / 1e9)

    def answered(self, model: str, request: Request) -> None:
        """Counts a request that is over, however it ended."""
        generation = request.generation
        if generation.began_ns:
            self._queue.labels(model).observe(request.queued_ns / 1e9)
            self._tokens.labels(model, "prompt").inc(generation.prompt_tokens)
            self._tokens.labels(model, "reused").inc(generation.reused_tokens)
        self._tokens.labels(model, "generated").inc(len(generation.tokens))
        self._gaps.merge(model, generation.gaps)

    def text(self, loaded: list[Loaded]) -> str:
        """All of it in Prometheus' text format."""
        self._loaded.set(len(loaded))
        for gauge in (self._slots, self._active, self._waiting):
            gauge.clear()
        for one in loaded:
            if one.batcher:
                name = one.artifact.name
                self._slots.labels(name).set(one.batcher.slots)
                self._active.labels(name).set(one.batcher.active)
                self._waiting.labels(name).set(one.batcher.waiting)
        return generate_latest(self._registry).decode()


class _Gaps(Collector):
    """A histogram of the times between tokens, counted where they are generated.

    One of prometheus_client's own takes a lock for each value, which is each token.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._by_model: dict[str, TokenGaps] = {}

    def merge(self, model: str, gaps: TokenGaps) -> None:
        self._by_model.setdefault(model, TokenGaps()).merge(gaps)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        what = "From one token of an answer to the next; counted when it ends."
        family = HistogramMetricFamily(self._name, what, labels=("model",))
        ends = [str(bound) for bound in BOUNDS] + ["+Inf"]
        for model, gaps in self._by_model.items():
            buckets = list(zip(ends, accumulate(gaps.counts), strict=True))
            family.add_metric([model], buckets, gaps.total)
        yield family

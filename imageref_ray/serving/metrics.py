"""What the endpoint counts, in Prometheus' text format, with everything that the engine counts in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from imageref_ray.core.records import Usage

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100)
"""Upper bounds of the histograms' buckets."""


class Metrics:
    """The counters of one replica; `now` gives its running and its waiting requests."""

    def __init__(self, now: Callable[[], tuple[int, int]], replica: str = "") -> None:
        own = CollectorRegistry()
        self._registries, self._now, self._replica = (own, REGISTRY), now, replica
        self.requests = Counter("imageref_requests", "answered requests", ["route", "status"], registry=own)
        self.seconds = Histogram(
            "imageref_request_seconds", "from a request to its whole answer", ["route"], registry=own, buckets=SECONDS
        )
        self.first = Histogram(
            "imageref_time_to_first_token_seconds",
            "from a streamed request to the first piece of its answer",
            ["route"],
            registry=own,
            buckets=SECONDS,
        )
        self.queue = Histogram(
            "imageref_queue_seconds", "waited for the engine", ["route"], registry=own, buckets=SECONDS
        )
        self._tokens = Counter(
            "imageref_tokens", "of answered requests; cached and image are parts of prompt", ["kind"], registry=own
        )
        self._hits = Counter("imageref_cache_hits", "requests whose prompt was cached in part", registry=own)
        self.breaches = Counter(
            "imageref_breaches", "image references that were taken out of answers", ["kind"], registry=own
        )

    def add(self, usage: Usage) -> None:
        """Count the tokens of one answered request."""
        kinds = {
            "prompt": usage.prompt_tokens,
            "image": usage.image_tokens,
            "cached": usage.cached_tokens,
            "generated": usage.generated_tokens,
        }
        for kind, count in kinds.items():
            self._tokens.labels(kind).inc(count)
        if usage.cached_tokens:
            self._hits.inc()

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(_Labelled(self._all, self._replica))

    def _all(self) -> Iterator[Metric]:
        running, waiting = self._now()
        states = GaugeMetricFamily(
            "imageref_requests_in_flight", "requests at the engine, and before it", labels=["state"]
        )
        states.add_metric(["running"], running)
        states.add_metric(["waiting"], waiting)
        yield states
        for registry in self._registries:
            yield from registry.collect()


class _Labelled(Collector):
    """All metrics with the replica's name, so that those of several replicas stay apart behind one address."""

    def __init__(self, collect: Callable[[], Iterator[Metric]], replica: str) -> None:
        self._source, self._label = collect, {"replica": replica} if replica else {}

    def collect(self) -> Iterator[Metric]:
        for metric in self._source():
            copy = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            copy.samples = [Sample(one.name, {**one.labels, **self._label}, *one[2:]) for one in metric.samples]
            yield copy

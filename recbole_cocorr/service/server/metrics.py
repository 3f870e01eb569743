"""What Prometheus is told. No label holds anything of a user."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class MethodMetrics(NamedTuple):
    """The measures of one RPC's queue."""

    batch_size: Histogram
    queue_seconds: Histogram
    compute_seconds: Histogram
    queued: Gauge
    dropped: Counter


class Metrics:
    """The service's measures, in a registry of their own.

    Attributes
    ----------
    registry : prometheus_client.CollectorRegistry
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name, where = "recbole_cocorr_", {"registry": self.registry}
        self._requests = Counter(name + "requests", "Answered requests, by gRPC status.", ["method", "code"], **where)
        self._counters: dict[tuple[str, str], Counter] = {}
        by = (["method"],)
        self._queue = MethodMetrics(
            Histogram(name + "batch_size", "Requests computed together.", *by, buckets=_SIZES, **where),
            Histogram(
                name + "queue_seconds",
                "From a request's arrival until its batch began.",
                *by,
                buckets=_SECONDS,
                **where,
            ),
            Histogram(name + "compute_seconds", "The model's time for a batch.", *by, buckets=_SECONDS, **where),
            Gauge(name + "queued", "Requests that wait for the model.", *by, **where),
            Counter(name + "dropped", "Requests whose caller had given up before the model was free.", *by, **where),
        )
        self.reloads = Counter(
            name + "reloads", "Times the files were read again, or were not usable.", ["result"], **where
        )
        self.in_flight = Gauge(name + "in_flight", "Requests that were taken in and are not answered yet.", **where)
        self.held = Gauge(name + "held", "Requests that wait for their client's turn.", **where)
        self.watch_failures = Counter(name + "watch_failures", "Looks at the files that failed.", **where)
        served = "1 for the {} that is served."
        self.model = Gauge(name + "model_info", served.format("model"), ["fingerprint"], **where)
        self.corrector = Gauge(name + "corrector_info", served.format("corrector"), ["fingerprint"], **where)

    def count(self, method: str, code: str) -> None:
        """Count one more request that ended with a code."""
        # Prometheus' own look-up takes ten times as long.
        counter = self._counters.get((method, code))
        if counter is None:
            counter = self._counters[method, code] = self._requests.labels(method, code)
        counter.inc()

    def of(self, method: str) -> MethodMetrics:
        """The measures of one RPC's queue."""
        return MethodMetrics(*(measure.labels(method) for measure in self._queue))

    def serve(self, model: str | None, corrector: str | None) -> None:
        """Say which model and corrector are served now, by their fingerprints."""
        for gauge, fingerprint in ((self.model, model), (self.corrector, corrector)):
            gauge.clear()
            if fingerprint is not None:
                gauge.labels(fingerprint).set(1)

"""What Prometheus is told. No label holds anything of a user."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The service's measures, in a registry of their own.

    Attributes
    ----------
    registry : prometheus_client.CollectorRegistry
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name, where = "recbole_cocorr_", {"registry": self.registry}
        self.requests = Counter(name + "requests", "Answered requests, by gRPC status.", ["method", "code"], **where)
        self.batch_size = Histogram(name + "batch_size", "Requests computed together.", buckets=_SIZES, **where)
        self.queue_seconds = Histogram(
            name + "queue_seconds", "From a request's arrival until its batch began.", buckets=_SECONDS, **where
        )
        self.compute_seconds = Histogram(
            name + "compute_seconds", "The model's time for a batch.", buckets=_SECONDS, **where
        )
        self.queued = Gauge(name + "queued", "Requests that wait for the model.", **where)
        self.dropped = Counter(
            name + "dropped", "Requests whose caller had given up before the model was free.", **where
        )
        self.reloads = Counter(name + "reloads", "Checkpoints taken over or not.", ["result"], **where)
        self.model = Gauge(name + "model_info", "1 for the model that is served.", ["fingerprint"], **where)

    def serve_model(self, fingerprint: str) -> None:
        """Say which model is served now."""
        self.model.clear()
        self.model.labels(fingerprint).set(1)

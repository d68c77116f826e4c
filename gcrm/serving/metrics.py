"""What the server counts, for Prometheus. Labels hold no text of users."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        # Or each has the time of its creation beside it.
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._requests = Counter(
            "gcrm_requests",
            "Requests that were answered",
            ["endpoint", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "gcrm_request_seconds",
            "From the first byte of a request to the last of its answer",
            ["endpoint"],
            buckets=SECONDS,
            registry=registry,
        )
        self.open_requests = Gauge(
            "gcrm_open_requests", "Requests that are not answered yet", registry=registry
        )
        self.queue_tokens = Gauge(
            "gcrm_queue_tokens", "Tokens of requests that are not scored yet", registry=registry
        )
        self._solutions = Counter(
            "gcrm_solutions", "Solutions or other texts that were scored", registry=registry
        )
        self._tokens = Counter("gcrm_tokens", "Tokens that were scored", registry=registry)
        self._batch_tokens = Histogram(
            "gcrm_batch_tokens", "Tokens of a batch", buckets=TOKENS, registry=registry
        )
        self._batch_requests = Histogram(
            "gcrm_batch_requests", "Requests in a batch", buckets=SIZES, registry=registry
        )
        self._batch_seconds = Histogram(
            "gcrm_batch_seconds", "Time of a batch in the model", buckets=SECONDS, registry=registry
        )

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            endpoint: its path as the server knows it, not as the client wrote it.
        """
        self._requests.labels(endpoint, str(status)).inc()
        self._request_seconds.labels(endpoint).observe(seconds)

    def batches(self, tokens: int, requests: int, solutions: int, seconds: float) -> None:
        """Count a batch."""
        self._solutions.inc(solutions)
        self._tokens.inc(tokens)
        self._batch_tokens.observe(tokens)
        self._batch_requests.observe(requests)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

"""What a monitor wants to know of a server, in Prometheus' text format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Statistics:
    """Counts of one server, from its start on.

    Args:
        waiting: Tells how many images wait at the moment.

    Attributes:
        images: By outcome: ``classified``, ``unreadable``, ``refused`` (overload), ``failed``,
            ``abandoned`` (the client has gone, or another image of its form was refused).
        request_seconds: From the head of a request to its answer.
        batch_images: Images that went through the network together.
    """

    def __init__(self, waiting: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self.images = Counter(
            "xception_images", "Images by outcome.", ["outcome"], registry=self._registry
        )
        self.request_seconds = Histogram(
            "xception_request_seconds",
            "Seconds from a request's head to its answer.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.batch_images = Histogram(
            "xception_batch_images",
            "Images that went through the network together.",
            buckets=_IMAGES,
            registry=self._registry,
        )
        Gauge(
            "xception_waiting_images",
            "Images that wait, to be decoded or for the network.",
            registry=self._registry,
        ).set_function(waiting)

    def count(self, outcome: str) -> int:
        """How many images had an outcome."""
        value = self._registry.get_sample_value("xception_images_total", {"outcome": outcome})
        return int(value or 0)

    def text(self) -> bytes:
        """All figures in the text format."""
        return generate_latest(self._registry)

"""What a gateway's ``/metrics`` tells beside its calls."""

from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from disco_operator.gateway.hub import Hub

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Followed(Collector):
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "disco_gateway_followed_jobs", "Jobs that somebody follows.", value=len(self._hub)
        )
        yield GaugeMetricFamily(
            "disco_gateway_followers", "Who follows them.", value=self._hub.followers()
        )


def metrics_of(hub: Hub) -> Callable[[], bytes]:
    """Return what tells the metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Followed(hub))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)

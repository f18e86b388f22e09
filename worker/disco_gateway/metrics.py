"""What is counted of the calls, in Prometheus' format."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from google.rpc import code_pb2  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from disco_gateway.calls import Calls
from disco_gateway.methods import METHODS, Method

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How a call ended.

    Attributes:
        code: Of google.rpc.
    """

    code: int = code_pb2.OK


class Metrics:
    """Of one gateway; several in one process do not share them."""

    def __init__(self, calls: Calls) -> None:
        self._registry = CollectorRegistry()
        self._ended = Counter(
            "disco_gateway_calls",
            "Calls that have ended, by the code of google.rpc that they ended with",
            ("door", "method", "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "disco_gateway_call_seconds",
            "How long calls took that are no streams",
            ("door", "method"),
            registry=self._registry,
        )
        self._registry.register(_Open(calls))

    @contextmanager
    def call(self, door: str, method: Method) -> Iterator[Outcome]:
        """Count a call that the block carries out; the block says how it ended, if not well."""
        outcome = Outcome()
        start_s = time.perf_counter()
        try:
            yield outcome
        except BaseException:
            outcome.code = code_pb2.CANCELLED
            raise
        finally:
            self._ended.labels(door, method.name, code_pb2.Code.Name(outcome.code)).inc()
            if not method.gives_stream:
                self._seconds.labels(door, method.name).observe(time.perf_counter() - start_s)

    def text(self) -> bytes:
        """Return all of them, as Prometheus reads them."""
        return generate_latest(self._registry)


class _Open(Collector):
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "disco_gateway_open_calls", "Calls and streams that go on now", labels=("method",)
        )
        for method in METHODS:
            family.add_metric((method.name,), self._calls.open[method.name])
        yield family

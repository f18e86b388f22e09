"""What ``/metrics`` tells."""

from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

REGISTRY = CollectorRegistry()
CONTENT_TYPE = CONTENT_TYPE_LATEST

_LOOKS = Histogram(
    "disco_operator_reconcile_seconds",
    "How long one reconciliation of a job took.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120),
    registry=REGISTRY,
)
_FAILURES = Counter(
    "disco_operator_reconcile_errors",
    "Reconciliations that failed, by the kind of error.",
    ("reason",),
    registry=REGISTRY,
)
_FIRST_TASKS = Histogram(
    "disco_operator_first_task_seconds",
    "From the creation of a job to the start of its first task.",
    buckets=(1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 14400),
    registry=REGISTRY,
)
_MISSED = Counter(
    "disco_operator_missed_watch_events",
    "Changes that a full list told and the watch did not within a minute.",
    registry=REGISTRY,
)
ProcessCollector(registry=REGISTRY)


def looked(seconds: float) -> None:
    """Count a reconciliation that took *seconds*, however it ended."""
    _LOOKS.observe(seconds)


def failed(reason: str) -> None:
    """Count a reconciliation that failed."""
    _FAILURES.labels(reason).inc()


def missed(events: int) -> None:
    """Count changes that the watch did not deliver."""
    _MISSED.inc(events)


class Measures:
    """What ``reconcile`` tells about jobs."""

    def __init__(self) -> None:
        self._phases: dict[str, str] = {}

    def first_task(self, seconds: float) -> None:
        """Take note of the time from a job's creation to its first task; once per job."""
        _FIRST_TASKS.observe(seconds)

    def job_phase(self, uid: str, phase: str | None) -> None:
        """Take note of a job's phase; None: it is gone."""
        if phase is None:
            self._phases.pop(uid, None)
        else:
            self._phases[uid] = phase

    def phases(self) -> Mapping[str, int]:
        """Return how many jobs are in each phase."""
        return Counts(self._phases.values())


class Standing(Protocol):
    """What is measured when somebody asks."""

    def leading(self) -> bool:
        """Return whether this replica leads."""

    def watch_age_s(self) -> float | None:
        """Return how long ago the watch delivered the canary; None: not yet."""

    def waiting(self) -> int:
        """Return how many jobs are due for a look."""

    def phases(self) -> Mapping[str, int]:
        """Return how many jobs are in each phase."""


class StandingCollector(Collector):
    """Asks for the standing whenever the metrics are read.

    Args:
        standing: Returns it; None while this replica follows.
    """

    def __init__(self, standing: Callable[[], Standing | None]) -> None:
        self._standing = standing

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the gauges."""
        standing = self._standing()
        leading = standing is not None and standing.leading()
        yield _gauge("leader", "1: this replica leads.", float(leading))
        if standing is None:  # a follower knows no jobs, which is not to say there are none
            return
        yield _gauge("queue_depth", "Jobs that are due for a look.", standing.waiting())
        jobs = GaugeMetricFamily("disco_operator_jobs", "DiscoJobs by phase.", labels=("phase",))
        for phase, count in sorted(standing.phases().items()):
            jobs.add_metric((phase,), count)
        yield jobs
        if (age_s := standing.watch_age_s()) is not None:
            yield _gauge("watch_age_seconds", "Since the watch delivered our own lease.", age_s)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"disco_operator_{name}", text, value=value)


def text() -> bytes:
    """Return all metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)

from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from disco_operator.metrics import Measures, Standing, StandingCollector


class FakeStanding:
    """A replica that leads."""

    def __init__(self, *, watch_age_s: float | None = 1.5) -> None:
        self._watch_age_s = watch_age_s

    def leading(self) -> bool:
        return True

    def watch_age_s(self) -> float | None:
        return self._watch_age_s

    def waiting(self) -> int:
        return 7

    def phases(self) -> Mapping[str, int]:
        return {"Running": 2, "Succeeded": 40}


def registry_of(standing: Standing | None) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(StandingCollector(lambda: standing))
    return registry


def test_a_leader_tells_how_it_stands() -> None:
    registry = registry_of(FakeStanding())
    assert registry.get_sample_value("disco_operator_leader") == 1
    assert registry.get_sample_value("disco_operator_queue_depth") == 7
    assert registry.get_sample_value("disco_operator_jobs", {"phase": "Running"}) == 2
    assert registry.get_sample_value("disco_operator_watch_age_seconds") == 1.5


def test_a_follower_tells_only_that_it_follows() -> None:
    registry = registry_of(None)
    assert registry.get_sample_value("disco_operator_leader") == 0
    assert registry.get_sample_value("disco_operator_queue_depth") is None


def test_the_age_of_a_watch_that_has_not_begun_is_left_out() -> None:
    registry = registry_of(FakeStanding(watch_age_s=None))
    assert registry.get_sample_value("disco_operator_watch_age_seconds") is None


def test_jobs_are_counted_by_their_last_phase_until_they_are_gone() -> None:
    measures = Measures()
    measures.job_phase("u1", "Pending")
    measures.job_phase("u1", "Running")
    measures.job_phase("u2", "Running")
    assert measures.phases() == {"Running": 2}
    measures.job_phase("u1", None)
    measures.job_phase("never seen", None)
    assert measures.phases() == {"Running": 1}

from dataclasses import replace

import aiohttp
import pytest

from disco_engine.rpc import PortTakenError
from disco_operator.health import Signs, hindrances, ills, serving

HOST = "127.0.0.1"
FOLLOWING = Signs(leader="a", lease_idle_s=1.0)
LEADING = Signs(
    leader="b",
    leading_s=3600.0,
    lease_idle_s=1.0,
    warm=True,
    resync_age_s=30.0,
    watch_age_s=2.0,
    stalled_s=0.1,
)


def test_a_follower_is_healthy_and_not_ready() -> None:
    assert ills(FOLLOWING) == ()
    assert hindrances(FOLLOWING) == ("following a",)
    assert hindrances(Signs()) == ("nobody leads yet",)


def test_a_follower_that_looks_at_the_lease_no_more_is_ill() -> None:
    assert len(ills(replace(FOLLOWING, lease_idle_s=61.0))) == 1


def test_a_leader_that_reconciles_is_healthy_and_ready() -> None:
    assert ills(LEADING) == ()
    assert hindrances(LEADING) == ()


def test_a_new_leader_is_healthy_but_not_ready_until_it_knows_and_watches() -> None:
    new = Signs(leader="b", leading_s=1.0)
    assert ills(new) == ()
    assert hindrances(new) == ("leading, but the cluster is not listed yet",)
    listed = replace(new, warm=True, resync_age_s=0.5)
    assert ills(listed) == ()
    assert hindrances(listed) == ("leading, but not watching yet",)
    assert hindrances(replace(listed, watch_age_s=0.1)) == ()


@pytest.mark.parametrize(
    ("signs", "problem"),
    [
        (replace(LEADING, resync_age_s=181.0), "not listed"),
        (replace(LEADING, resync_age_s=None, warm=False), "not listed"),
        (replace(LEADING, watch_age_s=61.0), "delivered nothing"),
        (replace(LEADING, watch_age_s=None), "delivered nothing"),
        (replace(LEADING, stalled_s=181.0), "none was looked at"),
        (replace(LEADING, misses=2), "missed"),
        (replace(LEADING, lease_idle_s=61.0), "lease"),
    ],
)
def test_a_leader_that_makes_no_progress_is_ill_and_not_ready(signs: Signs, problem: str) -> None:
    assert [problem in ill for ill in ills(signs)] == [True]
    assert hindrances(signs) != ()


def test_one_resync_that_found_something_missed_is_no_illness() -> None:
    assert ills(replace(LEADING, misses=1)) == ()


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{HOST}:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def test_the_answers_follow_the_signs() -> None:
    signs = FOLLOWING
    async with serving(0, lambda: signs, host=HOST) as port:
        assert await get(port, "/healthz") == (200, "ok\n")
        assert await get(port, "/readyz") == (503, "following a\n")
        signs = LEADING
        assert await get(port, "/readyz") == (200, "ok\n")
        signs = replace(LEADING, misses=3)
        status, text = await get(port, "/healthz")
        assert status == 503
        assert "missed" in text


async def test_metrics_are_served() -> None:
    async with serving(0, lambda: FOLLOWING, host=HOST) as port:
        status, text = await get(port, "/metrics")
    assert status == 200
    assert "disco_operator_reconcile_seconds_bucket" in text


async def test_a_port_that_is_taken_is_said_so() -> None:
    async with serving(0, lambda: FOLLOWING, host=HOST) as port:
        with pytest.raises(PortTakenError, match=str(port)):
            async with serving(port, lambda: FOLLOWING, host=HOST):
                pass

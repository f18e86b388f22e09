"""The loop runs on the event loop's own time, which ``looptime`` makes pass without waiting."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from disco_operator import metrics
from disco_operator.cluster import FencedError, UnavailableError
from disco_operator.loop import LOOK_LIMIT_S, PARALLEL, Loop
from disco_operator.model import JobKey

pytestmark = pytest.mark.looptime

A, B = JobKey("ns", "a"), JobKey("ns", "b")


def loop_of(look: Callable[[JobKey], Awaitable[float | None]]) -> Loop:
    return Loop(look, clock=asyncio.get_running_loop().time, jitter=lambda: 0.0)


async def run_for(loop: Loop, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await loop.run()


async def test_it_looks_at_what_it_is_told_of() -> None:
    seen = []

    async def look(key: JobKey) -> None:
        seen.append(key)

    loop = loop_of(look)
    loop.add(A)
    loop.add(B, delay_s=5.0)
    await run_for(loop, 4.0)
    assert seen == [A]
    await run_for(loop, 4.0)
    assert seen == [A, B]


async def test_what_is_added_while_it_waits_is_looked_at_at_once() -> None:
    times = []

    async def look(_: JobKey) -> None:
        times.append(asyncio.get_running_loop().time())

    loop = loop_of(look)
    begin = asyncio.get_running_loop().time()
    loop.add(A, delay_s=100.0)
    asyncio.get_running_loop().call_later(3.0, loop.add, B)
    await run_for(loop, 10.0)
    assert times == [begin + 3.0]


async def test_a_queue_that_moves_is_not_stalled_however_long_it_is() -> None:
    """With two thousand jobs at once the last waits for minutes, and the operator was ended."""

    async def look(_: JobKey) -> None:
        await asyncio.sleep(5.0)

    loop = loop_of(look)
    for number in range(100 * PARALLEL):
        loop.add(JobKey("ns", f"job-{number}"))
    await run_for(loop, 300.0)
    assert loop.waiting() > PARALLEL
    assert loop.stalled_s() <= 5.0


async def test_a_queue_in_which_nothing_begins_is_stalled() -> None:
    async def hang(_: JobKey) -> None:
        await asyncio.Event().wait()

    loop = loop_of(hang)
    for number in range(2 * PARALLEL):
        loop.add(JobKey("ns", f"job-{number}"))
    await run_for(loop, 100.0)
    assert loop.stalled_s() == pytest.approx(100.0, abs=1.0)


async def test_it_looks_again_when_a_look_asks_for_it() -> None:
    times = []

    async def look(_: JobKey) -> float:
        times.append(asyncio.get_running_loop().time())
        return 10.0

    loop = loop_of(look)
    begin = asyncio.get_running_loop().time()
    loop.add(A)
    await run_for(loop, 35.0)
    assert [time - begin for time in times] == pytest.approx([0.0, 10.0, 20.0, 30.0])


async def test_so_many_looks_at_a_time_and_no_more() -> None:
    now = most = 0

    async def look(_: JobKey) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(1.0)
        now -= 1

    loop = loop_of(look)
    for number in range(3 * PARALLEL):
        loop.add(JobKey("ns", str(number)))
    await run_for(loop, 1.5)
    assert most == PARALLEL
    await run_for(loop, 10.0)
    assert loop.waiting() == 0


async def test_a_look_that_fails_is_logged_once_counted_and_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times = []

    async def look(_: JobKey) -> None:
        times.append(asyncio.get_running_loop().time())
        raise UnavailableError("get pods: connection refused")

    before = errors("UnavailableError")
    loop = loop_of(look)
    begin = asyncio.get_running_loop().time()
    loop.add(A)
    await run_for(loop, 8.0)
    assert [time - begin for time in times] == pytest.approx([0.0, 1.0, 3.0, 7.0])
    assert len(caplog.records) == len(times)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert vars(caplog.records[0])["job"] == "ns/a"
    assert errors("UnavailableError") - before == len(times)


async def test_a_bug_is_logged_with_its_traceback_and_other_jobs_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = []

    async def look(key: JobKey) -> None:
        if key == A:
            raise KeyError("spec")
        seen.append(key)

    loop = loop_of(look)
    loop.add(A)
    loop.add(B)
    await run_for(loop, 0.5)
    assert seen == [B]
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_a_look_that_hangs_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    looks = 0

    async def look(_: JobKey) -> None:
        nonlocal looks
        looks += 1
        await asyncio.Event().wait()

    loop = loop_of(look)
    loop.add(A)
    await run_for(loop, LOOK_LIMIT_S + 5.0)
    assert looks == 2
    assert len(caplog.records) == 1


async def test_a_fenced_look_ends_everything() -> None:
    async def look(_: JobKey) -> None:
        raise FencedError("create pods ns/x: this replica does not hold the lease")

    loop = loop_of(look)
    loop.add(A)
    with pytest.raises(ExceptionGroup) as ended:
        await loop.run()
    assert ended.group_contains(FencedError)


async def test_ten_thousand_jobs_leave_nothing_behind() -> None:
    async def look(_: JobKey) -> None:
        await asyncio.sleep(0.001)

    loop = loop_of(look)
    for number in range(10_000):
        loop.add(JobKey("ns", str(number)))
    await run_for(loop, 30.0)
    loop.add(A)
    await run_for(loop, 2.0)
    assert len(asyncio.all_tasks()) == 1
    assert loop.remembered() <= 1


def errors(reason: str) -> float:
    name = "disco_operator_reconcile_errors_total"
    return metrics.REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0

"""What a run counts its workers as, while its engine takes its time."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from disco_gateway.local.run import Run, Threads


class SlowEngine:
    """An engine whose workers leave when they are let go.

    Attributes:
        told: The numbers of workers it was told to have, in order.
    """

    def __init__(self, workers: int) -> None:
        self.told = [workers]
        self.let_go = threading.Event()

    def start(self) -> "SlowEngine":
        return self

    def scale(self, workers: int) -> Sequence[str]:
        before = self.told[-1]
        self.told.append(workers)
        return [f"worker-{number}" for number in range(workers, before)]

    def see_off(self, workers: Sequence[str]) -> None:
        if workers:
            assert self.let_go.wait(30)

    def stop_workers(self) -> None:
        """Nothing is left to wait for."""


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads(4)
    yield threads
    threads.close()


async def test_workers_count_until_they_are_gone(threads: Threads) -> None:
    engine = SlowEngine(4)
    run = Run(threads, _giving(engine), 4)
    await run.start()

    shrinking = run.resize(1)
    assert (run.keeps, run.leaving, run.holds) == (1, 3, 4)  # at once, before anything is done
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(shrinking)
        await tasks.create_task(run.resize(2))  # is not held up by those that leave
        assert (run.keeps, run.leaving, run.holds) == (2, 3, 5)
        engine.let_go.set()

    assert (run.keeps, run.leaving, run.holds) == (2, 0, 2)
    assert engine.told == [4, 1, 2]
    await run.reduced()
    assert run.holds == 0


async def test_what_is_asked_for_before_the_start_is_done_after_it(threads: Threads) -> None:
    engine = SlowEngine(1)
    run = Run(threads, _giving(engine), 1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run.resize(3))
        tasks.create_task(run.resize(2))
        engine.let_go.set()
        tasks.create_task(run.start())

    assert engine.told == [1, 3, 2]


async def test_a_run_that_cannot_be_started_holds_nobody_up(threads: Threads) -> None:
    def fail(_: int) -> Any:
        raise OSError("no room for another process")

    run = Run(threads, fail, 2)
    with pytest.raises(OSError, match="no room"):
        await run.start()

    await run.resize(1)
    await run.cancel("too late")
    await run.reduced()
    await run.remove()
    assert run.holds == 0


def _giving(engine: SlowEngine) -> Any:
    return lambda _: engine

import asyncio

import pytest

from disco_engine.partition.budget import ByteBudget


async def test_whoever_came_first_is_served_first_however_much_it_wants() -> None:
    budget, served = ByteBudget(10), list[str]()

    async def take(name: str, size: int) -> None:
        await budget.take(size)
        served.append(name)

    await budget.take(8)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take("large", 9))
        tasks.create_task(take("small", 1))
        await asyncio.sleep(0)
        assert served == []
        budget.give(8)
    assert served == ["large", "small"]
    assert budget.used == 10


async def test_a_request_larger_than_the_budget_gets_all_of_it_alone() -> None:
    budget = ByteBudget(10)
    await budget.take(1)
    async with asyncio.TaskGroup() as tasks:
        large = tasks.create_task(budget.take(25))
        await asyncio.sleep(0)
        assert not large.done()
        budget.give(1)
    assert budget.used == 25


async def test_it_says_when_somebody_waits_and_for_how_long() -> None:
    budget, calls = ByteBudget(10), list[bool]()
    budget.on_wait = lambda: calls.append(budget.short)
    await budget.take(6)
    assert not budget.short
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(budget.take(7))
        await asyncio.sleep(0)
        assert calls == [True]
        budget.give(3)
        assert not budget.short  # it has what it needs, though it does not know yet
    assert budget.used == 10


async def test_who_waits_gives_up_when_nudged_with_a_reason() -> None:
    budget, full = ByteBudget(10), False
    await budget.take(10)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(budget.take(1, give_up=lambda: full))
        await asyncio.sleep(0)
        budget.nudge()
        await asyncio.sleep(0)
        assert not waiting.done()
        full = True
        budget.nudge()
    assert waiting.result() is False
    assert budget.used == 10


async def test_who_is_cancelled_while_waiting_leaves_nothing_behind() -> None:
    budget = ByteBudget(10)
    await budget.take(10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await budget.take(1)
    budget.give(10)
    assert await budget.take(10)
    assert budget.used == 10


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        ByteBudget(0)

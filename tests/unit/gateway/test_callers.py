"""Whose token it is: asked once for many calls, and again soon enough."""

import asyncio

import pytest

from disco_gateway.backend import Caller
from disco_gateway.calls import KNOWN_S, Callers
from disco_gateway.errors import UnauthenticatedError, UnavailableError
from disco_gateway.fake import FakeBackend
from disco_gateway.remembering import Remembered


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Registry(FakeBackend):
    """Knows one token, until that is taken away, and counts who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.questions = 0
        self.accepted = {"token-of-ann"}

    async def authenticate(self, token: str) -> Caller:
        self.questions += 1
        await asyncio.sleep(0)
        if token not in self.accepted:
            raise UnauthenticatedError("the token is not accepted")
        return Caller(name="ann", token=token)


async def test_two_hundred_calls_with_one_token_are_one_question() -> None:
    registry = Registry()
    callers = Callers(registry, Clock())
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(callers.of("Bearer token-of-ann")) for _ in range(200)]
    assert {call.result().name for call in calls} == {"ann"}
    assert {call.result().token for call in calls} == {"token-of-ann"}
    assert registry.questions == 1


async def test_a_token_that_was_taken_away_counts_for_seconds_only() -> None:
    registry, clock = Registry(), Clock()
    callers = Callers(registry, clock)
    await callers.of("Bearer token-of-ann")
    registry.accepted.clear()
    clock.now += KNOWN_S - 0.1
    assert (await callers.of("Bearer token-of-ann")).name == "ann"
    clock.now += 0.2
    with pytest.raises(UnauthenticatedError):
        await callers.of("Bearer token-of-ann")


async def test_what_is_remembered_is_bounded() -> None:
    remembered: Remembered[int, int] = Remembered(for_s=10, most=3, clock=Clock())

    async def answer() -> int:
        return 1

    for number in range(10):
        await remembered.of(number, answer)
    assert len(remembered) == 3


async def test_a_failure_is_not_remembered() -> None:
    remembered: Remembered[str, int] = Remembered(for_s=10, most=3, clock=Clock())

    async def fail() -> int:
        raise UnavailableError("no")

    async def answer() -> int:
        return 1

    with pytest.raises(UnavailableError):
        await remembered.of("a", fail)
    assert await remembered.of("a", answer) == 1

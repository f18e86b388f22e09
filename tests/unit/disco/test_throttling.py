"""Disco's limits of messages, as a job may ask for them."""

import sys
import time
from contextlib import suppress

import pytest

from disco.worker.throttling import MessageLimit, TooManyMessagesError, limited_messages
from disco_engine.core.model import FailureKind
from disco_engine.program import ProgramError


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_more_than_five_messages_a_second_are_delayed_and_ten_are_too_many() -> None:
    limit = MessageLimit(Clock())
    assert [limit.count() for _ in range(9)] == [0.0] * 5 + [0.2] * 4
    with pytest.raises(TooManyMessagesError, match="Worker is behaving badly: 10 messages"):
        limit.count()


def test_messages_older_than_a_second_do_not_count() -> None:
    clock = Clock()
    limit = MessageLimit(clock)
    pauses = []
    for _ in range(100):
        clock.now += 0.125  # eight within a second, and the one that is a second old
        pauses.append(limit.count())
    assert pauses == [0.0] * 5 + [0.2] * 95
    clock.now += 1.5
    assert limit.count() == 0.0


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the list of the pauses that were to be made; none is."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def test_blank_writes_are_no_messages_and_the_stream_is_as_it_was(
    pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with limited_messages():
        for number in range(3):
            print(number, "of", 3, end=" \n", flush=True)
            sys.stdout.writelines(["\n", ""])
        assert sys.stdout.encoding.lower() == "utf-8"
    assert pauses == [0.0] * 5 + [0.2] * 4
    assert capsys.readouterr().out == "0 of 3 \n\n1 of 3 \n\n2 of 3 \n\n"
    print("and again without a limit")
    assert len(pauses) == 9


def test_code_that_catches_the_refusal_does_not_go_on_all_the_same(pauses: list[float]) -> None:
    def talk() -> None:
        for number in range(20):
            with suppress(ProgramError):
                print(number)
        raise KeyError("something else")

    with pytest.raises(ProgramError) as refused, limited_messages():
        talk()
    assert refused.value.failure.kind is FailureKind.FATAL

import os
import queue
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from disco.cli.interrupts import Interrupts


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in before:  # which a shell's "&" and nohup have ignored
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_becomes_an_item_and_then_an_interrupt() -> None:
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    before = signal.getsignal(signal.SIGINT)
    with Interrupts(items) as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert [items.get(timeout=60), items.get(timeout=60)] == [signal.SIGTERM, signal.SIGINT]
        assert interrupts.received is signal.SIGTERM

        interrupts.urgent = True
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    assert signal.getsignal(signal.SIGINT) is before


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what nohup does
    items: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with Interrupts(items):
        signal.raise_signal(signal.SIGHUP)

    assert items.empty()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

import threading

import pytest

from disco.v1 import coordinator_pb2
from disco_engine.local.progress import ProgressBoard

RUNNING = coordinator_pb2.JobProgress(phase=coordinator_pb2.JOB_PHASE_RUNNING)
SUCCEEDED = coordinator_pb2.JobProgress(phase=coordinator_pb2.JOB_PHASE_SUCCEEDED)


def event(number: int) -> coordinator_pb2.JobEvent:
    return coordinator_pb2.JobEvent(number=number)


def test_a_reader_sees_every_event_once_and_the_end() -> None:
    board = ProgressBoard()
    board.post(RUNNING, [event(1), event(2)])
    replies = board.follow()
    first = next(replies)
    board.post(RUNNING, [event(3)])
    board.post(SUCCEEDED, [event(4)])
    second = next(replies)

    assert [e.number for e in first.events] == [1, 2]
    assert [e.number for e in second.events] == [3, 4]
    assert second.progress == SUCCEEDED
    assert list(replies) == []


def test_two_readers_do_not_disturb_each_other() -> None:
    board = ProgressBoard()
    board.post(SUCCEEDED, [event(1)])

    assert list(board.follow()) == list(board.follow())


def test_a_reader_that_is_waiting_is_woken() -> None:
    board = ProgressBoard()
    seen: list[coordinator_pb2.WatchReply] = []
    reader = threading.Thread(target=lambda: seen.extend(board.follow()))
    reader.start()

    board.post(SUCCEEDED)

    reader.join(60)
    assert [reply.progress for reply in seen] == [SUCCEEDED]


def test_nothing_changes_after_the_end() -> None:
    board = ProgressBoard()
    board.post(SUCCEEDED)
    board.post(RUNNING, [event(1)])
    board.fail(RuntimeError("too late"))

    assert board.result(0) == SUCCEEDED


def test_a_failure_of_the_engine_reaches_everyone_after_the_events_before_it() -> None:
    board = ProgressBoard()
    board.post(RUNNING, [event(1)])
    board.fail(RuntimeError("no worker stays alive"))
    replies = board.follow()

    assert [e.number for e in next(replies).events] == [1]
    with pytest.raises(RuntimeError, match="no worker"):
        next(replies)
    with pytest.raises(RuntimeError, match="no worker"):
        board.result(None)


def test_waiting_has_a_limit() -> None:
    with pytest.raises(TimeoutError, match="still runs after"):
        ProgressBoard().result(0)

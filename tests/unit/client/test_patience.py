"""Whether and when a call is made again, and what its failure is called in the end."""

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from disco.client import errors
from disco.client.answers import Answer, answer_of, error_of
from disco.client.errors import Violation
from disco.client.patience import Patience

Code = grpc.StatusCode
BROKEN = Answer(code=Code.UNAVAILABLE, message="connection reset")


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patience(clock: Clock) -> Patience:
    return Patience(clock=clock, spread=lambda: 1.0)


def test_pauses_grow_up_to_two_seconds(patience: Patience) -> None:
    pauses = [patience.pause_s(BROKEN, 60) for _ in range(7)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_pauses_differ_by_chance() -> None:
    assert Patience(spread=lambda: 0.0).pause_s(BROKEN, 60) == 0.05


def test_patience_ends_after_its_time_and_begins_anew_with_what_is_new(
    patience: Patience, clock: Clock
) -> None:
    assert patience.pause_s(BROKEN, 10) == 0.1
    clock.now_s = 9.95
    assert patience.pause_s(BROKEN, 10) is None
    patience.heard(new=True)
    assert patience.tries == 0
    assert patience.pause_s(BROKEN, 10) == 0.1


def test_a_stream_that_says_the_same_and_breaks_is_given_up(
    patience: Patience, clock: Clock
) -> None:
    pauses = []
    for _ in range(20):
        patience.opened()
        patience.heard(new=False)
        pauses.append(patience.pause_s(BROKEN, 10))
        clock.now_s += pauses[-1] or 0.0
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] is None


def test_a_stream_that_held_for_a_while_and_told_nothing_new_was_no_failure(
    patience: Patience, clock: Clock
) -> None:
    for _ in range(20):
        patience.opened()
        patience.heard(new=False)
        clock.now_s += 60
        assert patience.pause_s(BROKEN, 10) == 0.1


def test_silence_before_the_first_failure_does_not_count(patience: Patience, clock: Clock) -> None:
    """A job to which nothing happened for an hour is watched on when the gateway is replaced."""
    patience.heard(new=True)
    clock.now_s = 3600
    assert patience.pause_s(BROKEN, 10) == 0.1


def test_the_server_s_word_on_when_to_come_again_counts(patience: Patience) -> None:
    later = Answer(
        code=Code.RESOURCE_EXHAUSTED, message="full", retry_after_s=7.5, from_server=True
    )
    assert patience.pause_s(later, 60) == 7.5
    assert patience.pause_s(later, 5) is None


@pytest.mark.parametrize(
    "answer",
    [
        Answer(code=Code.NOT_FOUND, message="no", from_server=True),
        Answer(code=Code.RESOURCE_EXHAUSTED, message="larger than max (9 vs. 4)"),
        Answer(code=Code.UNAVAILABLE, message="for good", from_server=True),
        Answer(code=Code.INTERNAL, message="a bug"),
        Answer(code=Code.DEADLINE_EXCEEDED, message="late"),
    ],
)
def test_what_will_be_answered_the_same_is_not_asked_again(
    patience: Patience, answer: Answer
) -> None:
    assert patience.pause_s(answer, 60) is None


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (Code.UNAVAILABLE, "Socket closed"),
        (Code.CANCELLED, ""),
        (Code.INTERNAL, "Received RST_STREAM with error code 2"),
        (Code.INTERNAL, "Internal error from Core"),
        (Code.UNKNOWN, "Stream removed"),
    ],
)
def test_what_broke_on_the_way_is_asked_again(patience: Patience, code: Code, message: str) -> None:
    assert patience.pause_s(Answer(code=code, message=message), 60) == 0.1


def rpc_error(code: Code, message: str, *details: Any, raw: bytes = b"") -> grpc.aio.AioRpcError:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", raw or status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, details=message)


def test_rich_details_are_read() -> None:
    request = error_details_pb2.BadRequest()
    for field in ("spec.job", ""):
        request.field_violations.add(field=field, description="is wrong")
    delay = Duration()
    delay.FromMilliseconds(1500)
    answer = answer_of(
        rpc_error(
            Code.INVALID_ARGUMENT,
            "2 mistakes",
            request,
            error_details_pb2.RetryInfo(retry_delay=delay),
        )
    )
    assert answer == Answer(
        code=Code.INVALID_ARGUMENT,
        message="2 mistakes",
        violations=(Violation("spec.job", "is wrong"), Violation("", "is wrong")),
        retry_after_s=1.5,
        from_server=True,
    )
    error = error_of(answer, "h:1", "Submit")
    assert isinstance(error, errors.InvalidError)
    assert str(error) == "spec.job: is wrong\nis wrong"


def test_details_that_are_none_are_no_details() -> None:
    answer = answer_of(rpc_error(Code.NOT_FOUND, "gone", raw=b"\xff"))
    assert answer == Answer(code=Code.NOT_FOUND, message="gone")


def test_a_server_that_has_all_calls_that_it_takes_is_asked_again(patience: Patience) -> None:
    error = grpc.aio.AioRpcError(
        Code.RESOURCE_EXHAUSTED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(),
        details="Concurrent RPC limit exceeded!",
    )
    assert patience.pause_s(answer_of(error), 60) == 0.5


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (Code.UNAUTHENTICATED, errors.UnauthenticatedError, "h:1: m; bring a token"),
        (Code.PERMISSION_DENIED, errors.DeniedError, "m"),
        (Code.INVALID_ARGUMENT, errors.InvalidError, "m"),
        (Code.NOT_FOUND, errors.NotFoundError, "m"),
        (Code.ALREADY_EXISTS, errors.ExistsError, "m"),
        (Code.FAILED_PRECONDITION, errors.NotPossibleError, "m"),
        (Code.ABORTED, errors.GoneError, "m"),
        (Code.RESOURCE_EXHAUSTED, errors.OverloadedError, "m"),
        (Code.DEADLINE_EXCEEDED, errors.UnavailableError, "h:1 did not answer Get in time"),
        (Code.UNAVAILABLE, errors.UnavailableError, "h:1: m"),
        (Code.UNIMPLEMENTED, errors.NotConnectedError, "no Disco server at h:1"),
        (Code.INTERNAL, errors.InternalError, "h:1 could not carry out Get: m"),
        (Code.DATA_LOSS, errors.InternalError, "h:1 could not carry out Get: m"),
    ],
)
def test_each_status_is_an_error_of_ours(
    code: Code, kind: type[errors.ClientError], message: str
) -> None:
    error = error_of(Answer(code=code, message="m"), "h:1", "Get")
    assert type(error) is kind
    assert str(error).startswith(message)

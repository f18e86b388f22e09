import pytest

from disco_engine.core.model import AttemptId, Failure, FailureKind
from disco_engine.program import ProgramError, bad_data
from disco_engine.records.blocks import Frame, FrameCorruptError
from disco_engine.worker.slot.failures import (
    RECORD_CHARACTERS,
    failure_of,
    one_line,
    record_text,
    user_traceback,
)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_a_program_error_is_its_own_failure() -> None:
    assert failure_of(bad_data("no such file")).kind is FailureKind.DATA


def test_user_code_is_to_blame_for_everything_else() -> None:
    failure = failure_of(raised(ValueError("bad")), record=None)
    assert (failure.kind, failure.message) == (FailureKind.USER, "ValueError: bad")
    assert failure.record == "None"


def test_without_a_record_none_is_shown() -> None:
    assert failure_of(raised(ValueError("bad"))).record == ""


def test_errors_of_the_plan_are_fatal() -> None:
    assert failure_of(raised(ValueError("bad")), planning=True).kind is FailureKind.FATAL


def test_a_damaged_frame_is_nobodys_fault() -> None:
    error = FrameCorruptError(Frame(b"x", AttemptId(1, 2, 3, 4)), "wrong checksum")
    assert failure_of(error).kind is FailureKind.INFRASTRUCTURE


def test_engine_frames_are_left_out_of_the_traceback_also_of_causes() -> None:
    def engine_calls_user() -> None:
        from disco_engine.program import fatal
        from disco_engine.wire import layout_from_wire

        try:
            layout_from_wire(99)  # type: ignore[arg-type]
        except ValueError as error:
            raise fatal("wrapped") from error

    with pytest.raises(ProgramError) as caught:
        engine_calls_user()
    text = user_traceback(caught.value)
    assert "layout_from_wire(99)" in text
    assert "raise fatal" in text
    assert "disco_engine/wire.py" not in text


def test_an_error_without_a_user_frame_keeps_all_frames() -> None:
    from disco_engine.wire import layout_from_wire

    with pytest.raises(ValueError, match="99 is not a layout") as caught:
        layout_from_wire(99)  # type: ignore[arg-type]
    error = caught.value
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without this test's own frame
    assert "wire.py" in user_traceback(error)


def test_a_message_is_one_line() -> None:
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 10_000))) < 2_100


def test_an_exception_that_cannot_say_what_it_is_does_no_harm() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert one_line(Broken()) == "Broken: (its str() raised RuntimeError)"
    assert "Broken" in user_traceback(raised(Broken()))


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (("key", 1), "('key', 1)"),
        (b"line\n", r"b'line\n'"),
        ({"a": [1, None]}, "{'a': [1, None]}"),
        (None, "None"),
    ],
)
def test_a_record_is_shown_as_python_would(record: object, shown: str) -> None:
    assert record_text(record) == shown


@pytest.mark.parametrize(
    "record",
    [
        "x" * 10_000_000,
        b"x" * 10_000_000,
        ("key", bytearray(10_000_000)),
        list(range(1_000_000)),
        10**5_000,
        Unshowable(),
        [Unshowable()],
    ],
    ids=["str", "bytes", "nested", "list", "int", "broken", "broken inside"],
)
def test_a_record_of_any_size_or_brokenness_is_shown_shortly(record: object) -> None:
    assert 0 < len(record_text(record)) <= RECORD_CHARACTERS


def test_failures_are_values() -> None:
    assert failure_of(raised(ValueError("x"))).__class__ is Failure

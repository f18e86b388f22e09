import errno
import tracemalloc
from dataclasses import replace
from io import BytesIO

import pytest

from disco_engine.core.model import AttemptId, Failure, FailureKind
from disco_engine.outputs.formats import FORMATS
from disco_engine.program import ProgramError, bad_data
from disco_engine.records.blocks import Frame, FrameCorruptError
from disco_engine.records.frozen import RecordError, freeze
from disco_engine.records.spills import SpillError
from disco_engine.records.writers import ShuffleWriter
from disco_engine.wire import failure_to_wire
from disco_engine.worker.slot.failures import (
    RECORD_CHARACTERS,
    damage_of,
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


def test_damage_to_what_this_job_wrote_is_nobodys_fault() -> None:
    error = FrameCorruptError(Frame(b"x", AttemptId(1, 2, 3, 4)), "wrong checksum")
    assert damage_of(error, "label 3 from ps-0").kind is FailureKind.INFRASTRUCTURE


def test_damage_to_what_cannot_be_made_again_counts() -> None:
    error = FrameCorruptError(Frame(b"x"), "wrong checksum")
    failure = damage_of(error, "disco://h:1/j/1/0")
    assert (failure.kind, failure.input) == (FailureKind.DATA, "disco://h:1/j/1/0")
    assert failure.message == ("damaged input: disco://h:1/j/1/0: frame of 1 bytes: wrong checksum")


def test_a_record_that_is_refused_has_a_traceback_only_through_the_users_code() -> None:
    def refused() -> BaseException:
        with pytest.raises(RecordError) as caught:
            ShuffleWriter(lambda *_: None, sort=False).extend(0, [5])  # type: ignore[list-item]
        return caught.value

    _is_told_without_frames_of_ours(refused())


@pytest.mark.parametrize("value", [b"\xff", float("nan"), object()])
def test_so_has_one_that_the_output_s_format_does_not_take(value: object) -> None:
    def refused() -> BaseException:
        with pytest.raises(RecordError) as caught:
            FORMATS["jsonl"].encoder(BytesIO()).add("key", value)
        return caught.value

    _is_told_without_frames_of_ours(refused())


def _is_told_without_frames_of_ours(error: BaseException) -> None:
    assert "refused" in user_traceback(error)
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without this test's own frame
    failure = failure_of(error, record="line")
    assert (failure.traceback, failure.record) == ("", "'line'")


def test_a_message_of_ours_that_says_all_stands_without_the_names_of_our_classes() -> None:
    assert one_line(RecordError("map yielded 5")) == "map yielded 5"
    full = SpillError(errno.ENOSPC, "cannot spill to /tmp/x (No space left on device)")
    assert one_line(full) == "cannot spill to /tmp/x (No space left on device)"


def test_the_input_is_shown_with_the_record() -> None:
    failure = failure_of(raised(ValueError("bad")), record=1, input="file.txt")
    assert (failure.record, failure.input) == ("1", "file.txt")


def test_of_a_long_record_the_beginning_is_shown_and_the_length() -> None:
    for record, quote in ((b"x" * 5000, "b'"), ("x" * 5000, "'"), (b"\n" * 5000, "b'")):
        text = record_text(record)
        assert text.startswith(f"{quote}{repr(record[:1]).strip(quote)}")
        assert text.endswith("… (its length is 5,000)")
        assert RECORD_CHARACTERS - 50 < len(text) <= RECORD_CHARACTERS


def test_a_record_whose_class_raises_while_it_is_pickled_has_the_traceback_there() -> None:
    with pytest.raises(RecordError) as caught:
        freeze(Unpicklable())
    error = caught.value
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    assert 'raise LookupError("not me")' in user_traceback(error)


@pytest.mark.parametrize("text", ["\ud800 x", "caf\udce9", "naïve"])
def test_text_that_utf8_has_not_reaches_the_user_escaped(text: str) -> None:
    failure = failure_of(raised(ValueError(text)), record=text)
    message = failure_to_wire(failure)
    escaped = text.encode(errors="backslashreplace").decode()
    assert message.message == f"ValueError: {escaped}"
    assert escaped in message.traceback
    assert (
        failure_to_wire(Failure(kind=FailureKind.FATAL, message="x", input=text)).input == escaped
    )


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


class Unpicklable:
    def __reduce__(self) -> str:
        raise LookupError("not me")


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


def test_passwords_of_urls_that_nobody_could_refuse_do_not_reach_the_user() -> None:
    """They came from a tag, an index or the user's own code."""
    url = "ftp://me:secret@host/a"
    failure = replace(failure_of(raised(ValueError(f"cannot read {url}"))), input=url)
    message = failure_to_wire(failure)
    assert message.message == "ValueError: cannot read ftp://me:***@host/a"
    assert message.input == "ftp://me:***@host/a"
    assert "secret" not in message.traceback


def test_of_a_message_with_millions_of_lines_each_is_not_looked_at() -> None:
    error = ValueError("first\n" + "x\n" * 1_000_000 + "last")
    error.add_note("y\n" * 1_000_000)
    caught = raised(error)
    tracemalloc.start()
    try:
        failure = failure_of(caught)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failure.message == "ValueError: first"
    assert "ValueError: first" in failure.traceback
    assert len(failure.traceback) <= 16_100
    assert most_bytes < 20_000_000  # each line as a text of its own would take 100

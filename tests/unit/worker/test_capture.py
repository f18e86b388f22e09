import pytest

from disco_engine.worker.capture import KEPT_BYTES, OutputCapture
from disco_engine.worker.slot.stdio import MARK


def test_output_belongs_to_the_attempt_whose_mark_precedes_it() -> None:
    """The second attempt has already printed when the first one's report is read."""
    capture = OutputCapture()
    capture.feed(MARK % 1 + b"one" + MARK % 2 + b"two")
    assert capture.take(1) == "one"
    assert capture.take(2) == "two"


def test_a_silent_attempt_gets_nothing_of_the_one_that_has_started_since() -> None:
    capture = OutputCapture()
    capture.feed(MARK % 2 + b"two")
    assert capture.take(1) == ""
    assert capture.take(2) == "two"


def test_output_without_a_mark_belongs_to_the_attempt_that_runs() -> None:
    capture = OutputCapture()
    capture.feed(MARK % 1 + b"one")
    assert capture.take(1) == "one"
    capture.feed(b"from a child process")
    assert capture.take(2) == "from a child process"


def test_what_setting_up_printed_belongs_to_the_first_attempt() -> None:
    capture = OutputCapture()
    capture.feed(b"importing\n")
    capture.feed(MARK % 1 + b"one")
    assert capture.take(1) == "importing\none"


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_marks_are_found_wherever_the_pipe_is_cut(size: int) -> None:
    capture = OutputCapture()
    data = b"\0x" + MARK % 1 + b"a\0b\0\0c" + MARK % 2 + b"two\0"
    for start in range(0, len(data), size):
        capture.feed(data[start : start + size])
    assert capture.take(1) == "\0xa\0b\0\0c"
    assert capture.take(2) == "two\0"


def test_the_end_of_a_flood_is_kept_with_a_note_of_what_is_missing() -> None:
    capture = OutputCapture()
    capture.feed(MARK % 1)
    for _ in range(1_000):
        capture.feed(b"x" * 50_000)
    capture.feed(b"the end")
    note, _, kept = capture.take(1).partition("\n")
    assert len(kept) == KEPT_BYTES
    assert kept.endswith("xthe end")
    assert note == f"[… {50_000_007 - KEPT_BYTES:,} bytes before this were cut …]"


def test_a_line_that_is_not_text_is_told_as_what_it_is() -> None:
    capture = OutputCapture()
    capture.feed("café\n".encode() + b"caf\xe9 \\\n" + b"end")
    assert capture.take(1) == "café\nBinary message data: caf\\xe9 \\\\\nend"


def test_a_character_that_was_cut_with_what_came_before_makes_no_line_binary() -> None:
    capture = OutputCapture()
    capture.feed("é".encode() * KEPT_BYTES + b"x")
    note, _, kept = capture.take(1).partition("\n")
    assert note.startswith("[… ")
    assert kept == "é" * (KEPT_BYTES // 2 - 1) + "x"

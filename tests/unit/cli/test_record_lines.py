import json
import math

import pytest

from disco.cli.record_lines import json_value, line_of, selected


def test_if_values_have_no_order_the_first_records_are_shown_and_not_those_behind_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = ((number, {"of": number}) for number in range(6))

    assert list(selected(records, head=None, top=2)) == [(0, {"of": 0}), (1, {"of": 1})]
    assert "these values have no order" in capsys.readouterr().err


def test_all_are_compared_for_the_largest() -> None:
    records = ((number, number % 4) for number in range(6))

    assert list(selected(records, head=None, top=2)) == [(3, 3), (2, 2)]


def test_a_record_cannot_move_the_cursor_or_break_its_line() -> None:
    assert line_of("\x1b]0;title\x07", "a\r\nb\tc") == "\\x1b]0;title\\x07\ta\\x0d\\nb\\tc"
    assert line_of(b"\x9b2J\xff", None) == "\\x9b2J\\xff"
    assert line_of("é中", 1) == "é中\t1"


def test_every_record_can_be_encoded() -> None:
    assert line_of("lone \ud800", 1).encode() == b"lone \\ud800\t1"


def test_what_json_does_not_have_is_told_as_python_writes_it() -> None:
    values = [math.nan, math.inf, -math.inf, 0.5]

    assert json.loads(json.dumps(json_value(values), allow_nan=False)) == [
        "nan", "inf", "-inf", 0.5,
    ]  # fmt: skip

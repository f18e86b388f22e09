"""Opaque texts that callers keep for us."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco.v1 import coordinator_pb2
from disco_engine.core.model import Totals
from disco_gateway.backend import ListQuery, Position
from disco_gateway.cursors import (
    Place,
    page_from_text,
    page_to_text,
    place_from_text,
    place_to_text,
    position_from_text,
    position_to_text,
)
from disco_gateway.errors import InvalidRequestError

POSITION = Position(uid="uid-1", epoch=3, event=17)
PLACE = Place(
    uid="uid-1",
    first=1,
    stop=9,
    part=4,
    sent=Totals(2, 30, 400),
    run_first=3,
    run_stop=7,
    inner=b"\x00\xff inner",
)
QUERY = ListQuery(namespace="team", limit=10, label_selector="a=b")


def test_what_goes_out_comes_back() -> None:
    assert position_from_text("watch", position_to_text("watch", POSITION)) == POSITION
    assert place_from_text(place_to_text(PLACE)) == PLACE
    assert page_from_text(QUERY, page_to_text(QUERY, "team/job")) == "team/job"


def test_nothing_is_the_beginning() -> None:
    assert position_from_text("watch", "") == Position()
    assert page_from_text(QUERY, "") == ""
    assert page_to_text(QUERY, "") == ""


def test_a_cursor_fits_into_an_url() -> None:
    text = place_to_text(PLACE)
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_of_another_call_is_refused() -> None:
    for text in (position_to_text("watch", POSITION), page_to_text(QUERY, "a/b")):
        with pytest.raises(InvalidRequestError, match="another call"):
            position_from_text("logs", text)
    with pytest.raises(InvalidRequestError, match="another call"):
        place_from_text(position_to_text("watch", POSITION))


@pytest.mark.parametrize(
    "changed",
    [
        {"namespace": ""},
        {"label_selector": ""},
        {"phases": frozenset([coordinator_pb2.JOB_PHASE_FAILED])},
    ],
)
def test_a_page_of_another_request_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="another request"):
        page_from_text(replace(QUERY, **changed), page_to_text(QUERY, "a/b"))


def test_the_size_of_pages_may_change() -> None:
    assert page_from_text(replace(QUERY, limit=3), page_to_text(QUERY, "a/b")) == "a/b"


def packed(**fields: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


GOOD = {
    "v": 1,
    "k": "results",
    "u": "x",
    "f": 0,
    "s": 5,
    "p": 2,
    "t": [0, 0, 0],
    "r": [0, 5],
    "i": "",
}


@pytest.mark.parametrize(
    "damage",
    [
        {"v": 2},
        {"u": 5},
        {"f": -1},
        {"f": True},
        {"p": 1.5},
        {"p": 6},
        {"s": 2**64},
        {"t": [0, 0]},
        {"t": [0, 0, -1]},
        {"t": "abc"},
        {"r": [0, None]},
        {"i": "?"},
        {"i": None},
    ],
)
def test_a_changed_cursor_is_refused_or_leads_to_a_place(damage: dict[str, Any]) -> None:
    assert place_from_text(packed(**GOOD)).part == 2
    with pytest.raises(InvalidRequestError, match="damaged"):
        place_from_text(packed(**{**GOOD, **damage}))


@given(st.text() | st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_no_text_does_harm(text: str) -> None:
    for read in (place_from_text, lambda text: position_from_text("watch", text)):
        try:
            read(text)
        except InvalidRequestError as error:
            assert error.violations[0].field == "cursor"  # noqa: PT017


def test_hopeless_texts_are_refused() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 6_000).decode()
    long = base64.urlsafe_b64encode(b'"' + b"a" * 100_000 + b'"').decode()
    for text in (deep, long, base64.urlsafe_b64encode(b"9" * 5_000).decode()):
        with pytest.raises(InvalidRequestError, match="damaged"):
            place_from_text(text)

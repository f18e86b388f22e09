"""Where a caller was: opaque texts that he keeps for us, so that any replica can go on there.

Each is URL-safe base64 of JSON with a version and what it is for. They are not signed: whoever
changes one can only lead himself astray, because every call asks for his rights anew.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from disco_engine.core.model import NOTHING, Totals
from disco_gateway.backend import ListQuery, Position
from disco_gateway.errors import InvalidRequestError

_VERSION = 1
_MAX_TEXT = 8 * 1024
_MAX_NUMBER = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a reader of results is.

    Attributes:
        uid: Of the job.
        first: First part that was asked for.
        stop: Behind the last one.
        part: The part being read; ``stop``: nothing is left.
        sent: Of that part.
        run_first: First part of the selection that the partition service reads for us.
        run_stop: Behind its last one.
        inner: The partition service's own cursor in that selection; empty: there is none.
    """

    uid: str
    first: int
    stop: int
    part: int
    sent: Totals = NOTHING
    run_first: int = 0
    run_stop: int = 0
    inner: bytes = b""


def position_to_text(kind: str, position: Position) -> str:
    """Return the cursor of a watch or of logs."""
    return _packed(kind, u=position.uid, e=position.epoch, n=position.event)


def position_from_text(kind: str, text: str) -> Position:
    """Return what ``position_to_text`` was called with; the beginning, for an empty text.

    Raises:
        InvalidRequestError: It never was, with this *kind*.
    """
    if not text:
        return Position()
    fields = _unpacked(kind, text, "cursor", u=str, e=int, n=int)
    return Position(uid=fields["u"], epoch=fields["e"], event=fields["n"])


def place_to_text(place: Place) -> str:
    """Return the cursor of a stream of results."""
    return _packed(
        "results",
        u=place.uid,
        f=place.first,
        s=place.stop,
        p=place.part,
        t=list(place.sent),
        r=[place.run_first, place.run_stop],
        i=base64.b64encode(place.inner).decode(),
    )


def place_from_text(text: str) -> Place:
    """Return what ``place_to_text`` was called with.

    Raises:
        InvalidRequestError: It never was.
    """
    fields = _unpacked("results", text, "cursor", u=str, f=int, s=int, p=int, t=list, r=list, i=str)
    try:
        blocks, records, size = fields["t"]
        run_first, run_stop = fields["r"]
        place = Place(
            uid=fields["u"],
            first=fields["f"],
            stop=fields["s"],
            part=fields["p"],
            sent=Totals(blocks, records, size),
            run_first=run_first,
            run_stop=run_stop,
            inner=base64.b64decode(fields["i"], validate=True),
        )
    except (ValueError, binascii.Error) as error:
        raise _damaged("cursor") from error
    numbers = (*place.sent, place.run_first, place.run_stop)
    in_order = place.first <= place.part <= place.stop
    if not in_order or not all(map(_is_number, numbers)):
        raise _damaged("cursor")
    return place


def page_to_text(query: ListQuery, after: str) -> str:
    """Return the token of the page that follows; empty, if there is none."""
    return _packed("page", q=_fingerprint(query), a=after) if after else ""


def page_from_text(query: ListQuery, text: str) -> str:
    """Return where the page begins that *text* is the token of; empty: at the beginning.

    Raises:
        InvalidRequestError: It is no token, or of another request than *query*.
    """
    if not text:
        return ""
    fields = _unpacked("page", text, "page_token", q=str, a=str)
    if fields["q"] != _fingerprint(query):
        raise InvalidRequestError.of(
            "page_token", "is of another request: all but page_size must be as in that"
        )
    after: str = fields["a"]
    return after


def _fingerprint(query: ListQuery) -> str:
    """Return what two requests have in common that may share tokens."""
    asked = (
        query.namespace,
        sorted(query.phases),
        query.label_selector,
        query.created_from and query.created_from.isoformat(),
        query.created_before and query.created_before.isoformat(),
    )
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _packed(kind: str, **fields: Any) -> str:
    content = json.dumps({"v": _VERSION, "k": kind, **fields}, separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def _unpacked(kind: str, text: str, field: str, **types: type) -> Mapping[str, Any]:
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError("too long")
        padded = text + "=" * (-len(text) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:
        raise _damaged(field) from error
    if not isinstance(content, dict) or content.get("v") != _VERSION:
        raise _damaged(field)
    if content.get("k") != kind:
        raise InvalidRequestError.of(field, "is of another call: take one that this call has given")
    for name, wanted in types.items():
        value = content.get(name)
        if not isinstance(value, wanted) or (wanted is int and not _is_number(value)):
            raise _damaged(field)
    return content


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def _damaged(field: str) -> InvalidRequestError:
    return InvalidRequestError.of(
        field, "is damaged: send one exactly as it was received, or none to begin anew"
    )

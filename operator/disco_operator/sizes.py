"""How much room things take in a status, as the API server keeps it, and how texts are cut to fit.

Every change of a status is stored, and sent to all who watch; so it stays below 20 kB, whatever the
job has.
"""

import json
from typing import Any

_ELLIPSIS = "…"


def written_bytes(value: Any) -> int:
    """Return how many bytes a value takes as JSON."""
    return len(_written(value))


def first_of(text: str, limit: int) -> str:
    """Return the beginning of *text* that takes at most *limit* bytes as JSON, and an ellipsis."""
    if len(text) <= limit and written_bytes(text) <= limit:
        return text
    return text[: _fitting(text[:limit], limit)] + _ELLIPSIS


def last_of(text: str, limit: int) -> str:
    """Return the end of *text* that takes at most *limit* bytes as JSON, after an ellipsis."""
    if len(text) <= limit and written_bytes(text) <= limit:
        return text
    count = _fitting(text[-limit:][::-1], limit)
    return _ELLIPSIS + text[len(text) - count :]


def _fitting(text: str, limit: int) -> int:
    """Return how many characters from the beginning fit, quotes and ellipsis included."""
    room = limit - written_bytes(_ELLIPSIS)
    for count, character in enumerate(text):
        room -= written_bytes(character) - written_bytes("")
        if room < 0:
            return count
    return len(text)


def _written(value: Any) -> bytes:
    # Characters that are none (lone surrogates) cannot come from messages, but may from elsewhere.
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace")

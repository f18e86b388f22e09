"""What may be shown of what somebody gave us, and the error that ends the program."""

import re

_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")
_QUERY = re.compile(r"(?<=\?)[^\s'\"<>)]+")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>)]+")


class PrepareError(Exception):
    """The code cannot be prepared; the message says what for, and ends with the reason."""


def without_secrets(text: str) -> str:
    """Return *text* without what may be a password: user information and queries of its URLs."""
    return _URL.sub(lambda url: _QUERY.sub("…", _USERINFO.sub("", url.group())), text)


def size_text(size_bytes: float) -> str:
    """Return a number of bytes as people say it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024 or unit == "GiB":
            break
        size_bytes /= 1024
    return f"{size_bytes:,.0f} {unit}" if unit == "bytes" else f"{size_bytes:,.1f} {unit}"

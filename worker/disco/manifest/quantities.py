"""Sizes and durations as people write them, in manifests and on the command line."""

import re
from decimal import Decimal

_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "K": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "P": Decimal(10) ** 15,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
    "Pi": Decimal(2) ** 50,
}
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE](\d{1,2}))?([a-zA-Z]*)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_LONGEST_S = 100 * 366 * 86_400.0
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")

SIZE_EXPECTED = "a size such as 512Mi, 2Gi or 1000000 (bytes)"
DURATION_EXPECTED = "a duration such as 90s, 10m, 1h30m or 600 (seconds)"


def quantity(text: str) -> Decimal:
    """Return the number that a Kubernetes quantity such as "500m", "2Gi" or "1.5" stands for.

    Raises:
        ValueError: *text* is not a quantity.

    Source:
        Kubernetes, apimachinery, "Quantity": decimal (k, M, G …) and binary (Ki, Mi, Gi …)
        suffixes, exponents. "K" is accepted too: nobody means anything else by it.
    """
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[3] not in _SUFFIXES:
        raise ValueError(f"{text!r} is not a quantity")
    return Decimal(match[1]) * Decimal(10) ** int(match[2] or 0) * _SUFFIXES[match[3]]


def size_bytes(text: str) -> int:
    """Return how many bytes *text* ("512Mi", "2Gi", "1000000") stands for.

    Raises:
        ValueError: *text* is not a size, or not a whole number of bytes.
    """
    number = quantity(text)
    if number != int(number):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(number)


def duration_s(text: str) -> float:
    """Return how many seconds *text* ("90s", "10m", "1h30m", "600") stands for.

    Raises:
        ValueError: *text* is not a duration, or longer than 100 years.
    """
    stripped = text.strip()
    if re.fullmatch(r"\d+(?:\.\d+)?", stripped):
        seconds = float(stripped)
    elif _DURATION.fullmatch(stripped) is None:
        raise ValueError(f"{text!r} is not a duration")
    else:
        parts = _DURATION_PART.findall(stripped)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than 100 years")
    return seconds


def size_text(size: float) -> str:
    """Return *size* bytes for people: "812 B", "4.6 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def count_text(count: float) -> str:
    """Return *count* for people: "812", "31,102", "4.6 M"."""
    if count < 999_999.5:
        return f"{count:,.0f}"
    return f"{count / 1e6:,.1f} M" if count < 999_950_000 else f"{count / 1e9:,.1f} G"


def duration_text(seconds: float) -> str:
    """Return *seconds* for people: "0.8 s", "42 s", "3 min 05 s", "2 h 10 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"

"""What is measured, as rows of a table in Markdown, each beside the bound it is compared with."""

import os
import platform
from typing import NamedTuple

HEADER = "| figure | measured | bound | met |\n| --- | --- | --- | --- |"


class Row(NamedTuple):
    """One figure.

    Attributes:
        figure: What it is.
        measured: Its value, with the unit.
        bound: What it is compared with; empty: nothing, it only explains.
        met: Whether the bound holds; None: there is none.
    """

    figure: str
    measured: str
    bound: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        """Return the row in Markdown."""
        met = {None: "", True: "yes", False: "no"}[self.met]
        return f"| {self.figure} | {self.measured} | {self.bound} | {met} |"


def at_most(figure: str, value: float, bound: float, unit: str = "", digits: int = 0) -> Row:
    """Return a row that is good if *value* is not above *bound*."""
    return Row(
        figure,
        f"{value:,.{digits}f} {unit}".strip(),
        f"at most {bound:,.{digits}f} {unit}".strip(),
        value <= bound,
    )


def at_least(figure: str, value: float, bound: float, unit: str = "", digits: int = 0) -> Row:
    """Return a row that is good if *value* is not below *bound*."""
    return Row(
        figure,
        f"{value:,.{digits}f} {unit}".strip(),
        f"at least {bound:,.{digits}f} {unit}".strip(),
        value >= bound,
    )


def machine() -> str:
    """Return the machine's shape and how busy it is with other things, to stand beside figures."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load, *_ = os.getloadavg()
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()},"
        f" load {load:.1f}"
    )

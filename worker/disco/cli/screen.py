"""Standard output as rich draws on it."""

import os
import sys

from rich.console import Console

_WIDTH_OF_FILES = 120


def page() -> Console:
    """Return a console on standard output; colours only on a terminal, and never if NO_COLOR."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(
        file=sys.stdout, highlight=False, soft_wrap=False, width=None if known else _WIDTH_OF_FILES
    )

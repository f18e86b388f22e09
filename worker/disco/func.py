"""The old name of ``disco.worker.classic.func``."""

from disco.worker.classic.func import *  # noqa: F403
from disco.worker.classic.func import __all__ as __all__

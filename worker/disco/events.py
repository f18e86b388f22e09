"""Another name of ``disco.eventmonitor``."""

from disco.eventmonitor import *  # noqa: F403
from disco.eventmonitor import __all__ as __all__

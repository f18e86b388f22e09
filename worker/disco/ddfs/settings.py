"""Where the roots of DDFS are."""

import re

from disco.settings import DiscoSettings
from disco_engine.inputs.urls import scheme_of

_ENGINES = ("disco", "http", "https", "grpc", "grpcs", "dns")
_ADDRESS = re.compile(r"[\w.-]+(:\d+)?")


def roots_of(master: str | None, settings: DiscoSettings) -> list[str]:
    """Return the URLs of the roots.

    Args:
        master: Roots, separated by commas; or the address of an engine, or None: the setting.
        settings: Have ``DISCO_DDFS``.
    """
    text = settings["DISCO_DDFS"] if master is None or _is_engine(master) else master
    return [url.strip() for url in text.split(",") if url.strip()]


def _is_engine(master: str) -> bool:
    """Tell whether *master* is where jobs run, not where data is: a path has a slash."""
    return scheme_of(master) in _ENGINES or bool(_ADDRESS.fullmatch(master))

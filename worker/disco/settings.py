"""Where an author's process gets its defaults from."""

import getpass
import os
import socket
from collections.abc import Callable
from typing import Any

import platformdirs

from disco.error import DiscoError


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _ddfs() -> str:
    return str(platformdirs.user_data_path("disco") / "ddfs")


_DEFAULTS: dict[str, Callable[[], str]] = {
    "DISCO_MASTER": lambda: "local",  # which engine runs jobs; "local": processes on this machine
    "DISCO_EVENTS": lambda: "",  # print events while waiting: "", "json" or anything else
    "DISCO_JOB_OWNER": _owner,  # for people
    "DISCO_DDFS": _ddfs,  # where tags and blobs are: a path or URL; copies: several, with commas
    "DDFS_BLOB_REPLICAS": lambda: "1",  # roots that have each blob
    "DDFS_READ_TOKEN": lambda: "",  # for tags that need one, unless another is given
    "DDFS_WRITE_TOKEN": lambda: "",
}


class DiscoSettings(dict[str, Any]):
    """Settings by name: those given, else the environment's, else the defaults."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(settings)

    def names(self) -> list[str]:
        """Return the names of all settings there are, sorted."""
        return sorted({*_DEFAULTS, *self})

    def __missing__(self, key: str) -> str:
        if key in os.environ:
            return os.environ[key]
        if key not in _DEFAULTS:
            known = ", ".join(sorted(_DEFAULTS))
            raise DiscoError(f"there is no setting {key!r}; there are {known}")
        return _DEFAULTS[key]()

"""Where an author's process gets its defaults from.

A setting's value is the one given to ``DiscoSettings``, else the environment's, else that of a
settings file, else the default. Of Disco's settings those that have a meaning here are in
``_DEFAULTS``; the others are accepted, and nobody asks for them.
"""

import getpass
import os
import socket
from collections.abc import Callable
from functools import cache
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


def _settings_file() -> str:
    places = (os.path.expanduser("~/.disco"), "/etc/disco/settings.py")
    return next((place for place in places if os.path.isfile(place)), "")


_DEFAULTS: dict[str, Callable[[], Any]] = {
    "DISCO_MASTER": lambda: "local",  # which engine runs jobs; "local": processes on this machine
    "DISCO_EVENTS": lambda: "",  # print events while waiting: "", "json" or anything else
    "DISCO_JOB_OWNER": _owner,  # for people
    "DISCO_DDFS": _ddfs,  # where tags and blobs are: a path or URL; copies: several, with commas
    "DDFS_BLOB_REPLICAS": lambda: "1",  # roots that have each blob
    "DDFS_READ_TOKEN": lambda: "",  # for tags that need one, unless another is given
    "DDFS_WRITE_TOKEN": lambda: "",
    "DISCO_SETTINGS_FILE": _settings_file,  # Python that sets some of these
    "DISCO_DEBUG": lambda: "off",  # how much `disco.test` tells: "off", "log" or "trace"
    "DISCO_TEST_HOST": socket.gethostname,  # where `disco.test` serves a test's inputs
    "DISCO_TEST_PORT": lambda: 9444,
    "DISCO_TEST_PROFILE": lambda: "",  # whether jobs of `disco.test` are profiled
    "DISCO_TEST_PURGE": lambda: "purge",  # whether they are purged afterwards
}

# Of processes, ports and directories that there are none of here.
_WITHOUT_EFFECT: dict[str, Any] = {
    "DATA_GC_INTERVAL": 12,
    "DDFS_ABSOLUTE_SPACE": "",
    "DDFS_DATA": "",
    "DDFS_GC_BALANCE_THRESHOLD": 0.1,
    "DDFS_GC_INITIAL_WAIT": "",
    "DDFS_GET_MAX": 3,
    "DDFS_PARANOID_DELETE": "",
    "DDFS_PUT_MAX": 3,
    "DDFS_PUT_PORT": 8990,
    "DDFS_ROOT": "",
    "DDFS_SPACE_AWARE": "",
    "DDFS_TAG_MIN_REPLICAS": 1,
    "DDFS_TAG_REPLICAS": 1,
    "DISCO_DATA": "",
    "DISCO_ERLANG": "erl",
    "DISCO_FLAGS": "",
    "DISCO_GC_AFTER": 100 * 365 * 24 * 60 * 60,
    "DISCO_HOME": "",
    "DISCO_HTTPD": "",
    "DISCO_LOG_DIR": "",
    "DISCO_MASTER_CONFIG": "",
    "DISCO_MASTER_HOME": "",
    "DISCO_MASTER_HOST": "localhost",
    "DISCO_MASTER_ROOT": "",
    "DISCO_NAME": "disco_8989",
    "DISCO_PID_DIR": "",
    "DISCO_PORT": 8989,
    "DISCO_PROFILE": "False",
    "DISCO_PROXY": "",
    "DISCO_PROXY_CONFIG": "",
    "DISCO_PROXY_ENABLED": "",
    "DISCO_PROXY_PID": "",
    "DISCO_PROXY_PORT": 8999,
    "DISCO_ROOT": "",
    "DISCO_ROTATE_LOG": False,
    "DISCO_SCHEDULER": "fair",
    "DISCO_SCHEDULER_ALPHA": 0.001,
    "DISCO_TEST_DISCODB": "",
    "DISCO_ULIMIT": 16_000_000,
    "DISCO_USER": "",
    "DISCO_WORKER_MAX_MEM": "80%",
    "DISCO_WWW_ROOT": "",
    "GRAPHITE_HOST": "localhost",
    "SYSTEMD_ENABLED": False,
}


class DiscoSettings(dict[str, Any]):
    """Settings by name.

    Args:
        filename: A settings file, in place of ``~/.disco`` or ``/etc/disco/settings.py``: Python
            that sets variables called as the settings.
        **settings: Those that are given.
    """

    def __init__(self, filename: str | None = None, **settings: Any) -> None:
        super().__init__(settings)
        if filename is not None:
            self["DISCO_SETTINGS_FILE"] = filename

    def names(self) -> list[str]:
        """Return the names of all settings that have an effect, sorted."""
        return sorted({*_DEFAULTS, *self})

    @property
    def env(self) -> dict[str, str]:
        """The environment of this process, and all of these settings in it."""
        return {**os.environ, **{name: str(self[name]) for name in self.names()}}

    def __missing__(self, key: str) -> Any:
        if key in os.environ:
            return os.environ[key]
        if key not in _DEFAULTS and key not in _WITHOUT_EFFECT:
            known = ", ".join(sorted(_DEFAULTS))
            raise DiscoError(f"there is no setting {key!r}; there are {known}")
        if key != "DISCO_SETTINGS_FILE" and (file := self["DISCO_SETTINGS_FILE"]):
            said = _said_by(file)
            if key in said:
                return said[key]
        return _DEFAULTS[key]() if key in _DEFAULTS else _WITHOUT_EFFECT[key]


@cache
def _said_by(file: str) -> dict[str, Any]:
    import runpy  # few have such a file

    try:
        said = runpy.run_path(file, {"os": os})  # such files use os without importing it
    except Exception as error:  # whatever the user's own file raises
        raise DiscoError(f"settings file {file}: {type(error).__name__}: {error}") from error
    return {name: value for name, value in said.items() if name.isupper()}

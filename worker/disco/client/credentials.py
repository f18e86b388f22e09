"""What proves to a server who is asking: tokens, read where they are each time they are needed."""

import logging
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from disco.client.connection import Connection
from disco.client.errors import SettingsError

log = logging.getLogger(__name__)

_MAX_BYTES = 64 * 1024

TokenSource: TypeAlias = Callable[[], Awaitable[str]]
"""Returns the token to show now; empty: none."""


def token_source(connection: Connection) -> TokenSource:
    """Return what gives the token of a connection: as it is, or what its file has now."""

    async def give() -> str:
        if connection.token or connection.token_file is None:
            return connection.token
        return token_in(connection.token_file)

    return give


def token_in(path: Path) -> str:
    """Return the token in a file.

    Raises:
        SettingsError: The file cannot be read, or holds no token.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"token file {path} cannot be read: {error.strerror}; correct its name, or have the"
            " token written there"
        ) from error
    try:
        token = content.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token or len(content) > _MAX_BYTES:
        raise SettingsError(
            f"token file {path} does not hold a token: expected one line of printable characters"
        )
    return token


def warn_if_open(path: Path) -> None:
    """Log a warning if others than its owner can read a token's file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading it will tell
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        log.warning(
            "others can read the token file; take that from them with chmod 600",
            extra={"path": str(path), "mode": f"{stat.S_IMODE(mode):o}"},
        )

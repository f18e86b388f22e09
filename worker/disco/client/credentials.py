"""What proves to a server who is asking: tokens, read where they are each time they are needed."""

import logging
import os
import stat
from pathlib import Path

from disco.client.errors import SettingsError

log = logging.getLogger(__name__)

_MAX_BYTES = 64 * 1024


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
            f"token file {path} cannot be read: {error.strerror}; correct its name, have the token"
            " written there, or start disco serve again, if the file went with it"
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
    """Log a warning if others than its owner can read a file with a token."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading it will tell
    if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
        # In the sentence: programs that set up no logging print nothing else.
        log.warning(
            "others can read %s, which holds a token: take that from them (chmod 600)", path
        )

"""Who may use a server on this machine, and whose jobs he may change.

A token file has a line for each user, as Kubernetes' static token files do: ``token,user`` and the
user's groups. Everybody sees all jobs; who may stop or remove one is its owner, and ``admin``s.
"""

import csv
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from disco_gateway.backend import Caller, Verb
from disco_gateway.errors import DeniedError, UnauthenticatedError

ADMINS = "admin"
"""The group whose members may change everybody's jobs."""

MIN_TOKEN = 16
"""Characters: a shorter one can be guessed by trying."""


class UsersError(Exception):
    """A token file cannot be used; the message has a line for each thing to correct."""


class Users:
    """Users, by what they show.

    What is kept of a token is its SHA-256, by which it is found: how long that takes says nothing
    about the token.

    Args:
        users: Token, name and groups of each.
    """

    def __init__(self, users: Iterable[tuple[str, str, tuple[str, ...]]]) -> None:
        self._by_digest: Mapping[bytes, tuple[str, tuple[str, ...]]] = {
            _digest(token): (name, groups) for token, name, groups in users
        }

    def of(self, token: str) -> Caller:
        """Return whose token it is.

        Raises:
            UnauthenticatedError: Nobody's.
        """
        found = self._by_digest.get(_digest(token))
        if found is None:
            raise UnauthenticatedError(
                "the token is not one of this server's: it makes a new one whenever it starts"
                " without a file of users, and writes down where"
            )
        name, groups = found
        return Caller(name=name, groups=groups, token=token)


def check_owner(caller: Caller, owner: str, verb: Verb, namespace: str) -> None:
    """Do nothing, if the caller may change a job of *owner*.

    Raises:
        DeniedError: He may not.
    """
    if caller.name != owner and ADMINS not in caller.groups:
        raise DeniedError(
            caller.name, verb, namespace, f"only {owner!r}, whose job it is, and admins may"
        )


def read_users(path: Path) -> Users:
    """Return the users in a token file.

    Raises:
        UsersError: It cannot be read, others can read it, or it makes no sense.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            lines = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsersError(f"{path}: cannot be read: {error}") from error
    if mode & 0o077:
        raise UsersError(
            f"{path}: others can read the tokens in it (mode {mode:04o}): run chmod 600 {path}"
        )
    users = {
        number: [field.strip() for field in line]
        for number, line in enumerate(lines, start=1)
        if any(field.strip() for field in line) and not line[0].lstrip().startswith("#")
    }
    problems = [f"{path}:{number}: {text}" for number, text in _problems(users)]
    if problems:
        raise UsersError("\n".join(problems))
    if not users:
        raise UsersError(f"{path}: has no users: expected lines of token,user[,group]")
    return Users((token, name, tuple(groups)) for token, name, *groups in users.values())


def _problems(users: Mapping[int, list[str]]) -> Iterator[tuple[int, str]]:
    """Yield what is wrong, with the number of the line; no token is ever told."""
    seen: dict[str, int] = {}
    for number, fields in users.items():
        token, name = (*fields, "", "")[:2]
        if len(fields) < 2 or not name:
            yield number, "expected token,user[,group], found no user"
        if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable():
            yield number, f"the token needs at least {MIN_TOKEN} printable ASCII characters"
        elif token in seen:
            yield number, f"the token is that of line {seen[token]}: give each user his own"
        seen.setdefault(token, number)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

"""The servers that this process knows, each with one client for all who ask it."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from disco.client.connection import Connection, resolve
from disco.client.errors import ClientError
from disco.client.sync import Client
from disco.error import DataError


class Server:
    """A server, and how it is reached.

    Attributes:
        connection: To it.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._making = threading.Lock()
        self._made: Client | None = None

    @property
    def client(self) -> Client:
        """The connection's client, made when it is first needed."""
        with self._making:
            if self._made is None:
                self._made = Client(self.connection)
            return self._made

    def records(
        self, namespace: str, name: str, uid: str, first: int, count: int, *, trust: bool
    ) -> Iterator[tuple[Any, Any]]:
        """Yield the (key, value) records of some parts of a result.

        Raises:
            DataError: They cannot be read, or are not there any more.
        """
        url = f"disco://{self.connection.server}/{namespace}/{name}/{uid}/{first}"
        records = self.client.records(
            name, namespace=namespace, first_part=first, parts=count, trust=trust, uid=uid
        )
        with closing(records):
            try:
                yield from records
            except ClientError as error:
                raise DataError(str(error), url) from error


_servers: dict[Connection, Server] = {}
_lock = threading.Lock()


def server_of(connection: Connection) -> Server:
    """Return the server at a connection: one for all who ask, so that they share its client."""
    with _lock:
        return _servers.setdefault(connection, Server(connection))


def server_at(name: str) -> Server:
    """Return the server that URLs call *name*: ``host:port``, or that of a context.

    Raises:
        SettingsError: Nobody knows it.
    """
    with _lock:
        known = [s for connection, s in _servers.items() if connection.server == name]
    if known:
        return known[-1]
    return server_of(resolve(server=name) if ":" in name else resolve(context=name))

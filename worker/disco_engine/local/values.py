"""What a run's tasks left beside their records: who tells it while it runs, and where it is kept.

The coordinator ends with the job, so what it knows is then written to a file: one message after the
other, ascending by key, each with its length before it.
"""

import logging
import struct
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import grpc

from disco.v1 import common_pb2, coordinator_pb2
from disco_engine.local.client import CoordinatorClient
from disco_engine.local.errors import EngineError
from disco_engine.local.progress import ProgressBoard

log = logging.getLogger(__name__)

_PATIENCE_S = 15.0  # for a coordinator that is started again
_LENGTH = struct.Struct("<I")


class RunValues:
    """The values of one run.

    Args:
        path: Of the file.
        board: Knows whether the job is over.
        logs: Where the logs of the run's processes are, for errors.

    Attributes:
        client: Asks the coordinator; None: there is none yet.
    """

    def __init__(self, path: Path, board: ProgressBoard, logs: Path) -> None:
        self.client: CoordinatorClient | None = None
        self._path = path
        self._board = board
        self._logs = logs
        self._kept = threading.Event()  # or it is known that they cannot be
        self._none = False  # most runs have none, and need no file

    def select(self, key: str, prefix: str, *, keys_only: bool) -> list[common_pb2.NamedValue]:
        """Return the value of *key*, or if that is empty, all whose keys begin with *prefix*.

        Raises:
            EngineError: They are not there any more, or the coordinator does not answer.
        """
        request = coordinator_pb2.ValuesRequest(key=key, prefix=prefix, keys_only=keys_only)
        if self.client is not None and not self._board.over:
            try:
                return self.client.values(request, _PATIENCE_S)
            except (grpc.RpcError, ValueError) as error:  # ValueError: it was closed meanwhile
                if not self._board.over:
                    raise self._gone(f"the coordinator does not tell it: {error}") from error
        self._kept.wait()
        if self._none:
            return []
        try:
            return list(_selected(self._path, request))
        except FileNotFoundError as error:
            raise self._gone("its processes are gone, and nothing was kept") from error

    def keep(self) -> None:
        """Write down what only the coordinator can tell, which is about to end."""
        try:
            if self.client is not None and self._board.error is None:
                values = self.client.values(coordinator_pb2.ValuesRequest(), _PATIENCE_S)
                self._none = not values
                if values:
                    _save(self._path, values)
        except (grpc.RpcError, OSError, ValueError) as error:
            log.warning("what tasks put beside records is lost", extra={"reason": str(error)})
        finally:
            self._kept.set()

    def _gone(self, why: str) -> EngineError:
        return EngineError(
            f"what the job's tasks put beside their records is not there: {why}", self._logs
        )


def _save(path: Path, values: Iterable[common_pb2.NamedValue]) -> None:
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            for value in values:
                data = value.SerializeToString()
                file.write(_LENGTH.pack(len(data)) + data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _selected(path: Path, wanted: coordinator_pb2.ValuesRequest) -> Iterator[common_pb2.NamedValue]:
    with path.open("rb") as file:
        for value in _read(file):
            if value.key == wanted.key if wanted.key else value.key.startswith(wanted.prefix):
                if wanted.keys_only:
                    value.ClearField("value")
                yield value


def _read(file: BinaryIO) -> Iterator[common_pb2.NamedValue]:
    while head := file.read(_LENGTH.size):
        (length,) = _LENGTH.unpack(head)
        yield common_pb2.NamedValue.FromString(file.read(length))

"""What the worker asks the coordinator for its slots: the values that other tasks left."""

import asyncio

import grpc
import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.core.model import Failure, FailureKind
from disco_engine.worker.connections import Connections

_DEADLINE_S = 10.0
_RETRY_S = 0.5
_LATER = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.FAILED_PRECONDITION,  # it still waits for its partition services
    }
)


class UnansweredError(Exception):
    """The coordinator refuses to answer, and would again."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Questions:
    """Asks one coordinator."""

    def __init__(self, address: str, connections: Connections) -> None:
        self._address = address
        self._connections = connections

    async def value_of(self, key: str) -> bytes | None:
        """Return the value that a sealed task left under *key*; None: none did.

        A coordinator that is away is asked until it is back. Whether it stays away is for the
        worker's link to find out, which ends the worker then.

        Raises:
            UnansweredError: It does not answer such questions.
        """
        request = coordinator_pb2.ValuesRequest(key=key)
        while True:
            stub = coordinator_pb2_grpc.CoordinatorStub(self._connections.channel(self._address))
            call = stub.Values(request, timeout=_DEADLINE_S, metadata=self._connections.metadata)
            try:
                found = [value async for reply in call for value in reply.values]
            except grpc.aio.AioRpcError as error:
                if error.code() not in _LATER:
                    raise UnansweredError(self._refusal(key, error)) from error
                await asyncio.sleep(_RETRY_S)
            else:
                return found[0].value if found else None

    def _refusal(self, key: str, error: grpc.aio.AioRpcError) -> Failure:
        return Failure(
            kind=FailureKind.INFRASTRUCTURE,
            message=f"the coordinator at {self._address} does not tell the value {key!r}:"
            f" {error.code().name}: {error.details()}",
        )

"""Blocking calls to a coordinator on this machine, which may be restarted at any moment."""

import threading
import time
from collections.abc import Iterator

import grpc

from disco.v1 import common_pb2, coordinator_pb2, coordinator_pb2_grpc
from disco_engine.rpc import credentials_of, sync_channel

_PAUSE_S = 0.1


class CoordinatorClient:
    """One job's coordinator, seen from outside."""

    def __init__(self, address: str, token: str) -> None:
        self._channel = sync_channel(address)
        self._stub = coordinator_pb2_grpc.CoordinatorStub(self._channel)
        self._credentials = credentials_of(token)
        self._closed = threading.Event()

    def watch(self) -> Iterator[coordinator_pb2.WatchReply]:
        """Yield what the coordinator tells, for as long as it takes; ends when closed.

        A broken stream is taken up again where it broke, or, if the coordinator has been replaced,
        from the replacement's first event.

        Raises:
            grpc.RpcError: The coordinator refuses the call for good.
        """
        last_event, epoch = 0, 0
        while not self._closed.is_set():
            request = coordinator_pb2.WatchRequest(after_event=last_event)
            try:
                for reply in self._stub.Watch(
                    request, metadata=self._credentials, wait_for_ready=True
                ):
                    if epoch not in (0, reply.progress.epoch):
                        last_event, epoch = 0, reply.progress.epoch
                        break  # its events have been counted from 1 again
                    epoch = reply.progress.epoch
                    if reply.events:
                        last_event = reply.events[-1].number
                    yield reply
            except grpc.RpcError as error:
                if error.code() not in _PASSING:
                    raise
            except ValueError:  # what grpc raises when a closed channel is used
                if not self._closed.is_set():
                    raise
            self._closed.wait(_PAUSE_S)

    def cancel(self, reason: str, timeout_s: float) -> bool:
        """Ask for the job's end; False if it cannot be asked within *timeout_s* seconds."""
        try:
            self._stub.Cancel(
                coordinator_pb2.CancelRequest(reason=reason),
                metadata=self._credentials,
                wait_for_ready=True,
                timeout=timeout_s,
            )
        except (grpc.RpcError, ValueError):  # ValueError: the channel has been closed meanwhile
            return False
        return True

    def values(
        self, request: coordinator_pb2.ValuesRequest, timeout_s: float
    ) -> list[common_pb2.NamedValue]:
        """Return what the job's tasks left beside their records.

        Raises:
            grpc.RpcError: The coordinator did not answer within *timeout_s* seconds.
            ValueError: The client has been closed.
        """
        give_up_at = time.monotonic() + timeout_s
        while True:
            try:
                replies = self._stub.Values(
                    request,
                    metadata=self._credentials,
                    wait_for_ready=True,
                    timeout=max(0.0, give_up_at - time.monotonic()),
                )
                return [value for reply in replies for value in reply.values]
            except grpc.RpcError as error:
                if error.code() not in _COME_AGAIN or time.monotonic() >= give_up_at:
                    raise
            self._closed.wait(_PAUSE_S)

    def close(self) -> None:
        """End all calls; ``watch`` returns."""
        self._closed.set()
        self._channel.close()


_PASSING = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}
)
_COME_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION})

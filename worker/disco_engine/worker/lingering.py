"""What a worker does whose job is over, below a supervisor that would start it again: it waits.

The coordinator that has told it so may be replaced before anybody else has heard of the end. The
next one finds what is finished, but has the output committed again, and needs workers for that.
"""

import asyncio
from contextlib import suppress

import grpc.aio

from disco.v1 import coordinator_pb2, coordinator_pb2_grpc
from disco_engine.phases import ENDED
from disco_engine.rpc import aio_channel, credentials_of

ASK_EVERY_S = 3.0
_DEADLINE_S = 5.0


async def wanted_again(address: str, token: str, epoch: int, stop: asyncio.Event) -> bool:
    """Wait until a newer coordinator works on the job, or until *stop* is set.

    Args:
        address: host:port of the coordinator, whoever that is.
        token: The job's.
        epoch: Of the coordinator that has said that the job is over.
        stop: Ends the waiting.

    Returns:
        Whether there is a newer coordinator.
    """
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(ASK_EVERY_S):
                await stop.wait()
        if not stop.is_set() and await _works_now(address, token, epoch):
            return True
    return False


async def _works_now(address: str, token: str, epoch: int) -> bool:
    # A new channel each time: the address may be that of another pod by now.
    async with aio_channel(address) as channel:
        call = coordinator_pb2_grpc.CoordinatorStub(channel).Watch(
            coordinator_pb2.WatchRequest(), metadata=credentials_of(token), timeout=_DEADLINE_S
        )
        try:
            async for reply in call:
                return reply.progress.epoch > epoch and reply.progress.phase not in ENDED
        except grpc.aio.AioRpcError:
            pass  # it is gone, as it should be, or not there yet
        finally:
            call.cancel()
    return False

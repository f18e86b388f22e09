"""Channels to the job's other processes: one for each address, with the job's token."""

import grpc.aio

from disco_engine.rpc import aio_channel, credentials_of


class Connections:
    """Channels that are opened when first needed and closed together."""

    def __init__(self, token: str) -> None:
        self.metadata = credentials_of(token)
        self._channels: dict[str, grpc.aio.Channel] = {}

    def channel(self, address: str) -> grpc.aio.Channel:
        """Return the channel to *address*, host:port."""
        channel = self._channels.get(address)
        if channel is None:
            channel = self._channels[address] = aio_channel(address)
        return channel

    def forget(self, address: str) -> None:
        """Have the next one who asks get a new channel to *address*: nobody was reached there.

        A host that is away for minutes makes gRPC look its name up ever more seldom, at last every
        two minutes, and a channel cannot be told to do it now. The old one is closed when those
        who use it let go of it: closing it under their hands would end them, not their calls.
        """
        self._channels.pop(address, None)

    async def close(self) -> None:
        """Close all channels."""
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

"""Who can reach whom, and connections: what travels on them is late, or lost when they break.

A stream keeps its order, and nothing within it is lost: that is what TCP gives. What is lost is
what was on its way when a connection breaks, in either direction, so a caller never knows whether
a call that ended so was carried out. A network that is cut holds messages back, and delivers them
late if it comes back before the connection is given up.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Protocol

from simulator.world import Process, World

_KEEPALIVE_S = (10.0, 20.0)
_LATEST_S = 5.0


class Side(Enum):
    """An end of a connection."""

    CLIENT = 0
    SERVER = 1

    @property
    def other(self) -> "Side":
        """The other end."""
        return Side.SERVER if self is Side.CLIENT else Side.CLIENT


class Network:
    """Who can reach whom, and how long it takes.

    Attributes:
        listeners: Who listens, by address.
        window: Messages that a stream holds before its writer has to wait.
        lag: How much longer messages take than usual.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.listeners: dict[str, Listener] = {}
        self.connections: list[Connection] = []
        self.window = world.random.choice((1, 2, 8, 32))
        self.lag = 1.0
        self._cuts: dict[tuple[str, str], int] = {}

    def is_cut(self, sender: Process, receiver: Process) -> bool:
        """Return whether nothing gets from one node to another."""
        return self._cuts.get((sender.node, receiver.node), 0) > 0

    def cut(self, sender: str, receiver: str) -> None:
        """Let nothing get from one node to another."""
        self._cuts[sender, receiver] = self._cuts.get((sender, receiver), 0) + 1
        for connection in list(self.connections):
            connection.watch_for_silence()

    def mend(self, sender: str, receiver: str) -> None:
        """End a cut; what was held back arrives now."""
        self._cuts[sender, receiver] -= 1
        for connection in list(self.connections):
            connection.release()

    def latency(self, sender: Process, receiver: Process) -> float:
        """Return how long the next message takes."""
        random = self.world.random
        if sender.node == receiver.node:
            return random.uniform(0.00002, 0.0002)
        luck = random.random()
        if luck < 0.93:
            seconds = random.uniform(0.0002, 0.002)
        elif luck < 0.995:
            seconds = random.uniform(0.002, 0.05)
        else:
            seconds = random.uniform(0.05, 1.5)
        return min(seconds * self.lag, _LATEST_S)


class Listener(Protocol):
    """Who can be called."""

    process: Process
    listening: bool


class Conversation(Protocol):
    """A call, as far as its connection knows it."""

    last_sent: dict[Side, float]

    @property
    def quiet(self) -> bool:
        """Nothing is on its way, in either direction."""
        ...

    def broke(self, side: Side) -> None:
        """Take note that the connection is gone, at one of its ends."""

    def cancel(self) -> bool:
        """End the call."""
        ...


class Connection:
    """What a channel and a server have between them."""

    def __init__(self, network: Network, client: Process, server: Listener) -> None:
        self.network = network
        self.ends = {Side.CLIENT: client, Side.SERVER: server.process}
        self.server = server
        self.open = {Side.CLIENT: True, Side.SERVER: True}
        self.calls: dict[int, Conversation] = {}
        self._held: dict[Side, deque[Callable[[], None]]] = {side: deque() for side in Side}
        self._suspicious = False
        network.connections.append(self)
        client.on_death.append(lambda: self.close(Side.CLIENT))
        server.process.on_death.append(lambda: self.close(Side.SERVER))
        self.watch_for_silence()

    def send(self, sender: Side, call: Conversation, act: Callable[[], None]) -> None:
        """Have *act* done at the other end, after what was sent before on the same call."""
        if not self.open[sender] or not self.ends[sender].alive:
            return
        world = self.network.world
        latency = self.network.latency(self.ends[sender], self.ends[sender.other])
        time = call.last_sent[sender] = max(call.last_sent[sender], world.now + latency)
        world.at(time, lambda: self._arrive(sender, act))

    def _arrive(self, sender: Side, act: Callable[[], None]) -> None:
        receiver = sender.other
        if self.network.is_cut(self.ends[sender], self.ends[receiver]):
            self._held[sender].append(act)
            return
        if self.open[receiver] and self.ends[receiver].alive:
            act()
        elif self.open[sender]:  # nobody is there: a reset comes back
            self._tell(receiver)

    def release(self) -> None:
        """Deliver what was held back, as far as the way is free."""
        for sender, held in self._held.items():
            while held and not self.network.is_cut(self.ends[sender], self.ends[sender.other]):
                self._arrive(sender, held.popleft())

    def close(self, side: Side) -> None:
        """End the connection at one end; the other learns of it if the network lets it."""
        if not self.open[side]:
            return
        self.open[side] = False
        for call in list(self.calls.values()):
            call.broke(side)
        if not any(self.open.values()):
            self.network.connections.remove(self)
        else:
            self._tell(side)

    def _tell(self, closed: Side) -> None:
        world, other = self.network.world, closed.other
        if self.network.is_cut(self.ends[closed], self.ends[other]):
            world.after(world.random.uniform(*_KEEPALIVE_S), lambda: self.close(other))
        else:
            latency = self.network.latency(self.ends[closed], self.ends[other])
            world.after(latency, lambda: self.close(other))

    def watch_for_silence(self) -> None:
        """Have each end give up in a while if the other cannot be heard then."""
        if self._suspicious or not self._cut():
            return
        self._suspicious = True
        world = self.network.world
        for side in Side:
            world.after(world.random.uniform(*_KEEPALIVE_S), partial(self._give_up, side))

    def _give_up(self, side: Side) -> None:
        self._suspicious = False
        if self._cut():
            self.close(side)

    def _cut(self) -> bool:
        # A ping needs both ways.
        client, server = self.ends[Side.CLIENT], self.ends[Side.SERVER]
        return self.network.is_cut(client, server) or self.network.is_cut(server, client)

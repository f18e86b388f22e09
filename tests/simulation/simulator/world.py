"""Time, processes, and what happens next; the only place that knows which seed this is."""

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from disco_engine.coordinator.services import Services
from disco_engine.coordinator.workers import Workers
from disco_engine.core.job import JobMachine
from disco_engine.partition.store import Store
from disco_engine.worker.parent import Worker
from simulator.disk import Mount
from simulator.loop import SimulatedLoop

STEP_S = 0.00005
"""What one step of a process costs, if its node is not slow."""


@dataclass(slots=True)
class Inside:
    """What tests may look into, as far as the process has it."""

    store: Store | None = None
    worker: Worker | None = None
    machine: JobMachine | None = None
    members: Workers | None = None
    services: Services | None = None


class Violation(Exception):
    """Something that must never be, is."""


class Process:
    """One process: a loop, a clock, and a node it runs on.

    Attributes:
        name: Of its role; the one that takes its place has the same.
        number: Grows with every process of the world.
        slow: How many times longer everything takes.
        available_at: Before this, it does nothing.
        mount: Its disk, if it has one.
        inside: What tests may look into.
    """

    def __init__(self, world: "World", name: str, node: str) -> None:
        self.world = world
        self.name = name
        self.node = node
        self.number = next(world.numbers)
        self.alive = True
        self.slow = 1.0
        self.available_at = world.now
        self.mount: Mount | None = None
        self.inside = Inside()
        self.stop: asyncio.Event = asyncio.Event()
        self.on_death: list[Callable[[], None]] = []
        self._offset = world.random.uniform(0, 100_000)
        self._rate = world.random.uniform(0.97, 1.03) if world.clocks_differ else 1.0
        self.loop = SimulatedLoop(self)
        self.main: asyncio.Task[Any]

    def __str__(self) -> str:
        return f"{self.name}#{self.number}"

    def run(self, main: Coroutine[Any, Any, Any]) -> None:
        """Begin."""
        self.main = self.loop.create_task(main)

    def clock(self) -> float:
        """Return the seconds on its own clock."""
        return self._offset + self._rate * self.world.now

    def due(self) -> float | None:
        """Return when it has something to do, on the world's clock; None: never."""
        due = self.loop.due()
        if due is None:
            return None
        return max((due - self._offset) / self._rate, self.available_at)

    def step(self) -> None:
        """Let it do what it can do now."""
        self.available_at = self.world.now + STEP_S * self.slow
        self.loop.step()

    def in_thread(self, call: Callable[[], object]) -> None:
        """Have *call* made a little later, by a thread of this process."""

        def run() -> None:
            if not self.alive:
                return
            if self.world.now < self.available_at - 0.1:  # frozen
                self.world.at(self.available_at, run)
            else:
                call()

        self.world.after(self.world.random.uniform(0.0001, 0.003) * self.slow, run)

    def note_bug(self, message: str, error: BaseException | None) -> None:
        """Note that something in it ended as nothing should."""
        if self.alive:
            self.world.fail(f"{self} has a bug: {message}: {error!r}", error)

    def kill(self) -> None:
        """End it between two steps, or in the middle of one."""
        if not self.alive:
            return
        self.alive = False
        if self.mount is not None:
            self.mount.alive = False
        for told in self.on_death:
            told()


class World:
    """All there is.

    Args:
        seed: Everything follows from it.
        on_story: Hears what happens, in plain words, with the time.
    """

    def __init__(self, seed: int, *, clocks_differ: bool = True) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.clocks_differ = clocks_differ
        self.numbers = itertools.count(1)
        self.story: list[tuple[float, str]] = []
        self.processes: list[Process] = []
        self.dead: list[Process] = []
        self.steps = 0
        self.violation: Violation | None = None
        self.after_step: Callable[[Process], None] = lambda process: None
        self.on_exit: Callable[[Process, BaseException | None], None] = lambda process, why: None
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def tell(self, text: str) -> None:
        """Add a sentence to the story."""
        self.story.append((self.now, text))

    def fail(self, text: str, cause: BaseException | None = None) -> None:
        """Note that what must never be, is; the run ends after this event."""
        if self.violation is None:
            self.violation = Violation(text)
            self.violation.__cause__ = cause

    def at(self, time: float, call: Callable[[], object]) -> None:
        """Have *call* made at *time*."""
        heapq.heappush(self._events, (max(time, self.now), next(self._order), call))

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Have *call* made in *seconds*."""
        self.at(self.now + seconds, call)

    def chance(self, probability: float) -> bool:
        """Return whether something of that probability happens."""
        return self.random.random() < probability

    def add(self, process: Process) -> None:
        """Let a process live."""
        self.processes.append(process)

    def bury(self, process: Process) -> None:
        """Kill a process, if it lives; it is never stepped again."""
        process.kill()
        if process in self.processes:
            self.processes.remove(process)
            self.dead.append(process)

    def run(self, over: Callable[[], bool], until: float) -> None:
        """Let things happen until *over* says so, or until *until*.

        Raises:
            Violation: Something that must never be, is.
        """
        while not over() and self.now < until:
            self.steps += 1
            if not self._next(until):
                break
            if self.violation is not None:
                raise self.violation

    def _next(self, until: float) -> bool:
        first, when = None, self._events[0][0] if self._events else float("inf")
        for process in self.processes:
            due = process.due()
            if due is not None and due < when:
                first, when = process, due
        if when == float("inf"):
            return False
        self.now = max(self.now, when)
        if first is None:
            heapq.heappop(self._events)[2]()
            return True
        first.step()
        if first.alive:
            self.after_step(first)
            if first.main.done():
                error = None if first.main.cancelled() else first.main.exception()
                self.bury(first)
                self.on_exit(first, error)
        return True

    def end(self) -> None:
        """Forget all processes, running nothing of them."""
        for process in [*self.processes, *self.dead]:
            process.kill()
            process.loop.discard()


def running_process() -> Process:
    """Return the process whose loop runs now."""
    loop: Any = asyncio.get_running_loop()
    process: Process = loop.process
    return process

"""What goes wrong, when, and for how long: chosen from the seed before the job starts."""

import errno
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from simulator.world import Process

if TYPE_CHECKING:
    from simulator.simulation import Simulation

Fault = Callable[["Simulation", float], None]
"""Strikes at once; whatever it begins is over at that time."""


def plan_of(simulation: "Simulation") -> list[tuple[float, float, Fault]]:
    """Return when each fault begins, when it is over at the latest, and what it is."""
    random = simulation.random
    horizon_s = random.choice((4.0, 10.0, 25.0))
    weights = simulation.faults
    kinds = random.sample(list(weights), k=random.randint(1, len(weights)))
    count = random.choices((0, 1, 2, 4, 8, 16), (1, 2, 3, 4, 4, 2))[0]
    plan: list[tuple[float, float, Fault]] = []
    for _ in range(count):
        begin = random.uniform(0.2, horizon_s)
        lasts = random.choice((0.5, 2.0, 8.0, 25.0)) * random.uniform(0.5, 1.5)
        fault = random.choices(kinds, [weights[kind] for kind in kinds])[0]
        plan.append((begin, begin + lasts, fault))
    return plan


def _any(simulation: "Simulation", *names: str) -> Process | None:
    process = simulation.roles.get(simulation.random.choice(names))
    return process if process is not None and process.alive else None


def _anybody(simulation: "Simulation") -> Process | None:
    return _any(simulation, "coordinator", *simulation.services, *simulation.workers)


def kill(simulation: "Simulation", end: float) -> None:
    """Kill somebody."""
    process = _anybody(simulation)
    if process is not None:
        simulation.kill(process)


def kill_worker(simulation: "Simulation", end: float) -> None:
    """Kill a worker, for longer than its lease or not."""
    process = _any(simulation, *simulation.workers)
    if process is not None:
        simulation.kill(process, restart_s=end - simulation.world.now)


def kill_coordinator(simulation: "Simulation", end: float) -> None:
    """Kill the coordinator."""
    process = _any(simulation, "coordinator")
    if process is not None:
        simulation.kill(process)


def kill_service(simulation: "Simulation", end: float) -> None:
    """Kill a partition service, for a while."""
    process = _any(simulation, *simulation.services)
    if process is not None:
        simulation.kill(process, restart_s=end - simulation.world.now)


def kill_at_the_disk(simulation: "Simulation", end: float) -> None:
    """Kill a partition service or a worker the moment it touches the disk for the nth time."""
    process = _any(simulation, *simulation.services, *simulation.services, *simulation.workers)
    if process is not None and process.mount is not None:
        process.mount.touches_left = simulation.random.randint(1, 6)


def lose_volume(simulation: "Simulation", end: float) -> None:
    """Kill a partition service, with all it had."""
    process = _any(simulation, *simulation.services)
    if process is not None and not simulation.written_down:
        simulation.kill(process, "is killed, and its volume is gone")
        simulation.disks[process.name].wipe()


def lose_power(simulation: "Simulation", end: float) -> None:
    """Let a machine go dark, with what its page cache had not written."""
    if simulation.written_down:
        return
    node = simulation.random.choice(simulation.nodes)
    simulation.world.tell(f"{node} loses its power")
    for process in list(simulation.roles.values()):
        if process.node == node and process.alive:
            simulation.kill(process, "goes dark", restart_s=end - simulation.world.now)
            if process.name in simulation.disks:
                simulation.disks[process.name].lose_power()


def settle(simulation: "Simulation", end: float) -> None:
    """Let page caches be written back (no fault: it makes a loss of power forget less)."""
    for disk in simulation.disks.values():
        disk.settle()


def corrupt(simulation: "Simulation", end: float) -> None:
    """Damage a disk, but not the result: its reader sees that, and nobody mends it.

    The journal says what is sealed. Once the result is written down, it is a part of that.
    """
    if simulation.succeeded:
        return
    disk = simulation.disks[simulation.random.choice(simulation.services)]
    spared = [f"stage-{len(simulation.job.plan.stages)}."]
    if simulation.written_down:
        spared.append("journal")
    where = disk.corrupt(but=tuple(spared))
    if where:
        simulation.world.tell(f"the disk of {disk.name}: {where}")


def fill_disk(simulation: "Simulation", end: float) -> None:
    """Let a disk be full for a while, or fail when it is written to."""
    disk = simulation.disks[simulation.random.choice(simulation.services)]
    disk.refused = errno.ENOSPC if simulation.world.chance(0.7) else errno.EIO
    what = "is full" if disk.refused == errno.ENOSPC else "cannot be written"
    simulation.world.tell(f"the disk of {disk.name} {what}")
    end = min(end, simulation.world.now + 8.0)

    def empty() -> None:
        disk.refused = 0
        simulation.world.tell(f"there is room on the disk of {disk.name} again")

    simulation.world.at(end, empty)


def freeze(simulation: "Simulation", end: float) -> None:
    """Stop somebody for a while."""
    process = _anybody(simulation)
    if process is not None:
        process.available_at = max(process.available_at, end)
        simulation.world.tell(f"{process} freezes until {end:.1f}")


def freeze_service(simulation: "Simulation", end: float) -> None:
    """Stop a partition service for a while."""
    process = _any(simulation, *simulation.services)
    if process is not None:
        process.available_at = max(process.available_at, end)
        simulation.world.tell(f"{process} freezes until {end:.1f}")


def slow_down(simulation: "Simulation", end: float) -> None:
    """Let a node be slow for a while."""
    node = simulation.random.choice(simulation.nodes)
    slow = [one for one in simulation.world.processes if one.node == node]
    factor = simulation.random.choice((10.0, 100.0))
    simulation.world.tell(f"{node} is {factor:.0f} times slower")
    for process in slow:
        process.slow = factor

    def speed_up() -> None:
        for process in slow:
            process.slow = 1.0

    simulation.world.at(end, speed_up)


def cut(simulation: "Simulation", end: float) -> None:
    """Cut a node off from another, in one direction or both."""
    nodes = [*simulation.nodes, "outside"]
    one, other = simulation.random.sample(nodes, 2)
    ways = [(one, other), (other, one)]
    if simulation.world.chance(0.3):
        del ways[1]
    for way in ways:
        simulation.network.cut(*way)
    simulation.world.tell(f"the network is cut: {' and '.join(f'{a} to {b}' for a, b in ways)}")

    def mend() -> None:
        simulation.world.tell(f"{one} and {other} can talk again")
        for way in ways:
            simulation.network.mend(*way)

    simulation.world.at(end, mend)


def break_connections(simulation: "Simulation", end: float) -> None:
    """Break some connections."""
    for connection in list(simulation.network.connections):
        if simulation.world.chance(0.4):
            simulation.world.tell(
                "the connection of {} to {} breaks".format(*connection.ends.values())
            )
            side = simulation.random.choice(list(connection.open))
            connection.close(side)


def lag(simulation: "Simulation", end: float) -> None:
    """Let all messages be late for a while."""
    factor = simulation.random.choice((10.0, 200.0))
    simulation.network.lag *= factor
    simulation.world.tell(f"messages take {factor:.0f} times longer")

    def hurry() -> None:
        simulation.network.lag /= factor

    simulation.world.at(end, hurry)


def drain(simulation: "Simulation", end: float) -> None:
    """Tell a worker to end, as before its node goes away."""
    process = _any(simulation, *simulation.workers)
    if process is not None:
        simulation.world.tell(f"{process} is told to end")
        process.stop.set()


def stop_service(simulation: "Simulation", end: float) -> None:
    """Tell a partition service to end."""
    process = _any(simulation, *simulation.services)
    if process is not None:
        simulation.world.tell(f"{process} is told to end")
        process.stop.set()


def replace_coordinator(simulation: "Simulation", end: float) -> None:
    """Start another coordinator beside one that only seems to be dead."""
    old = _any(simulation, "coordinator")
    if old is None:
        return
    frozen = simulation.world.chance(0.5)
    if frozen:
        old.available_at = max(old.available_at, end)
    simulation.world.tell(f"{old} {'is frozen' if frozen else 'lives on'}, and is replaced")
    simulation.start("coordinator")
    simulation.world.at(end + 60.0, lambda: simulation.world.bury(old))


def spoil_code(simulation: "Simulation", end: float) -> None:
    """Let the user's code raise, or end its own process, a few times."""
    simulation.spoil(simulation.random.choice(("raise", "exit")), simulation.random.randint(1, 4))


FAULTS: Mapping[Fault, float] = {
    kill: 3,
    kill_worker: 2,
    kill_coordinator: 2,
    kill_service: 2,
    kill_at_the_disk: 4,
    lose_volume: 2,
    lose_power: 1,
    settle: 1,
    corrupt: 2,
    fill_disk: 2,
    freeze: 2,
    slow_down: 1,
    cut: 3,
    break_connections: 3,
    lag: 1,
    drain: 1,
    stop_service: 1,
    replace_coordinator: 1,
    spoil_code: 1,
}
"""What strikes if nothing else is asked for, and how often."""

NAMES: Mapping[str, Fault] = {fault.__name__: fault for fault in (*FAULTS, freeze_service)}
"""What may be asked for. Jobs that meet one kind only get into states that are rare otherwise."""

"""Draws how a job of a run looks on this machine, and says what can happen to it there; pure."""

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from chaos.job import JOBS, Size
from chaos.plan import Choice, Planned, draw


class Fault(StrEnum):
    """What can be done to a process of the local engine."""

    KILL = "kill"
    TERMINATE = "terminate"
    FREEZE = "freeze"
    FILL_DISK = "fill the disk of"
    FLIP_BITS = "flip bits of"
    CUT = "cut the connections of"
    SILENCE = "drop the packets of"


class Target(StrEnum):
    """To which; the first three are roles of the engine's."""

    WORKER = "worker"
    COORDINATOR = "coordinator"
    SERVICE = "partition service"
    SLOT = "slot"


SILENCE_S = 6.0
"""After which the engine replaces a process that does not react."""

_FREEZE_S = (0.5, 2 * SILENCE_S)
MENU = (
    *(Choice(fault=Fault.KILL, target=target, weight=3) for target in Target),
    *(Choice(fault=Fault.TERMINATE, target=target) for target in Target),
    *(Choice(fault=Fault.FREEZE, target=target, lasts_s=_FREEZE_S, most=2) for target in Target),
    Choice(fault=Fault.FILL_DISK, target=Target.SERVICE, weight=3, lasts_s=(1.0, 8.0), most=2),
    Choice(fault=Fault.FLIP_BITS, target=Target.SERVICE, weight=3),
    *(Choice(fault=Fault.CUT, target=t) for t in (Target.COORDINATOR, Target.SERVICE)),
    *(
        Choice(fault=Fault.SILENCE, target=target, lasts_s=(0.5, 25.0), most=1)
        for target in (Target.COORDINATOR, Target.SERVICE)
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A job, what it runs on, and what happens to it.

    Attributes:
        job: A name in ``chaos.job.JOBS``.
        to_files: Its records go to files, not to whoever asks the partition services.
        max_attempts: 1, so that no failure may be charged to it, unless slots are hurt.
        faults: What happens, by its moments.
    """

    job: str
    size: Size
    workers: int
    slots: int
    services: int
    copies: int
    speculates: bool
    to_files: bool
    max_attempts: int
    faults: tuple[Planned, ...]

    def __str__(self) -> str:
        parts = [self.job, f"{self.workers}x{self.slots} slots", f"{self.services} services"]
        parts += ["two copies"] * (self.copies == 2)
        parts += ["rivals"] * self.speculates + ["to files"] * self.to_files
        return ", ".join(parts)


def scene_of(seed: int, *, most_faults: int = 6) -> Scene:
    """Return the scene of a seed; the same for the same seed."""
    chance = random.Random(f"scene {seed}")
    faults = tuple(draw(seed, MENU, most=most_faults))
    # Who loses a slot cannot know that it was not the job's own fault.
    charged = any(fault.target == Target.SLOT for fault in faults)
    services = chance.randint(1, 3)
    scene = Scene(
        job=chance.choice(sorted(JOBS)),
        size=Size(inputs=chance.randint(10, 50), words=chance.choice((100, 400, 2_000))),
        workers=chance.randint(1, 3),
        slots=chance.choice((1, 1, 2)),
        services=services,
        copies=chance.choice((1, 2)) if services > 1 else 1,
        speculates=chance.random() < 0.3,
        to_files=chance.random() < 0.3,
        max_attempts=20 if charged else 1,
        faults=faults,
    )
    return replace(scene, max_attempts=20) if scene.speculates else scene

"""Run a seed from its beginning to its end, the same way every time."""

import gc
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from simulator.faults import FAULTS, Fault
from simulator.loop import number_from_zero
from simulator.simulation import Simulation
from simulator.standins import in_simulation, unheard
from simulator.world import Violation


class Told(Exception):
    """A violation, with the story that led to it.

    Attributes:
        seed: Of the run.
        violation: What must never be.
        story: What happened, with the time of each sentence.
        trace: Where the violation was found.
    """

    def __init__(
        self, seed: int, violation: str, story: list[tuple[float, str]], trace: str
    ) -> None:
        super().__init__(seed, violation, story, trace)  # so that it can be pickled
        self.seed = seed
        self.violation = violation
        self.story = story
        self.trace = trace

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.violation}"


def run_seed(seed: int, faults: Mapping[Fault, float] = FAULTS) -> list[tuple[float, str]]:
    """Run one seed and return its story.

    Args:
        seed: Which.
        faults: What goes wrong, and how often compared with the others.

    Raises:
        Told: Something that must never be, is.
    """
    number_from_zero()
    gc.collect()
    gc.disable()  # when it runs depends on what ran before; generators would end at odd moments
    try:
        with tempfile.TemporaryDirectory(dir=_fast_directory()) as directory:
            return _run(seed, Path(directory), faults)
    finally:
        gc.enable()


def _run(seed: int, directory: Path, faults: Mapping[Fault, float]) -> list[tuple[float, str]]:
    simulation = Simulation(seed, directory, faults)
    story = simulation.world.story
    told = None
    with unheard():
        try:
            with in_simulation(simulation):
                simulation.run()
        except Violation as violation:
            trace = "".join(traceback.format_exception(violation))
            told = Told(seed, str(violation), story, trace)
            violation.with_traceback(None)
        simulation.world.end()
        del simulation
        gc.collect()
    if told is not None:
        raise told
    return story


def _fast_directory() -> str | None:
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None

"""Draws what goes wrong in a run, and when; pure, and the same for the same seed.

Whoever runs jobs says by a menu what can be done to which of its things; what the words mean is its
own affair. Moments are told by how much of the job is done, since machines differ in how long that
takes.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

OVER = 1.0
"""The moment at which all tasks are done; later ones are those of whoever reads the results."""

_LAST_MOMENT = 1.1
_STARTING = 0.15  # the share of faults that come while nothing is done
_LONGEST_START_S, _LONGEST_DELAY_S = 3.0, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Something that can go wrong.

    Attributes:
        fault: What happens.
        target: To what kind of thing.
        weight: How often, compared with the others.
        lasts_s: The shortest and the longest time until it is undone.
        most: How often in a run at most.
    """

    fault: str
    target: str
    weight: int = 1
    lasts_s: tuple[float, float] = (0.0, 0.0)
    most: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One thing that goes wrong.

    Attributes:
        at: When so much of the job is done, from 0 (at its start) to more than ``OVER``.
        delay_s: So long after that.
        pick: From 0 to 1: which of the things of this kind, see ``picked``.
        lasts_s: Until it is undone; 0: it is not, or there is nothing to undo.
    """

    at: float
    delay_s: float
    fault: str
    target: str
    pick: float
    lasts_s: float

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.fault} {self.target}{lasts} at {self.at:.0%}+{self.delay_s:.1f} s"

    def picked(self, things: Sequence[T]) -> T | None:
        """Return the one that is meant; None: there is none."""
        return things[int(self.pick * len(things))] if things else None


def draw(seed: int, menu: Iterable[Choice], *, least: int = 1, most: int = 6) -> list[Planned]:
    """Return what goes wrong in the run with this seed, by its moments.

    Args:
        seed: The same seed and menu give the same faults.
        menu: What can go wrong.
        least: How many faults at least,
        most: and at most.
    """
    # Not the seed itself: others draw from it, too, and must not get the same numbers.
    chance = random.Random(f"faults {seed}")
    left = {choice: choice.most for choice in menu}
    planned: list[Planned] = []
    for _ in range(chance.randint(least, most)):
        open_to_us = [choice for choice, times in left.items() if times > 0]
        if not open_to_us:
            break
        (choice,) = chance.choices(open_to_us, [choice.weight for choice in open_to_us])
        left[choice] -= 1
        planned.append(_planned(chance, choice))
    return sorted(planned, key=lambda fault: (fault.at, fault.delay_s))


def _planned(chance: random.Random, choice: Choice) -> Planned:
    starting = chance.random() < _STARTING
    return Planned(
        at=0.0 if starting else chance.uniform(0.0, _LAST_MOMENT),
        delay_s=chance.uniform(0.0, _LONGEST_START_S if starting else _LONGEST_DELAY_S),
        fault=choice.fault,
        target=choice.target,
        pick=chance.random(),
        lasts_s=chance.uniform(*choice.lasts_s),
    )

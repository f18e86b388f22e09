"""The jobs that must give the right answer whatever happens, and the right answer.

The inputs are numbers; the first stage makes words of each. All jobs count them, on different ways.
The module needs nothing but ``disco``, so that it can travel as a job's code.
"""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from disco import Job, Params, Stage, group_all, group_label, split
from disco.util import kvgroup
from disco.worker.classic.func import sum_combiner

LABELS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much there is to do.

    Attributes:
        inputs: How many, which is how many tasks the first stage has.
        words: Of each input.
        pause_s: How long tasks sleep at every tenth record, to be alive when something happens.
    """

    inputs: int = 40
    words: int = 400
    pause_s: float = 0.003

    @property
    def urls(self) -> list[str]:
        """The inputs."""
        return [f"raw://{number}" for number in range(self.inputs)]

    @property
    def params(self) -> Params:
        """The job's ``params``: attributes, because those of a manifest are."""
        return Params(words=self.words, pause_s=self.pause_s)


def words_of(number: int, words: int) -> list[str]:
    """Return the words of one input."""
    chance = random.Random(number)
    return [f"word-{chance.randrange(3_000)}" for _ in range(words)]


def right_answer(size: Size) -> Counter[str]:
    """Return how often each word is in all inputs: what every job must give, each word once."""
    return Counter(word for n in range(size.inputs) for word in words_of(n, size.words))


def checksum(records: Iterable[tuple[str, int]]) -> str:
    """Return what two results have in common only if they have the same records, in any order."""
    lines = sorted(f"{word}\t{int(count)}\n" for word, count in records)
    return f"{len(lines)} records, sha256 {hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _with_pauses(records: Iterable[Any], params: Any) -> Iterator[Any]:
    for number, record in enumerate(records):
        if number % 10 == 0:
            time.sleep(params.pause_s)
        yield record


class Classic(Job):
    """Map, combiner, shuffle, sort and reduce."""

    partitions = LABELS
    sort = True
    combiner = staticmethod(sum_combiner)

    @staticmethod
    def map(line: bytes, params: Any) -> Iterator[tuple[str, int]]:
        """Emit the words of an input."""
        for word in _with_pauses(words_of(int(line), int(params.words)), params):
            yield word, 1

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, int]]:
        """Add up each word's counts."""
        for word, counts in _with_pauses(kvgroup(pairs), params):
            yield word, sum(counts)


def _keep(interface: Any, params: Any) -> Any:
    return params


def _scatter(interface: Any, params: Any, label: int, lines: Iterable[bytes]) -> None:
    for line in lines:
        for word in _with_pauses(words_of(int(line), int(params.words)), params):
            interface.output(len(word) * ord(word[-1]) % LABELS).add(word, 1)


def _count(interface: Any, params: Any, label: int, pairs: Any) -> None:
    for word, counts in _with_pauses(kvgroup(pairs), params):
        total = sum(counts)
        interface.output(total % 3).add(word, total)


def _by_count(interface: Any, params: Any, label: int, pairs: Iterable[tuple[str, int]]) -> None:
    for word, count in _with_pauses(pairs, params):
        interface.output(0).add(count, word)


def _turn(interface: Any, params: Any, label: int, pairs: Iterable[tuple[int, str]]) -> None:
    for count, word in _with_pauses(pairs, params):
        interface.output(0).add(word, count)


class Pipeline(Job):
    """Four stages: by word, sorted; by count; one task that sees all in the order of counts."""

    pipeline = (
        (split, Stage("scatter", init=_keep, process=_scatter)),
        (group_label, Stage("count", init=_keep, process=_count, combine=True, sort=True)),
        (split, Stage("by-count", init=_keep, process=_by_count)),
        (group_all, Stage("turn", init=_keep, process=_turn, combine=True, sort=True)),
    )


JOBS: dict[str, type[Job]] = {"classic": Classic, "pipeline": Pipeline}

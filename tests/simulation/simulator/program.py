"""The user's program of a simulated job: count words, in stages; and what it should give."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

from disco_engine.core.model import Group, Grouping, Label, Plan, Stage, TaskInput
from disco_engine.core.partitioning import partition_of
from disco_engine.records.writers import ShuffleWriter

Pairs = Iterable[tuple[str, int]]
Put = Callable[[Label, int, bytes], None]

NOTHING = "(nothing)"
"""What a stage says that has its task even if there is nothing to read, if there is nothing."""

_WORDS = ("the", "of", "and", "to", "that", "in", "he", "shall", "unto", "for", "i", "his", "a")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        texts: One per input, by its URL.
        plan: What the plan task answers.
        partitions: Labels that each stage writes.
        blocks: Frames that a task writes per label, at most.
        has_output: The result goes to files.
    """

    texts: dict[str, str]
    plan: Plan
    partitions: int
    blocks: int
    has_output: bool

    @property
    def expected(self) -> Counter[str]:
        """What the job should give, made without it."""
        words = Counter[str]()
        for text in self.texts.values():
            words.update(text.split())
        if not words and any(stage.even_if_empty for stage in self.plan.stages):
            words[NOTHING] = 1
        return words

    @property
    def counts_once(self) -> bool:
        """Each word is in one record of the result."""
        return (
            self.plan.stages[-1].grouping in (Grouping.GROUP_LABEL, Grouping.GROUP_ALL)
            and len(self.plan.stages) > 1
        )

    def map(self, text: str) -> Iterator[tuple[str, int]]:
        """Yield what the first stage makes of an input."""
        for word in text.split():
            yield word, 1

    def reduce(self, stage: int, pairs: Pairs) -> Pairs:
        """Return what a later stage makes of what it reads."""
        totals: Counter[str] = Counter()
        for word, count in pairs:
            totals[word] += count
        if not totals and self.plan.stages[stage].even_if_empty:
            totals[NOTHING] = 1
        return sorted(totals.items())

    def write(self, pairs: Pairs, *, sort: bool, put: Put) -> None:
        """Write what a task emits, in frames, each with the label of its keys."""
        everything = list(pairs)
        size = max(1, -(-len(everything) // self.blocks))
        for start in range(0, len(everything), size):
            writer = ShuffleWriter(put, sort=sort)
            writer.partition(
                everything[start : start + size], lambda key: partition_of(key, self.partitions)
            )
            writer.close()


def job_of(random: Random) -> Job:
    """Return a job, of any shape that there is."""
    inputs = random.choices(range(8), weights=[1, 3, 3, 3, 3, 3, 3, 3])[0]
    most = random.choices((0, 30), weights=[1, 15])[0]
    texts = {
        f"text://{index}": " ".join(random.choices(_WORDS, k=random.randint(0, most)))
        for index in range(inputs)
    }
    later = random.choices(
        list(Grouping), weights=[2, 4, 3, 3, 2], k=random.choices((1, 2, 3), (5, 4, 1))[0]
    )
    first = random.choices(list(Grouping), weights=[12, 1, 1, 1, 1])[0]
    if random.random() < 0.6:
        later[-1] = Grouping.GROUP_LABEL
    stages = [Stage(name="map", grouping=first)]
    stages += [
        Stage(
            name=f"reduce-{index}",
            grouping=grouping,
            sorted_input=random.random() < 0.5,
            even_if_empty=grouping is Grouping.GROUP_ALL and random.random() < 0.5,
        )
        for index, grouping in enumerate(later)
    ]
    return Job(
        texts=texts,
        plan=Plan(
            stages=tuple(stages),
            inputs=tuple(
                TaskInput(urls=(url,), label=index % 2) for index, url in enumerate(texts)
            ),
        ),
        partitions=random.randint(1, 4),
        blocks=random.randint(1, 4),
        has_output=random.random() < 0.3,
    )


def name_of(group: Group) -> str:
    """Return what to call a group in a story."""
    return ", ".join(
        f"{key} {value}" for key, value in group._asdict().items() if value is not None
    )

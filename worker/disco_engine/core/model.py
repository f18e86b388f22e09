"""The words all of the engine shares: identities, plans, totals, failures. Values only.

The messages of ``proto/disco/v1`` say the same on the wire; ``disco_engine.wire`` translates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NewType, TypeAlias

WorkerId = NewType("WorkerId", str)
ServiceId = NewType("ServiceId", str)
NodeName = NewType("NodeName", str)
Label: TypeAlias = int
Values: TypeAlias = tuple[tuple[str, bytes], ...]
"""What a task left beside its records: (key, value), each key once."""

PLAN_STAGE = 0
"""Stage 0 is always the plan stage: one task, which answers with the Plan."""


class TaskRef(NamedTuple):
    """One task of the job.

    Attributes:
        stage: Index of the stage in the job: 0 is the plan stage, the plan's stages follow.
        task: Index of the task in its stage, from 0.
    """

    stage: int
    task: int


class AttemptId(NamedTuple):
    """One attempt at one task; no two attempts of a job share it.

    Attributes:
        stage: As in TaskRef.
        task: As in TaskRef.
        epoch: The coordinator that assigned it, at least 1.
        attempt: Which attempt this is within the epoch, from 1.
    """

    stage: int
    task: int
    epoch: int
    attempt: int

    @property
    def ref(self) -> TaskRef:
        """The task it is an attempt at."""
        return TaskRef(self.stage, self.task)


class Grouping(StrEnum):
    """How a stage's tasks follow from the labels of the stage before it."""

    SPLIT = "split"  # a task per (task of the stage before, label)
    GROUP_LABEL = "group_label"  # a task per label
    GROUP_NODE = "group_node"  # a task per node
    GROUP_NODE_LABEL = "group_node_label"  # a task per (node, label)
    GROUP_ALL = "group_all"  # one task


class FailureKind(StrEnum):
    """Who has to act on a failure, and so whether it is tried again."""

    USER = "user"  # the user's code raised, ran too long, took too much memory: counts
    DATA = "data"  # an input could not be read: counts; another replica and node are tried
    INFRASTRUCTURE = "infrastructure"  # a process or the network went away: never counts
    FATAL = "fatal"  # the job can never work: it fails at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt failed.

    Attributes:
        kind: Who has to act.
        message: One sentence that names the object, the value and the remedy; never empty.
        traceback: Of the user's code, or empty.
        record: ``repr`` of the record being processed, at most 1,000 characters, or empty.
        input: What was being read (a URL, or "label 3 from ps-0"), or empty.
    """

    kind: FailureKind
    message: str
    traceback: str = ""
    record: str = ""
    input: str = ""


class Totals(NamedTuple):
    """How much there is of something; what a writer counted and a reader must find again.

    Attributes:
        blocks: Frames.
        records: Records in them.
        bytes: Sum of the frames' lengths.
    """

    blocks: int = 0
    records: int = 0
    bytes: int = 0

    def plus(self, other: "Totals") -> "Totals":
        """Return the sum, field by field."""
        return Totals(
            self.blocks + other.blocks, self.records + other.records, self.bytes + other.bytes
        )

    def minus(self, other: "Totals") -> "Totals":
        """Return the difference, field by field."""
        return Totals(
            self.blocks - other.blocks, self.records - other.records, self.bytes - other.bytes
        )


NOTHING = Totals()


class Group(NamedTuple):
    """What makes a task the task it is, whatever its index; None means "not part of this group".

    Attributes:
        label: The label all of its inputs share.
        node: The node all of its inputs are on.
        origin: The task of the stage before that it reads (SPLIT), or the index of the job's input
            (first stage).
        arrangement: Fingerprint of the outputs that were grouped by node, here or in an earlier
            stage, and of where they were: an attempt of another arrangement read something else.
    """

    label: Label | None = None
    node: NodeName | None = None
    origin: int | None = None
    arrangement: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInput:
    """What one task of the first stage reads.

    Attributes:
        urls: Any of these has the content; at least one.
        offset: Where the range starts, in bytes of the file.
        length: Length of the range in bytes; None: to the end, and the input is not split.
        label: What ``process`` is told.
    """

    urls: tuple[str, ...]
    offset: int = 0
    length: int | None = None
    label: Label = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage of the user's pipeline.

    Attributes:
        name: Unique in the job.
        grouping: How its tasks follow from the stage before.
        sorted_input: It wants its input in key order, so the stage before writes sorted blocks.
        even_if_empty: With GROUP_ALL: it has its task even if the stage before wrote nothing.
    """

    name: str
    grouping: Grouping
    sorted_input: bool = False
    even_if_empty: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All the coordinator ever learns about the user's program.

    Attributes:
        stages: In order, at least one.
        inputs: One task of the first stage each, if its grouping is SPLIT.
    """

    stages: tuple[Stage, ...]
    inputs: tuple[TaskInput, ...]


class Layout(StrEnum):
    """What readers of a stage's output will ask for, and so what is kept together on disk."""

    BY_LABEL = "by label"  # the next stage reads whole labels
    BY_TASK = "by task"  # the next stage reads single tasks, or this is the last stage


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """What a successful attempt did.

    Attributes:
        seconds: Time it took in the slot.
        records_in: Records it read.
        bytes_in: Bytes it read.
        labels: What it pushed, per label; empty if nothing or if it wrote to the job's output.
        plan: The plan task's answer; None in all others.
        output_file: Name of the file it wrote to the output's temporary area, or empty.
        output_records: Records in that file.
        values: What it left beside its records.
        output_complete: It has done nothing: the job's output was committed for an earlier
            coordinator.
    """

    seconds: float = 0.0
    records_in: int = 0
    bytes_in: int = 0
    labels: Mapping[Label, Totals] = field(default_factory=dict)
    plan: Plan | None = None
    output_file: str = ""
    output_records: int = 0
    values: Values = ()
    output_complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SealTerms:
    """What a coordinator says of a finished attempt when it has it sealed, or kept as a copy.

    Attributes:
        id: Which attempt.
        group: What its task is about.
        expected: What its report says it pushed, over all labels: the service must have exactly
            that, or refuse. If it is nothing, no push is needed. So an attempt whose blocks were
            lost in a restart is never sealed empty.
        output_file: The file it wrote to the job's output, or empty.
        output_records: Records in that file.
        records_in: Records it read.
        bytes_in: Bytes it read.
        values: What it left beside its records.
    """

    id: AttemptId
    group: Group
    expected: Totals = NOTHING
    output_file: str = ""
    output_records: int = 0
    records_in: int = 0
    bytes_in: int = 0
    values: Values = ()

    def fulfilled(self, labels: Mapping[Label, Totals]) -> "SealedAttempt":
        """Return what is to be kept of the attempt; *labels* is what it wrote, ``expected``."""
        return SealedAttempt(
            id=self.id,
            group=self.group,
            labels=labels,
            output_file=self.output_file,
            output_records=self.output_records,
            records_in=self.records_in,
            bytes_in=self.bytes_in,
            values=self.values,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedAttempt:
    """A finished, readable attempt, as a partition service knows it; see ``SealTerms``."""

    id: AttemptId
    group: Group
    labels: Mapping[Label, Totals]
    output_file: str = ""
    output_records: int = 0
    records_in: int = 0
    bytes_in: int = 0
    values: Values = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One thing a task reads from a partition service.

    Attributes:
        service: Who has it.
        stage: The stage of the attempts that wrote it.
        label: The label to read.
        task: Only this task's blocks; None: those of all tasks.
        expected: What must be found there, exactly.
    """

    service: ServiceId
    stage: int
    label: Label
    task: int | None
    expected: Totals

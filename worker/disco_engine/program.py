"""What the engine asks of a user's program, and what it offers in return.

A worker slot loads the program (``JobCode.loader`` names the function that does it), calls ``plan``
for the plan task and ``run`` for every other task. ``disco.program`` implements ``Program`` for
Disco's classic and pipeline jobs; the slot implements ``TaskContext``; ``disco_engine.records`` has
what lies between user code and frames. Nothing here knows of sockets, services or the coordinator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from disco_engine.core.model import Failure, FailureKind, Group, Label, Plan, TaskInput
from disco_engine.core.settings import JobSettings
from disco_engine.records.blocks import Frame
from disco_engine.records.writers import RecordWriter

Loader = Callable[[bytes], "Program"]
"""Type of the function that ``JobCode.loader`` names: the payload to the program."""


class ProgramError(Exception):
    """An attempt cannot go on, and the program knows whose turn it is.

    Raise it with a ready-made Failure. Every other exception that leaves ``run`` is the user's
    (FailureKind.USER), one that leaves ``plan`` is FATAL.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class DamagedInputError(ProgramError):
    """An input is damaged, and what was read of it before that was found may be wrong."""


class OutputCompleteError(Exception):
    """The job's output was committed for an earlier coordinator: nothing is left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What the program plans for.

    Attributes:
        inputs: As the user wrote them: each a tuple of URLs with the same content.
        settings: Of the job.
        output_url: Where the records go; empty: they stay in the partition services.
    """

    inputs: tuple[tuple[str, ...], ...]
    settings: JobSettings
    output_url: str = ""


class ShuffleSource(Protocol):
    """The frames of one label from one partition service (or of one task's share of it)."""

    @property
    def label(self) -> Label:
        """The label all of its records were given."""
        ...

    @property
    def name(self) -> str:
        """What to call it in an error: "label 3 from ps-0"."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, once.

        Raises:
            ProgramError: The service is gone, or a frame is missing or damaged.
        """
        ...


class TaskValues(Protocol):
    """What tasks leave beside their records, under names."""

    def put(self, key: str, value: bytes) -> None:
        """Leave *value* under *key*: others see it once this attempt is sealed.

        Raises:
            ValueError: The key cannot be one, or the value is too large, or all are.
        """
        ...

    def get(self, key: str) -> bytes | None:
        """Return what this attempt or a sealed task left under *key*; None: none did.

        Raises:
            ValueError: The key cannot be one.
            ProgramError: Nobody could be asked.
        """
        ...


class TaskContext(Protocol):
    """All a task may ask of the slot that runs it."""

    job_name: str
    stage_name: str
    plan_stage: int
    """Index of the stage in the plan, from 0."""
    task: int
    """Index of the task in its stage, from 0."""
    attempt: int
    node: str
    worker_id: str
    settings: JobSettings
    scratch: Path
    """An empty directory for this attempt, on local disk; removed afterwards."""
    inputs: Sequence[TaskInput]
    """Set in the first stage: what to read, in order. One if its grouping is SPLIT."""
    sources: Sequence[ShuffleSource]
    """Set in later stages, ascending by label. Read them one after the other, each once."""
    sort_output: bool
    """The next stage wants sorted blocks (a RecordWriter from ``writer`` takes care of it)."""

    @property
    def group(self) -> Group:
        """What the task's inputs have in common."""
        ...

    @property
    def values(self) -> TaskValues:
        """What it leaves beside its records, and what others left."""
        ...

    def writer(self) -> RecordWriter:
        """Return where this task's output goes; the same object at every call."""
        ...

    def open_result(self, url: str) -> ShuffleSource:
        """Return a part of another job's result (``disco://host:port/uid/stage/task``)."""
        ...

    def read(self, records: int, size_bytes: int) -> None:
        """Count records and bytes that were read since the last call."""
        ...

    def status(self, text: str) -> None:
        """Tell the user one line about how the task is getting on; the newest line counts."""
        ...

    def record(self, record: object) -> None:
        """Remember *record* as the one being processed, for the error if there is one."""
        ...


class Program(Protocol):
    """A user's job, ready to run."""

    def plan(self, request: PlanRequest) -> Plan:
        """Expand and split the inputs, and name the stages.

        Raises:
            ProgramError: An input is missing or unreadable, or the job makes no sense.
        """
        ...

    def run(self, context: TaskContext) -> None:
        """Run one task: read its input or sources, call the user's functions, write records."""
        ...


def fatal(message: str, **details: str) -> ProgramError:
    """Return the error of a job that can never work."""
    return ProgramError(Failure(kind=FailureKind.FATAL, message=message, **details))


def bad_data(message: str, **details: str) -> ProgramError:
    """Return the error of an input that cannot be read."""
    return ProgramError(Failure(kind=FailureKind.DATA, message=message, **details))


def damaged_data(message: str, **details: str) -> ProgramError:
    """Return the error of an input of which wrong content may have been read before."""
    return DamagedInputError(Failure(kind=FailureKind.DATA, message=message, **details))

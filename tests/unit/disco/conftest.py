"""Runs a job's program stage by stage in memory, as the engine would, for all groupings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from disco import session, task
from disco.job import Job
from disco.job_inputs import input_urls
from disco.packing import pack_job
from disco.program import load
from disco_engine.core.model import Group, Grouping, Label, NodeName, Plan, TaskInput
from disco_engine.core.settings import JobSettings
from disco_engine.program import PlanRequest, Program, ShuffleSource
from disco_engine.records.blocks import Frame
from disco_engine.records.readers import pairs_of
from disco_engine.records.writers import RecordWriter, ShuffleWriter
from disco_engine.worker.slot.values import AttemptValues

from .fake_engine import FakeEngine

NODES = ("node-0", "node-1")
NOTHING = object()
Frames = dict[Label, list[Frame]]
Pairs = list[tuple[Any, Any]]


@dataclass
class MemorySource:
    """The frames of one label from one pretended service."""

    label: Label
    name: str
    held: Sequence[Frame]

    def frames(self) -> Iterator[Frame]:
        return iter(self.held)


@dataclass
class MemoryContext:
    """A TaskContext whose records stay in memory."""

    stage_name: str
    plan_stage: int
    task: int
    group: Group
    node: str
    scratch: Path
    settings: JobSettings
    inputs: Sequence[TaskInput] = ()
    sources: Sequence[ShuffleSource] = ()
    sort_output: bool = False
    job_name: str = "TestJob@1:2:3"
    attempt: int = 1
    worker_id: str = "worker-0"
    results: Mapping[str, Sequence[Frame]] = field(default_factory=dict)
    output: Frames = field(default_factory=dict)
    read_records: int = 0
    read_bytes: int = 0
    statuses: list[str] = field(default_factory=list)
    values: AttemptValues = field(default_factory=lambda: AttemptValues(lambda key: None))
    current: object = NOTHING
    _writer: ShuffleWriter | None = None

    def writer(self) -> RecordWriter:
        if self._writer is None:
            self._writer = ShuffleWriter(
                self._keep, sort=self.sort_output, producer=self.stage_name
            )
        return self._writer

    def _keep(self, label: Label, records: int, frame: bytes) -> None:
        self.output.setdefault(label, []).append(Frame(frame))

    def open_result(self, url: str) -> ShuffleSource:
        return MemorySource(0, url, self.results[url])

    def read(self, records: int, size_bytes: int) -> None:
        self.read_records += records
        self.read_bytes += size_bytes

    def status(self, text: str) -> None:
        self.statuses.append(text)

    def record(self, record: object) -> None:
        self.current = record

    def finish(self) -> None:
        if self._writer is not None:
            self._writer.close()


@dataclass
class Ran:
    """What became of a job that was run in memory.

    Attributes:
        plan: What its program planned.
        contexts: Of the tasks, by stage name.
    """

    plan: Plan
    contexts: dict[str, list[MemoryContext]]

    @property
    def parts(self) -> list[Pairs]:
        """Return the result, a list of pairs per task of the last stage."""
        return [
            list(
                pairs_of(
                    frame for label in sorted(context.output) for frame in context.output[label]
                )
            )
            for context in self.contexts[self.plan.stages[-1].name]
        ]

    @property
    def pairs(self) -> Pairs:
        """Return the result in one list."""
        return [pair for part in self.parts for pair in part]


class MemoryEngine:
    """Runs jobs in this process. Tasks alternate between two nodes."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._attempts = 0
        self.contexts: dict[str, list[MemoryContext]] = {}
        self.results: dict[str, Sequence[Frame]] = {}
        self.no_record = NOTHING
        self.settings = JobSettings()

    def _new_scratch(self) -> Path:
        self._attempts += 1
        scratch = self._scratch / str(self._attempts)
        scratch.mkdir()
        return scratch

    def load(self, job: Job, **jobargs: Any) -> Program:
        """Return the program of a job that has travelled."""
        return load(pack_job(job, jobargs).payload)

    def run(self, job: Job, **jobargs: Any) -> Ran:
        """Run a job that has travelled."""
        program = self.load(job, **jobargs)
        inputs = tuple(input_urls(jobargs.get("input", getattr(job, "input", ()))))
        plan = program.plan(PlanRequest(inputs=inputs, settings=self.settings))
        self.contexts = {}
        before: list[MemoryContext] = []
        for number, stage in enumerate(plan.stages):
            work = (
                first_tasks(stage.grouping, plan) if not number else tasks(stage.grouping, before)
            )
            following = plan.stages[number + 1 : number + 2]
            contexts = [
                MemoryContext(
                    stage_name=stage.name,
                    plan_stage=number,
                    task=index,
                    group=group,
                    node=group.node or NODES[index % 2],
                    scratch=self._new_scratch(),
                    settings=self.settings,
                    inputs=items,
                    sources=sources,
                    sort_output=any(other.sorted_input for other in following),
                    results=self.results,
                )
                for index, (group, items, sources) in enumerate(work)
            ]
            self.contexts[stage.name] = contexts
            for context in contexts:
                program.run(context)
                context.finish()
            before = contexts
        return Ran(plan, self.contexts)


Work = tuple[Group, Sequence[TaskInput], Sequence[ShuffleSource]]


def first_tasks(grouping: Grouping, plan: Plan) -> list[Work]:
    """Return the tasks of a first stage; none of its inputs has a node."""
    if grouping is Grouping.SPLIT:
        return [
            (Group(label=item.label, origin=index), [item], [])
            for index, item in enumerate(plan.inputs)
        ]
    if not plan.inputs:
        return []
    if grouping in (Grouping.GROUP_LABEL, Grouping.GROUP_NODE_LABEL):
        labels = sorted({item.label for item in plan.inputs})
        return [
            (Group(label=label), [item for item in plan.inputs if item.label == label], [])
            for label in labels
        ]
    return [(Group(), plan.inputs, [])]


def tasks(grouping: Grouping, before: list[MemoryContext]) -> list[Work]:
    """Return the tasks that follow from what the tasks of the stage before wrote."""
    work: dict[Any, tuple[Group, dict[tuple[Label, str], list[Frame]]]] = {}
    for context in before:
        for label, frames in context.output.items():
            node = NodeName(context.node)
            group = {
                Grouping.SPLIT: Group(label=label, origin=context.task),
                Grouping.GROUP_LABEL: Group(label=label),
                Grouping.GROUP_NODE: Group(node=node),
                Grouping.GROUP_NODE_LABEL: Group(label=label, node=node),
                Grouping.GROUP_ALL: Group(),
            }[grouping]
            key = (group.origin or 0, group.label or 0, group.node or "")
            _, sources = work.setdefault(key, (group, {}))
            sources.setdefault((label, context.node), []).extend(frames)
    return [
        (
            group,
            [],
            [
                MemorySource(label, f"label {label} from {node}", frames)
                for (label, node), frames in sorted(sources.items())
            ],
        )
        for _, (group, sources) in sorted(work.items())
    ]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[MemoryEngine]:
    """Give what runs jobs in memory."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    yield MemoryEngine(scratch)
    assert task.running_task() is None


@pytest.fixture
def text(tmp_path: Path) -> Callable[..., str]:
    """Give a function that writes lines to a new file and returns its path."""

    def write(*lines: str | bytes) -> str:
        path = tmp_path / f"text-{len(list(tmp_path.iterdir()))}.txt"
        path.write_bytes(
            b"".join(line.encode() if isinstance(line, str) else line for line in lines)
        )
        return str(path)

    return write


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeEngine]]:
    """Let jobs be run by fakes, and give a list of those."""
    made: list[FakeEngine] = []
    monkeypatch.setattr(FakeEngine, "made", made, raising=False)
    monkeypatch.setattr("disco.local_master.LocalEngine", FakeEngine)
    told = {0: {0: 1}, 2: {0: 1}}
    monkeypatch.setattr("disco_engine.local.chained.labels_of", lambda *where: told)
    monkeypatch.delenv("DISCO_MASTER", raising=False)
    monkeypatch.delenv("DISCO_EVENTS", raising=False)
    yield made
    for run in session.all_runs():
        session.remove(run.name)

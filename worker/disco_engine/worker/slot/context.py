"""What the slot offers to the program for one attempt: input, a writer, counters, a directory."""

import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

from disco.v1 import coordinator_pb2, partition_pb2, slot_pb2
from disco_engine.core.model import AttemptId, Failure, Group, Label, TaskInput, Values
from disco_engine.core.settings import JobSettings
from disco_engine.inputs.replicas import by_preference
from disco_engine.program import ProgramError, ShuffleSource
from disco_engine.records.blocks import Frame, FrameCorruptError
from disco_engine.records.writers import RecordWriter
from disco_engine.wire import attempt_from_wire, group_from_wire, input_from_wire, text_to_wire
from disco_engine.worker.slot.conversation import Conversation
from disco_engine.worker.slot.failures import NOTHING, damage_of
from disco_engine.worker.slot.output import TaskOutput
from disco_engine.worker.slot.values import AttemptValues

_PROGRESS_INTERVAL_S = 1.0
_STATUS_INTERVAL_S = 0.2  # on average; a few may follow each other at once
_STATUS_BURST_S = 2.0
_STATUS_CHARACTERS = 500


class SlotContext:
    """The slot's ``TaskContext`` for one attempt."""

    # Made when it is first asked for, as most tasks never do (see __getattr__).
    scratch: Path

    def __init__(
        self,
        task: coordinator_pb2.TaskAssignment,
        *,
        conversation: Conversation,
        setup: slot_pb2.Setup,
        settings: JobSettings,
        output: TaskOutput,
    ) -> None:
        run = task.run
        ref = task.attempt
        self.job_name = setup.job.name
        self.stage_name = task.stage_name
        self.plan_stage = run.plan_stage
        self.task = ref.task
        self.attempt = ref.attempt
        self.node = setup.node
        self.worker_id = setup.worker_id
        self.settings = settings
        self.inputs: Sequence[TaskInput] = [
            by_preference(input_from_wire(item), ref.attempt) for item in run.inputs
        ]
        self.sources: Sequence[ShuffleSource] = [
            SlotSource(
                self,
                slot_pb2.OpenSource(index=index),
                label=source.label,
                name=f"label {source.label} from {source.service.service_id}",
            )
            for index, source in enumerate(run.sources)
        ]
        self.sort_output = run.sort_output
        self.assignment = task
        self.records_in = 0
        self.bytes_in = 0
        self.current_record: object = NOTHING
        self.source_failure: Failure | None = None
        self.damaged: AttemptId | None = None
        self._conversation = conversation
        self._setup = setup
        self._output = output
        self._reading: Generator[partition_pb2.FetchedBlock, None, None] | None = None
        self._status = ""
        self._progress_due = time.monotonic() + _PROGRESS_INTERVAL_S
        self._status_due = 0.0

    def __getattr__(self, name: str) -> Path:
        """Make ``scratch`` on first use."""
        if name != "scratch":
            raise AttributeError(f"a task context has no {name!r}")
        ref = self.assignment.attempt
        path = Path(self._setup.scratch_dir, f"{ref.stage}-{ref.task}-{ref.epoch}-{ref.attempt}")
        path.mkdir(parents=True, exist_ok=True)
        self.scratch = path
        return path

    @cached_property
    def group(self) -> Group:
        """What the task's inputs have in common."""
        return group_from_wire(self.assignment.run.group)

    @cached_property
    def values(self) -> AttemptValues:
        """What it leaves beside its records, and may ask others for."""
        return AttemptValues(self._ask)

    def writer(self) -> RecordWriter:
        """Return where this task's output goes; the same object at every call."""
        return self._output.writer()

    def open_result(self, url: str) -> "SlotSource":
        """Return a part of another job's result (``disco://host:port/uid/stage/task``)."""
        return SlotSource(self, slot_pb2.OpenSource(url=url), label=0, name=url)

    def read(self, records: int, size_bytes: int) -> None:
        """Count records and bytes that were read since the last call."""
        self.records_in += records
        self.bytes_in += size_bytes
        if time.monotonic() >= self._progress_due:
            self._send_progress()

    def status(self, text: str) -> None:
        """Tell the user one line about how the task is getting on; the newest line counts."""
        self._status = text_to_wire(" ".join(str(text).split())[:_STATUS_CHARACTERS])
        now = time.monotonic()
        if now >= self._status_due:
            self._status_due = max(self._status_due, now - _STATUS_BURST_S) + _STATUS_INTERVAL_S
            self._send_progress()

    def record(self, record: object) -> None:
        """Remember *record* as the one being processed, for the error if there is one."""
        self.current_record = record

    # --- for the slot -------------------------------------------------------------------------

    def frames_of(self, what: slot_pb2.OpenSource, name: str) -> Iterator[Frame]:
        """Yield the frames of one source.

        Raises:
            ProgramError: It could not be read; the attempt fails even if user code catches this,
                or that a frame is damaged, because what it has seen is less than there was.
        """
        if self._reading is not None:
            raise RuntimeError(
                f"cannot open {name}: another source of this task is still being read;"
                " read them one after the other"
            )
        self._reading = blocks = self._conversation.read_source(what)
        on_corrupt = partial(self._found_damage, name)
        try:
            for fetched in blocks:
                # Attempts of another job are not for our coordinator to make again.
                origin = None if what.url else attempt_from_wire(fetched.attempt)
                yield Frame(fetched.block.frame, origin, on_corrupt)
        except ProgramError as error:
            self.source_failure = error.failure
            raise
        finally:
            self._reading = None
            blocks.close()

    @property
    def values_left(self) -> Values:
        """What it leaves beside its records."""
        return self.values.left() if "values" in self.__dict__ else ()

    @property
    def untold_status(self) -> str:
        """The newest line that the user was to be told and has not been; empty: none."""
        return self._status

    def release(self) -> None:
        """End what the attempt left open and remove what it left on disk."""
        if self._reading is not None:
            self._reading.close()
        if "scratch" in self.__dict__:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _found_damage(self, name: str, error: FrameCorruptError) -> None:
        if self.source_failure is None:
            self.source_failure = damage_of(error, name)
            self.damaged = error.origin

    def _ask(self, key: str) -> bytes | None:
        try:
            return self._conversation.ask(key)
        except ProgramError as error:  # also if user code goes on with something else instead
            self.source_failure = self.source_failure or error.failure
            raise

    def _send_progress(self) -> None:
        self._progress_due = time.monotonic() + _PROGRESS_INTERVAL_S
        self._conversation.progress(
            coordinator_pb2.AttemptProgress(
                attempt=self.assignment.attempt, records_in=self.records_in, status=self._status
            )
        )
        self._status = ""


class SlotSource:
    """One thing an attempt may read, once."""

    def __init__(
        self, context: SlotContext, what: slot_pb2.OpenSource, *, label: Label, name: str
    ) -> None:
        self.label = label
        self.name = name
        self._context = context
        self._what = what
        self._opened = False

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, once.

        Raises:
            ProgramError: The service is gone, or something is missing.
        """
        if self._opened:
            raise RuntimeError(f"{self.name} has been read already: a source can be read once")
        self._opened = True
        return self._context.frames_of(self._what, self.name)

"""Where the records of an attempt leave the slot: as blocks to the parent, or into a file."""

import os
from typing import TYPE_CHECKING

from disco.v1 import common_pb2, coordinator_pb2, job_pb2, slot_pb2
from disco_engine.core import label_table
from disco_engine.core.model import Failure, FailureKind, Label, Totals
from disco_engine.core.settings import MIB, JobSettings
from disco_engine.program import ProgramError
from disco_engine.records.writers import RecordWriter, ShuffleWriter
from disco_engine.wire import attempt_from_wire
from disco_engine.worker.slot.conversation import Conversation

if TYPE_CHECKING:
    from disco_engine.outputs import FileWriter

_BUFFERED_BYTES = 64 * MIB
_MESSAGE_BYTES = 512 * 1024
_MAX_FRAME_BYTES = 64 * MIB  # it must fit into one gRPC message; other frames are far smaller
_BLOCK_OVERHEAD = 32  # about what a block costs besides its frame


class BlockSink:
    """Sends an attempt's frames to the parent, small ones together, and counts them."""

    def __init__(self, conversation: Conversation) -> None:
        self.totals: dict[Label, Totals] = {}
        self._conversation = conversation
        self._blocks: list[common_pb2.Block] = []
        self._size = 0

    def put(self, label: Label, records: int, frame: bytes) -> None:
        """Send one frame now or a little later."""
        size = len(frame)
        if size > _MAX_FRAME_BYTES:
            raise ProgramError(
                Failure(
                    kind=FailureKind.USER,
                    message=f"a record with the label {label} takes {size / MIB:,.0f} MiB, but the"
                    f" most is {_MAX_FRAME_BYTES // MIB} MiB: write smaller records",
                )
            )
        blocks, before, size_before = self.totals.get(label, (0, 0, 0))
        self.totals[label] = Totals(blocks + 1, before + records, size_before + size)
        self._blocks.append(common_pb2.Block(label=label, records=records, frame=frame))
        self._size += size + _BLOCK_OVERHEAD
        if self._size >= _MESSAGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what is still here."""
        if self._blocks:
            self._conversation.output(slot_pb2.OutputBlocks(blocks=self._blocks))
            self._blocks.clear()
            self._size = 0


class TaskOutput:
    """The writer of one attempt, made when the program first asks for it."""

    def __init__(
        self,
        task: coordinator_pb2.TaskAssignment,
        job: job_pb2.JobSpec,
        settings: JobSettings,
        conversation: Conversation,
    ) -> None:
        self._task = task
        self._job = job
        self._settings = settings
        self._conversation = conversation
        self._sink: BlockSink | None = None
        self._shuffle: ShuffleWriter | None = None
        self._file: FileWriter | None = None

    def writer(self) -> RecordWriter:
        """Return the writer; the same object at every call."""
        if self._task.run.write_output:
            if self._file is None:
                self._file = self._open_file()
            return self._file
        if self._shuffle is None:
            self._sink = BlockSink(self._conversation)
            self._shuffle = ShuffleWriter(
                self._sink.put,
                sort=self._task.run.sort_output,
                memory_bytes=min(_BUFFERED_BYTES, self._settings.sort_memory_bytes),
                producer=self._task.stage_name,
            )
        return self._shuffle

    def finish(self, result: coordinator_pb2.AttemptResult) -> None:
        """Write what is still buffered, and say in *result* what was written."""
        if self._task.run.write_output:
            self.writer()  # a part without records has a file, too
        if self._file is not None:
            self._file.close()
            result.output_file = self._file.file_name
            result.output_records = self._file.records
        if self._shuffle is not None and self._sink is not None:
            self._shuffle.close()
            self._sink.flush()
            result.label_table = label_table.pack(self._sink.totals)

    def abandon(self) -> None:
        """Remove what was written to the job's output; pushed blocks are never sealed."""
        if self._file is not None:
            self._file.abandon()

    def _open_file(self) -> "FileWriter":
        from disco_engine import outputs  # needs fsspec, which most slots never load

        stage, task, epoch, attempt = attempt_from_wire(self._task.attempt)
        writer = outputs.open_writer(
            self._job.output.url,
            self._job.output.format,
            self._job.uid,
            task,
            # Another slot may have begun the same attempt just before it was taken back from there:
            # it is killed for that, but until then it must not empty this file.
            f"{stage}-{epoch}-{attempt}-{os.getpid()}",
        )
        writer.producer = self._task.stage_name
        return writer

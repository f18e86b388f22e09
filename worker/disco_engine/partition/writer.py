"""The one task that writes to disk: blocks, fullest lanes first, and then the journal.

Everything else only puts blocks into lanes and entries into the journal, and waits if it must
know that they are on disk. Writes are large, happen in a thread, and one after the other.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from disco_engine.core.model import Layout
from disco_engine.partition.budget import ByteBudget
from disco_engine.partition.journal import Journal
from disco_engine.partition.space import DiskFullError, DiskSpace
from disco_engine.partition.stage import Stage

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

_COMMIT_AFTER_S = 1.0  # so much of what was sealed last is forgotten by a process that is killed
_RETRY_AFTER_S = 1.0
_SMALL_EXTENT_BYTES = 64 * 1024
_SMALL_EXTENT_S = 0.01
_COMMIT_AT_LATEST_S = 60.0


def commit_delay_s(lanes: int, waiting_bytes: int) -> float:
    """Return how long a seal may wait to be written.

    A commit writes every lane, however little waits in it. With many labels and a trickle of data
    the index of extents would grow without bound; so such commits wait until there are at most a
    hundred small extents a second.

    Args:
        lanes: Labels of which something waits. A task's lane does not count: it ends by itself.
        waiting_bytes: How much waits in them.
    """
    if waiting_bytes >= lanes * _SMALL_EXTENT_BYTES:
        return _COMMIT_AFTER_S
    return min(max(_COMMIT_AFTER_S, lanes * _SMALL_EXTENT_S), _COMMIT_AT_LATEST_S)


class Writer:
    """Decides what to write when, and writes it.

    The fullest lanes are written when half of the memory is taken, so that pushes go on meanwhile,
    and when a push is too large for the other half. Everything is written, and then the journal,
    about a second after an attempt was sealed.
    """

    def __init__(
        self,
        *,
        stages: Mapping[int, Stage],
        journal: Journal,
        budget: ByteBudget,
        space: DiskSpace,
    ) -> None:
        """Begin with nothing to do.

        Args:
            stages: All that may have something to write; a live view.
            journal: Where entries wait.
            budget: To which the bytes of blocks are given back when they are on disk.
            space: Which is told whether writing works.
        """
        self._stages = stages
        self._journal = journal
        self._budget = budget
        self._space = space
        self._write_above = budget.limit // 2
        self._batch_bytes = max(1, budget.limit // 8)
        self._wake = asyncio.Event()
        self._commits: list[asyncio.Future[None]] = []
        self._pending_since_s: float | None = None
        self._failing = False
        self._stopping = False
        self._broken: Exception | None = None
        self._thread = ThreadPoolExecutor(1, "disk-writer")
        budget.on_wait = self._wake.set
        self.idle = asyncio.Lock()
        """Held while something is written; who holds it keeps the disk as it is."""

    def block_added(self) -> None:
        """Note that more waits in the lanes."""
        if self._waiting_bytes() > self._write_above:
            self._wake.set()

    def entry_added(self) -> None:
        """Note that more waits in the journal."""
        if self._pending_since_s is None:
            self._pending_since_s = asyncio.get_running_loop().time()
            self._wake.set()

    async def commit(self) -> None:
        """Return when everything that has been accepted so far is on disk.

        Raises:
            DiskFullError: Some of it is not, and still waits.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commits.append(done)
        self._wake.set()
        await done

    async def run(self) -> None:
        """Write whenever there is reason to, until ``stop``.

        Raises:
            Exception: What ``fail`` was given.
        """
        with self._thread:
            while not self._stopping:
                try:
                    async with asyncio.timeout(self._pause_s()):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                if self._broken is not None:
                    raise self._broken
                async with self.idle:
                    await self._work()

    def fail(self, error: Exception) -> None:
        """Have ``run``, and so the process, end with *error*: nothing of value can be written."""
        _log.error("this process cannot go on", extra={"error": str(error)})
        self._broken = error
        self._wake.set()

    def stop(self) -> None:
        """Let ``run`` end after what it is doing; ``commit`` before, to lose nothing."""
        self._stopping = True
        self._wake.set()

    def _waiting_bytes(self) -> int:
        return sum(stage.waiting_bytes for stage in self._stages.values())

    def _memory_is_short(self) -> bool:
        waiting = self._waiting_bytes()
        return waiting > self._write_above or (waiting > 0 and self._budget.short)

    def _pause_s(self) -> float | None:
        """Return how long nothing has to be done if nobody asks; None: for ever."""
        if self._failing:
            return _RETRY_AFTER_S
        if self._pending_since_s is None:
            return None
        labelled = [s for s in self._stages.values() if s.layout is Layout.BY_LABEL]
        delay_s = commit_delay_s(
            sum(len(stage.dirty) for stage in labelled),
            sum(stage.waiting_bytes for stage in labelled),
        )
        passed_s = asyncio.get_running_loop().time() - self._pending_since_s
        return max(0.0, delay_s - passed_s)

    async def _work(self) -> None:
        waiting, self._commits = self._commits, []
        try:
            while self._memory_is_short():
                stage = max(self._stages.values(), key=lambda stage: stage.waiting_bytes)
                await self._write(stage, stage.fullest(self._batch_bytes))
            if waiting or self._failing or self._pause_s() == 0:
                await self._commit()
        except OSError as error:
            self._note(error)
            full = DiskFullError(self._space.refusal(self._budget.used) or str(error))
            for done in waiting:
                if not done.done():  # else who waited has been cancelled
                    done.set_exception(full)
        else:
            self._note(None)
            for done in waiting:
                if not done.done():
                    done.set_result(None)

    async def _commit(self) -> None:
        entries = list(self._journal.pending)
        for stage in list(self._stages.values()):
            for keys in self._batches(stage):
                await self._write(stage, keys)
        if entries:
            await self._in_thread(self._journal.write, entries)
            self._journal.written(len(entries))
        more = bool(self._journal.pending)
        self._pending_since_s = asyncio.get_running_loop().time() if more else None

    def _batches(self, stage: Stage) -> Iterator[list[int]]:
        """Yield what is dirty now, in portions, so that memory is given back little by little."""
        keys: list[int] = []
        size = 0
        for key, lane in list(stage.dirty.items()):
            keys.append(key)
            size += lane.waiting.size if lane.waiting else 0
            if size >= self._batch_bytes:
                yield keys
                keys, size = [], 0
        if keys:
            yield keys

    async def _write(self, stage: Stage, keys: Iterable[int]) -> None:
        batch = stage.begin_write(keys)
        try:
            at = await self._in_thread(stage.write, batch)
        except OSError:
            stage.fail_write(batch)
            raise
        batch.end_write(at)
        self._budget.give(batch.size)

    async def _in_thread(self, call: Callable[..., _Result], *args: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    def _note(self, error: OSError | None) -> None:
        if error is None and not self._failing:
            return
        if error is None:
            _log.info("can write to the disk again")
        elif not self._failing:
            _log.error("cannot write to the disk", extra={"error": str(error)})
        self._failing = error is not None
        self._space.note_failure(error)
        if error is not None:
            self._budget.nudge()  # who waits for memory must be told that none will come soon

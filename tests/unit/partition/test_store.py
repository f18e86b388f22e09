"""The store against a model of it that is a few dictionaries, under random orders of events."""

import asyncio
import random
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from disco_engine import wire
from disco_engine.core.ledger import AttemptState, StaleEpochError, Verdict
from disco_engine.core.model import AttemptId, Group, Layout, SealTerms, Totals
from disco_engine.partition import writer
from disco_engine.partition.intake import Intake, Outcome, Output
from disco_engine.partition.reader import Selection, read
from disco_engine.partition.recovery import recover
from disco_engine.partition.space import DiskFullError
from disco_engine.partition.store import Limits, Store
from disco_engine.partition.writer import commit_delay_s

JOB = "job-1"
LAYOUTS = {1: Layout.BY_LABEL, 2: Layout.BY_TASK}
Spec = tuple[int, int, bytes]


@asynccontextmanager
async def opened(directory: Path, memory_bytes: int) -> AsyncIterator[Store]:
    """A store with its writer; what is not on disk at the end is forgotten."""
    holdings = recover(directory, JOB)
    try:
        async with asyncio.TaskGroup() as tasks:
            store = Store(holdings, Limits(memory_bytes=memory_bytes))
            tasks.create_task(store.writer.run())
            yield store
            store.writer.stop()
    finally:
        holdings.close()


def totals(blocks: list[Spec]) -> Totals:
    return Totals(len(blocks), sum(b[1] for b in blocks), sum(len(b[2]) for b in blocks))


def terms(who: AttemptId, blocks: list[Spec]) -> SealTerms:
    return SealTerms(id=who, group=Group(), expected=totals(blocks))


class Checked:
    """A store and what should be in it."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.store: Store
        self.intake: Intake
        self.number = 0
        self.open: dict[AttemptId, list[Spec]] = {}
        self.sealed: dict[AttemptId, list[Spec]] = {}

    def begin(self, store: Store) -> None:
        """Go on with a store that was opened again: believe what it says is sealed, if it was."""
        self.store, self.intake = store, Intake(store)
        self.open.clear()
        inventory = {wire.attempt_from_wire(s.attempt) for s in store.inventory()}
        assert inventory <= self.sealed.keys()
        self.sealed = {who: self.sealed[who] for who in inventory}

    async def step(self) -> None:
        events = (self.push, self.push, self.push, self.seal, self.discard, self.drop, self.fetch)
        await self.draw.choices(events, (4, 4, 4, 4, 1, 0.3, 4))[0]()

    async def push(self) -> None:
        if len(self.open) < 5:
            self.number += 1
            stage = self.draw.choice(list(LAYOUTS))
            self.open[AttemptId(stage, self.draw.randrange(8), 1, self.number)] = []
        who = self.draw.choice(list(self.open))
        sizes = [self.draw.choice((0, 10, 300, 20_000)) for _ in range(self.draw.randrange(4))]
        blocks = [(self.draw.randrange(4), 1, self.draw.randbytes(size)) for size in sizes]
        (result,) = await self.intake.accept([Output(who, blocks, LAYOUTS[who.stage], None)])
        if result is None:
            self.open[who] += blocks
        else:
            assert result.outcome is Outcome.DISK_FULL
            del self.open[who]

    async def seal(self) -> None:
        if not self.open:
            return
        who, blocks = self.draw.choice(list(self.open.items()))
        (result,) = await self.intake.accept([Output(who, [], None, totals(blocks))])
        assert result is not None
        assert result.outcome is Outcome.COMPLETE
        assert self.store.seal(terms(who, blocks)) is Verdict.SEALED
        self.sealed[who] = self.open.pop(who)

    async def discard(self) -> None:
        if self.open:
            who = self.draw.choice(list(self.open))
            assert self.store.ledger.discard(who) is Verdict.DISCARDED
            del self.open[who]

    async def drop(self) -> None:
        if self.sealed:
            who = self.draw.choice(list(self.sealed))
            with suppress(DiskFullError):  # then it is dropped, but not yet on disk
                await self.store.drop([who])
            assert self.store.ledger.state(who) is AttemptState.DISCARDED
            del self.sealed[who]

    async def fetch(self) -> None:
        for label in range(4):
            await self.check(Selection(stage=1, keys=(label,), by=Layout.BY_LABEL))
        tasks = tuple({who.task for who in self.sealed if who.stage == 2})
        for wanted in (None, self.draw.randrange(4)):
            await self.check(Selection(stage=2, keys=tasks, by=Layout.BY_TASK, label=wanted))

    async def check(self, selection: Selection) -> None:
        found: dict[AttemptId, list[Spec]] = {}
        async for piece in read(self.store, selection):
            for header, frame in piece.blocks:
                spec = (header.label, header.records, frame)
                found.setdefault(header.of(selection.stage), []).append(spec)
        expected: dict[AttemptId, list[Spec]] = {}
        for who, blocks in self.sealed.items():
            if who.stage == selection.stage:
                if selection.by is Layout.BY_LABEL:
                    chosen = [b for b in blocks if b[0] == selection.keys[0]]
                else:
                    chosen = [b for b in blocks if selection.label in (None, b[0])]
                if chosen:
                    expected[who] = chosen
        assert found == expected
        assert piece.cursor.found == totals([b for blocks in expected.values() for b in blocks])


@pytest.mark.parametrize("seed", range(10))
async def test_readers_find_what_was_sealed_whatever_happens_in_between(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    checked = Checked(draw)
    for _ in range(4):
        async with opened(tmp_path, memory_bytes=draw.choice((1, 30_000, 200_000))) as store:
            await store.attach(JOB, 1)
            checked.begin(store)
            for _ in range(60):
                await checked.step()
            if draw.random() < 0.5:
                await store.writer.commit()
            await checked.fetch()


async def test_of_two_coordinators_with_the_same_epoch_only_the_first_has_it(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, memory_bytes=1000) as store:
        await store.attach(JOB, 1, "first")
        await store.attach(JOB, 1, "first")
        with pytest.raises(StaleEpochError):
            await store.attach(JOB, 1, "second")
        await store.attach(JOB, 2, "second")
        with pytest.raises(StaleEpochError):
            await store.attach(JOB, 1, "first")


@pytest.mark.parametrize("seed", range(5))
async def test_a_disk_that_is_full_now_and_then_changes_nothing_for_readers(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    checked = Checked(draw)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with opened(tmp_path, memory_bytes=60_000) as store:
        await store.attach(JOB, 1)
        checked.begin(store)
        try:
            for _ in range(15):
                for _ in range(draw.randrange(20)):
                    await checked.step()
                full = draw.random() < 0.7
                limit = draw.randrange(50_000, 1_000_000) if full else soft
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        await store.writer.commit()
        await checked.fetch()
        assert store.budget.used == 0
    async with opened(tmp_path, memory_bytes=60_000) as store:
        await store.attach(JOB, 1)
        sealed = dict(checked.sealed)
        checked.begin(store)
        assert checked.sealed == sealed
        await checked.fetch()


async def test_what_is_sealed_is_soon_on_disk_without_anybody_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_COMMIT_AFTER_S", 0.05)
    who, blocks = AttemptId(1, 0, 1, 1), [(0, 1, b"frame")]
    async with opened(tmp_path, memory_bytes=1000) as store:
        await store.attach(JOB, 1)
        written = asyncio.Event()
        note_written = store.journal.written

        def note(count: int) -> None:
            note_written(count)
            written.set()

        monkeypatch.setattr(store.journal, "written", note)
        await Intake(store).accept([Output(who, blocks, Layout.BY_LABEL, totals(blocks))])
        assert store.seal(terms(who, blocks)) is Verdict.SEALED
        await written.wait()
    async with opened(tmp_path, memory_bytes=1000) as store:
        assert store.ledger.state(who) is AttemptState.SEALED


def test_a_trickle_into_many_labels_is_committed_less_often() -> None:
    assert commit_delay_s(0, 0) == 1
    assert commit_delay_s(64, 64 * 100) == 1
    assert commit_delay_s(1000, 1000 * 100) == 10
    assert commit_delay_s(1000, 1000 * 65_536) == 1
    assert commit_delay_s(1_000_000, 1_000_000) == 60

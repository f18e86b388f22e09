"""The wrong decisions themselves; ``mutations`` says in place of which one of the engine's."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from disco_engine.coordinator.link import ServiceLink
from disco_engine.coordinator.services import Services
from disco_engine.core import losses, task
from disco_engine.core.inventory import Found, found
from disco_engine.core.job import JobMachine
from disco_engine.core.job_attempts import JobAttempts
from disco_engine.core.job_run import JobRun
from disco_engine.core.ledger import AttemptState, Ledger, Verdict, WrongJobError
from disco_engine.core.model import (
    AttemptId,
    Label,
    NodeName,
    SealedAttempt,
    SealTerms,
    ServiceId,
    Totals,
    WorkerId,
)
from disco_engine.core.stages import StageRun
from disco_engine.core.task import Decision
from disco_engine.core.task_events import DropOutput, Output, SealOutput
from disco_engine.core.task_state import Task, TaskState
from disco_engine.core.workers import StageFilter, Worker, WorkerPool
from disco_engine.outputs import committing
from disco_engine.partition import intake, journal, stage
from disco_engine.partition.appendfile import AppendFile
from disco_engine.partition.budget import ByteBudget
from disco_engine.partition.journal import Entry, Journal, JournalDamagedError, Kind
from disco_engine.partition.store import Store
from disco_engine.worker.reports import ReportBook
from disco_engine.worker.workload import Workload
from simulator.network import Connection, Conversation, Side
from simulator.standins import output_directory

# --- the core ---------------------------------------------------------------------------------

_finished = task._finished


def seal_the_second(one: Task, event: Any, output: Output) -> Decision:
    if one.state is TaskState.DONE and one.run_of(output.id) is not None:
        return one, [SealOutput(output)]
    return _finished(one, event, output)


_sealed = task._sealed


def let_rivals_run(one: Task, event: Any, attempt: AttemptId, service: Any) -> Decision:
    after, actions = _sealed(one, event, attempt, service)
    if one.live and after.state is TaskState.DONE:
        return after._replace(live=one.live), []
    return after, [action for action in actions if not isinstance(action, DropOutput)]


_adopted = task._adopted


def keep_another(one: Task, output: Any) -> Decision:
    after, actions = _adopted(one, output)
    return after, [action for action in actions if not isinstance(action, DropOutput)]


def reopen_nothing(stages: Sequence[StageRun], reason: str) -> losses.Decided:
    return []


def find_without_values(sealed: SealedAttempt, service: ServiceId, *, copy: bool = False) -> Found:
    return found(replace(sealed, values=()), service, copy=copy)


def adopt_any_group(self: JobRun, stage: StageRun, item: Found) -> bool:
    return not self.was_dropped(item.output.id, item.output.service)


def write_down_nothing(self: JobRun, last: StageRun) -> bool:
    return False


def drop_nothing(self: JobAttempts, attempt: AttemptId, service: Any) -> None:
    self._dropped.add((attempt, service))


def pause_for_ever(self: JobAttempts, stage: StageRun, index: int, after_s: float) -> None:
    pass


def lose_worker_only(self: JobMachine, name: WorkerId, reason: str) -> None:
    self._run.workers.lose(name)


_started = WorkerPool.started


def give_for_nothing(self: WorkerPool, worker: Worker, *more: Any) -> None:
    _started(self, worker, *more)
    worker.credit += 1


_join = WorkerPool.join


def join_with_old_credit(
    self: WorkerPool, name: WorkerId, node: NodeName, slots: int, now: float, stages: StageFilter
) -> Worker:
    known = self.get(name)
    credit = known.credit if known is not None else 0
    worker = _join(self, name, node, slots, now, stages)
    worker.credit = credit
    return worker


_next_epoch = Services.next_epoch


async def count_from_one(self: Services, *, least: int, **more: Any) -> int:
    return await _next_epoch(self, least=1, **more)


_attach = ServiceLink._attach


async def attach_as_if_new(self: ServiceLink, *arguments: Any) -> None:
    self._discards = {}
    await _attach(self, *arguments)


# --- copies -----------------------------------------------------------------------------------

_output_lost = task._output_lost


def make_it_again(one: Task, attempt: AttemptId, reason: str) -> Decision:
    if one.output is not None and one.output.copy is not None:
        one = one._replace(output=replace(one.output, copy=None))
    return _output_lost(one, attempt, reason)


def read_it_at_once(one: Task, attempt: AttemptId, reason: str) -> Decision:
    output = one.output
    if one.state is TaskState.DONE and output is not None and output.copy is not None:
        return one._replace(output=replace(output, service=output.copy, copy=None)), []
    return _output_lost(one, attempt, reason)


def discard_the_first(attempt: AttemptId, *services: ServiceId | None) -> list[Any]:
    return _discard_at(attempt, *services[:1])


_discard_at = task._discard_at


def seal_copies(self: Store, terms: SealTerms) -> Verdict:
    self.seal(terms)
    return Verdict.KEPT


def restore_sealed(self: Ledger, attempt: AttemptId) -> None:
    self._states[attempt] = AttemptState.SEALED


# --- the partition service --------------------------------------------------------------------


def state_whatever_epoch(self: Ledger, attempt: AttemptId) -> AttemptState | None:
    return self._states.get(attempt)


def accept_any_epoch(self: Ledger, job_uid: str, epoch: int | None = None) -> None:
    if job_uid != self.job_uid:
        raise WrongJobError(job_uid, self.job_uid)


def seal_what_is_there(
    self: Ledger, terms: SealTerms, *, kept: Mapping[Label, Totals] | None = None
) -> tuple[Verdict, SealedAttempt | None]:
    attempt = terms.id
    state = self.state(attempt)
    if state is AttemptState.SEALED:
        return Verdict.SEALED, None
    if state is AttemptState.DISCARDED:
        return Verdict.DISCARDED, None
    labels = self._unsealed.pop(attempt, kept or {})
    self._states[attempt] = AttemptState.SEALED
    self._add(attempt.stage, labels)
    return Verdict.SEALED, terms.fulfilled(labels)


def show_everything(self: stage.Stage, header: Any, number: int) -> bool:
    return True


_entries = Journal.entries
_entries_of = journal._entries


def forget_the_last(self: Journal) -> Iterator[Entry]:
    entries = list(_entries(self))
    seals = [entry for entry in entries if entry.kind is Kind.SEALED]
    return iter([entry for entry in entries if entry not in seals[-1:]])


def end_at_the_damage(file: AppendFile, end: int, pending: list[bytes]) -> Iterator[Entry]:
    with suppress(JournalDamagedError):
        yield from _entries_of(file, end, [])
    yield from _entries_of(file, 0, pending)


async def commit_nothing(self: Any) -> None:
    pass


def give_back_too_little(self: ByteBudget, size: int) -> None:
    self.used -= max(0, size - 1)
    self._changed.set()


def refuse_and_keep(self: Any, output: Any, refusal: str | None) -> Any:
    result = _keep(self, output, refusal)
    if result is not None and output.blocks and output.layout is not None:
        known = self._store.stages.get(output.attempt.stage)
        if known is not None:
            for label, records, frame in output.blocks:
                known.append(output.attempt, label, records, frame)
    return result


_keep = intake.Intake._keep


# --- the worker -------------------------------------------------------------------------------


def check_nothing(self: Any) -> None:
    pass


def send_once(self: ReportBook) -> None:
    self._unconfirmed.clear()


_send = Connection.send


def break_on_the_way(self: Connection, sender: Side, call: Conversation, act: Any) -> None:
    """Send, and break the connection before it arrives: one message of a hundred, at first."""
    _send(self, sender, call, act)
    world = self.network.world
    if world.now < 20.0 and world.chance(0.01):
        self.close(sender.other)


def keep_credit(self: Workload) -> None:
    pass


# --- the output -------------------------------------------------------------------------------


def say_success_first(url: str, format: str, job_uid: str, files: Sequence[str]) -> None:
    directory = output_directory(url)
    if not directory.move(committing.RUNNING, committing.SUCCESS):
        return  # it is committed already
    for index, file in enumerate(files):
        source = f"{committing.temporary_of(job_uid)}/{file}"
        directory.move(source, f"part-{index:05}.jsonl")

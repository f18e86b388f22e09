"""Bugs to plant in the engine, one at a time, to see that the simulator finds them.

Each replaces one decision by a wrong one, as somebody might write it. A mutation that no seed finds
means that the simulator does not look there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from disco_engine import outputs
from disco_engine.coordinator.services import Services
from disco_engine.core import job_run, ledger, losses, reattach, task
from disco_engine.core.events import Outcome
from disco_engine.core.grouping import NODE_GROUPINGS
from disco_engine.core.inventory import Found, found
from disco_engine.core.job import JobMachine
from disco_engine.core.job_run import JobRun
from disco_engine.core.ledger import AttemptState, Ledger, Verdict, WrongJobError
from disco_engine.core.model import (
    AttemptId,
    Group,
    NodeName,
    SealedAttempt,
    ServiceId,
    Totals,
    WorkerId,
)
from disco_engine.core.stages import StageRun
from disco_engine.core.task import Decision, Task, TaskState
from disco_engine.core.task_events import DropOutput, Output, SealOutput
from disco_engine.core.workers import StageFilter, Worker, WorkerPool
from disco_engine.outputs import committing
from disco_engine.partition import intake, stage
from disco_engine.partition.budget import ByteBudget
from disco_engine.partition.journal import Entry, Journal, Kind
from disco_engine.partition.store import Store
from disco_engine.partition.writer import Writer
from disco_engine.worker import fetch
from disco_engine.worker.reports import ReportBook
from disco_engine.worker.workload import Workload
from simulator import faults
from simulator.faults import Fault
from simulator.simulation import Simulation
from simulator.standins import output_directory

Change = tuple[Any, str, Any]
"""Owner, name of the attribute, and what it is replaced by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One bug.

    Attributes:
        name: In a word or two.
        why: What somebody may have thought.
        changes: What is replaced.
        needs: Whether a simulation has what it takes to see the difference; others are left out.
        seeds: It must be found within so many of those that have.
    """

    name: str
    why: str
    changes: tuple[Change, ...]
    needs: Callable[[Simulation], bool] = lambda simulation: True
    seeds: int = 100


# --- the core ---------------------------------------------------------------------------------

_finished = task._finished


def _seal_the_second(one: Task, event: Any, output: Output) -> Decision:
    if one.state is TaskState.DONE and one.run_of(output.id) is not None:
        return one, [SealOutput(output)]
    return _finished(one, event, output)


_sealed = task._sealed


def _let_rivals_run(one: Task, event: Any, attempt: AttemptId, service: Any) -> Decision:
    after, actions = _sealed(one, event, attempt, service)
    if one.live and after.state is TaskState.DONE:
        return replace(after, live=one.live), []
    return after, [action for action in actions if not isinstance(action, DropOutput)]


_adopted = task._adopted


def _keep_another(one: Task, output: Any) -> Decision:
    after, actions = _adopted(one, output)
    return after, [action for action in actions if not isinstance(action, DropOutput)]


def _reopen_nothing(stages: Sequence[StageRun], reason: str) -> losses.Decided:
    return []


def _find_without_values(sealed: SealedAttempt, service: ServiceId, *, copy: bool = False) -> Found:
    return found(replace(sealed, values=()), service, copy=copy)


def _adopt_any_group(self: JobRun, stage: StageRun, item: Found) -> bool:
    return not self.was_dropped(item.output.id, item.output.service)


def _end_at_once(self: JobRun, last: StageRun) -> None:
    self.end(Outcome.SUCCEEDED)


def _drop_nothing(self: JobRun, attempt: AttemptId, service: Any) -> None:
    self._dropped.add((attempt, service))


def _pause_for_ever(self: JobRun, stage: StageRun, index: int, after_s: float) -> None:
    pass


def _lose_worker_only(self: JobMachine, name: WorkerId, reason: str) -> None:
    self._run.workers.lose(name)


_started = WorkerPool.started


def _give_for_nothing(self: WorkerPool, worker: Worker, *more: Any) -> None:
    _started(self, worker, *more)
    worker.credit += 1


_join = WorkerPool.join


def _join_with_old_credit(
    self: WorkerPool, name: WorkerId, node: NodeName, slots: int, now: float, stages: StageFilter
) -> Worker:
    known = self.get(name)
    credit = known.credit if known is not None else 0
    worker = _join(self, name, node, slots, now, stages)
    worker.credit = credit
    return worker


_next_epoch = Services.next_epoch


async def _count_from_one(self: Services, *, least: int, **more: Any) -> int:
    return await _next_epoch(self, least=1, **more)


# --- copies -----------------------------------------------------------------------------------

_output_lost = task._output_lost


def _make_it_again(one: Task, attempt: AttemptId, reason: str) -> Decision:
    if one.output is not None and one.output.copy is not None:
        one = replace(one, output=replace(one.output, copy=None))
    return _output_lost(one, attempt, reason)


def _read_it_at_once(one: Task, attempt: AttemptId, reason: str) -> Decision:
    output = one.output
    if one.state is TaskState.DONE and output is not None and output.copy is not None:
        return replace(one, output=replace(output, service=output.copy, copy=None)), []
    return _output_lost(one, attempt, reason)


def _discard_the_first(attempt: AttemptId, *services: ServiceId | None) -> list[Any]:
    return _discard_at(attempt, *services[:1])


_discard_at = task._discard_at


def _seal_copies(self: Store, *what: Any) -> Verdict:
    self.seal(*what)
    return Verdict.KEPT


def _restore_sealed(self: Ledger, attempt: AttemptId) -> None:
    self._states[attempt] = AttemptState.SEALED


# --- the partition service --------------------------------------------------------------------


def _state_whatever_epoch(self: Ledger, attempt: AttemptId) -> AttemptState | None:
    return self._states.get(attempt)


def _accept_any_epoch(self: Ledger, job_uid: str, epoch: int | None = None) -> None:
    if job_uid != self.job_uid:
        raise WrongJobError(job_uid, self.job_uid)


def _seal_what_is_there(
    self: Ledger, attempt: AttemptId, group: Group, output_file: str, expected: Totals
) -> tuple[Verdict, SealedAttempt | None]:
    state = self.state(attempt)
    if state is AttemptState.SEALED:
        return Verdict.SEALED, None
    if state is AttemptState.DISCARDED:
        return Verdict.DISCARDED, None
    labels = self._unsealed.pop(attempt, {})
    self._states[attempt] = AttemptState.SEALED
    self._add(attempt.stage, labels)
    return Verdict.SEALED, SealedAttempt(
        id=attempt, group=group, labels=labels, output_file=output_file
    )


def _show_everything(self: stage.Stage, header: Any, number: int) -> bool:
    return True


_entries = Journal.entries


def _forget_the_last(self: Journal) -> Iterator[Entry]:
    entries = list(_entries(self))
    seals = [entry for entry in entries if entry.kind is Kind.SEALED]
    return iter([entry for entry in entries if entry not in seals[-1:]])


async def _commit_nothing(self: Any) -> None:
    pass


def _give_back_too_little(self: ByteBudget, size: int) -> None:
    self.used -= max(0, size - 1)
    self._changed.set()


def _refuse_and_keep(self: Any, output: Any, refusal: str | None) -> Any:
    result = _keep(self, output, refusal)
    if result is not None and output.blocks and output.layout is not None:
        known = self._store.stages.get(output.attempt.stage)
        if known is not None:
            for label, records, frame in output.blocks:
                known.append(output.attempt, label, records, frame)
    return result


_keep = intake.Intake._keep


# --- the worker -------------------------------------------------------------------------------


def _check_nothing(self: Any) -> None:
    pass


def _send_once(self: ReportBook) -> None:
    self._unconfirmed.clear()


def _keep_credit(self: Workload) -> None:
    pass


# --- the output -------------------------------------------------------------------------------


def _say_success_first(url: str, format: str, job_uid: str, files: Sequence[str]) -> None:
    directory = output_directory(url)
    if not directory.move(committing.RUNNING, committing.SUCCESS):
        return  # it is committed already
    for index, file in enumerate(files):
        source = f"{committing.temporary_of(job_uid)}/{file}"
        directory.move(source, f"part-{index:05}.jsonl")


def _groups_by_node(simulation: Simulation) -> bool:
    stages = simulation.job.plan.stages[1:]
    return len(simulation.services) > 1 and any(one.grouping in NODE_GROUPINGS for one in stages)


def _has_rivals(simulation: Simulation) -> bool:
    some = len(simulation.workers) > 1 and len(simulation.job.texts) > 3
    return some and simulation.settings.speculation_multiplier > 0


def _strikes(*wanted: Fault) -> Callable[[Simulation], bool]:
    """Return a question: do all of these faults strike? It uses the simulation up."""

    def all_strike(simulation: Simulation) -> bool:
        planned = [fault for *_, fault in faults.plan_of(simulation)]
        return all(fault in planned for fault in wanted)

    return all_strike


def _has_copies(simulation: Simulation) -> bool:
    return simulation.settings.copies > 1


def _has_output(simulation: Simulation) -> bool:
    return simulation.job.has_output


MUTATIONS = (
    Mutation(
        name="sealed twice",
        why="what has been made may as well be kept: another sealed attempt does no harm",
        changes=(
            (task, "_finished", _seal_the_second),
            (task, "_sealed", _let_rivals_run),
            (task, "_adopted", _keep_another),
        ),
        needs=_has_rivals,
    ),
    Mutation(
        name="lost output not made again",
        why="whoever reads it will complain",
        changes=((job_run, "reopen_needed", _reopen_nothing),),
    ),
    Mutation(
        name="adopted with another grouping",
        why="a task's index says what it is about",
        changes=((JobRun, "_may_adopt", _adopt_any_group),),
        needs=_groups_by_node,
    ),
    Mutation(
        name="run again with another grouping by node",
        why="an output is the same wherever it is made again",
        changes=((losses, "NODE_GROUPINGS", frozenset()),),
        needs=_groups_by_node,
    ),
    Mutation(
        name="values forgotten with the coordinator",
        why="what was put has been told already",
        changes=((reattach, "found", _find_without_values),),
        needs=_strikes(faults.kill_coordinator),
    ),
    Mutation(
        name="success before the audit",
        why="everything is sealed, so the job is done",
        changes=((JobRun, "_conclude", _end_at_once),),
    ),
    Mutation(
        name="drop forgotten",
        why="who does not count on it does not read it",
        changes=((JobRun, "drop", _drop_nothing),),
    ),
    Mutation(
        name="task forgotten in its pause",
        why="the next event will wake it",
        changes=((JobRun, "_pause", _pause_for_ever),),
    ),
    Mutation(
        name="lease leaked",
        why="when a worker is gone its attempts are gone, too",
        changes=((JobMachine, "_worker_lost", _lose_worker_only),),
        needs=_strikes(faults.kill_worker),
    ),
    Mutation(
        name="credit never used up",
        why="the worker counts, so the coordinator need not",
        changes=((WorkerPool, "started", _give_for_nothing),),
    ),
    Mutation(
        name="credit kept over a reconnect",
        why="the worker is the same as before",
        changes=((WorkerPool, "join", _join_with_old_credit),),
    ),
    Mutation(
        name="stale epoch accepted",
        why="nobody starts two coordinators",
        changes=(
            (Ledger, "check_caller", _accept_any_epoch),
            (Ledger, "state", _state_whatever_epoch),
        ),
        needs=_strikes(faults.replace_coordinator),
    ),
    Mutation(
        name="epochs from 1 again",
        why="the services know the newest, and where none does there is nothing to mix up",
        changes=((Services, "next_epoch", _count_from_one),),
        needs=_strikes(faults.lose_volume, faults.kill_coordinator),
        seeds=600,
    ),
    Mutation(
        name="copy never read",
        why="a task that is lost runs again, that is simple and always right",
        changes=((task, "_output_lost", _make_it_again),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy read before it is sealed",
        why="it is all there, so readers may go on",
        changes=((task, "_output_lost", _read_it_at_once),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy of a loser left behind",
        why="nobody reads it",
        changes=((task, "_discard_at", _discard_the_first),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy sealed like its original",
        why="two that can be read are better than one",
        changes=((Store, "keep", _seal_copies),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy sealed by a restart",
        why="all of it is on disk",
        changes=((Ledger, "restore_copy", _restore_sealed),),
        needs=_has_copies,
    ),
    Mutation(
        name="copies forgotten with their epoch",
        why="what is not sealed when a coordinator ends is made again",
        changes=((ledger, "_LASTING", frozenset({AttemptState.SEALED})),),
        needs=_has_copies,
    ),
    Mutation(
        name="sealed before it is complete",
        why="the worker says that it has pushed everything",
        changes=((Ledger, "seal", _seal_what_is_there),),
        seeds=300,
    ),
    Mutation(
        name="readers see what is not sealed",
        why="readers are only started when everything is sealed",
        changes=((stage.Stage, "sealed_before", _show_everything),),
    ),
    Mutation(
        name="the journal's last seal forgotten",
        why="the last entry may be torn, so leave it out",
        changes=((Journal, "entries", _forget_the_last),),
    ),
    Mutation(
        name="audit without a commit",
        why="what is sealed will be written soon",
        changes=((Writer, "commit", _commit_nothing),),
    ),
    Mutation(
        name="memory leaked",
        why="off by one",
        changes=((ByteBudget, "give", _give_back_too_little),),
    ),
    Mutation(
        name="refused blocks kept",
        why="they are discarded later anyhow",
        changes=((intake.Intake, "_keep", _refuse_and_keep),),
    ),
    Mutation(
        name="reader does not count",
        why="the stream ended well, so everything is there",
        changes=((fetch._Reading, "check", _check_nothing),),
    ),
    Mutation(
        name="reports sent once",
        why="gRPC delivers",
        changes=((ReportBook, "resend", _send_once),),
        needs=_strikes(faults.break_connections, faults.lag),
        seeds=300,
    ),
    Mutation(
        name="worker remembers credit that the coordinator has forgotten",
        why="it was granted once",
        changes=((Workload, "reset_credit", _keep_credit),),
    ),
    Mutation(
        name="success said before the files are in place",
        why="moving files cannot fail",
        changes=((outputs, "commit", _say_success_first),),
        needs=_has_output,
    ),
)

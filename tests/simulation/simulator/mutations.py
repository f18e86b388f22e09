"""Bugs to plant in the engine, one at a time, to see that the simulator finds them.

Each replaces one decision by a wrong one, as somebody might write it. A mutation that no seed finds
means that the simulator does not look there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from disco_engine import outputs
from disco_engine.coordinator.link import ServiceLink
from disco_engine.coordinator.services import Services
from disco_engine.core import job_attempts, ledger, losses, reattach, task
from disco_engine.core.grouping import NODE_GROUPINGS
from disco_engine.core.job import JobMachine
from disco_engine.core.job_attempts import JobAttempts
from disco_engine.core.job_run import JobRun
from disco_engine.core.ledger import AttemptState, Ledger
from disco_engine.core.workers import WorkerPool
from disco_engine.partition import intake, journal, stage
from disco_engine.partition.appendfile import AppendFile
from disco_engine.partition.budget import ByteBudget
from disco_engine.partition.journal import Journal
from disco_engine.partition.store import Store
from disco_engine.partition.writer import Writer
from disco_engine.worker import fetch
from disco_engine.worker.reports import ReportBook
from disco_engine.worker.workload import Workload
from simulator import faults, mutants
from simulator.faults import Fault
from simulator.network import Connection
from simulator.simulation import Simulation

Change = tuple[Any, str, Any]
"""Owner, name of the attribute, and what it is replaced by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One bug.

    Attributes:
        name: In a word or two.
        why: What somebody may have thought.
        changes: What is replaced.
        setting: What is replaced of the simulator, so that what tells the difference is not rare.
            The engine without the bug bears it.
        faults: What goes wrong.
        needs: Whether a simulation has what it takes to see the difference; others are left out.
        seeds: It must be found within so many of those that have.
    """

    name: str
    why: str
    changes: tuple[Change, ...]
    setting: tuple[Change, ...] = ()
    faults: Mapping[Fault, float] = field(default_factory=lambda: faults.FAULTS)
    needs: Callable[[Simulation], bool] = lambda simulation: True
    seeds: int = 100


def _groups_by_node(simulation: Simulation) -> bool:
    stages = simulation.job.plan.stages[1:]
    return len(simulation.services) > 1 and any(one.grouping in NODE_GROUPINGS for one in stages)


def _adopts_groups_by_node(simulation: Simulation) -> bool:
    return _groups_by_node(simulation) and _strikes(faults.kill_coordinator)(simulation)


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
            (task, "_finished", mutants.seal_the_second),
            (task, "_sealed", mutants.let_rivals_run),
            (task, "_adopted", mutants.keep_another),
        ),
        needs=_has_rivals,
    ),
    Mutation(
        name="lost output not made again",
        why="whoever reads it will complain",
        changes=((job_attempts, "reopen_needed", mutants.reopen_nothing),),
    ),
    Mutation(
        name="adopted with another grouping",
        why="a task's index says what it is about",
        changes=((JobRun, "_may_adopt", mutants.adopt_any_group),),
        needs=_adopts_groups_by_node,
        seeds=200,
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
        changes=((reattach, "found", mutants.find_without_values),),
        needs=_strikes(faults.kill_coordinator),
    ),
    Mutation(
        name="success before the audit",
        why="everything is sealed, so the job is done",
        changes=((JobRun, "_write_down", mutants.write_down_nothing),),
    ),
    Mutation(
        name="drop forgotten",
        why="who does not count on it does not read it",
        changes=((JobAttempts, "drop", mutants.drop_nothing),),
    ),
    Mutation(
        name="task forgotten in its pause",
        why="the next event will wake it",
        changes=((JobAttempts, "_pause", mutants.pause_for_ever),),
    ),
    Mutation(
        name="lease leaked",
        why="when a worker is gone its attempts are gone, too",
        changes=((JobMachine, "_worker_lost", mutants.lose_worker_only),),
        needs=_strikes(faults.kill_worker),
    ),
    Mutation(
        name="credit never used up",
        why="the worker counts, so the coordinator need not",
        changes=((WorkerPool, "started", mutants.give_for_nothing),),
    ),
    Mutation(
        name="credit kept over a reconnect",
        why="the worker is the same as before",
        changes=((WorkerPool, "join", mutants.join_with_old_credit),),
    ),
    Mutation(
        name="stale epoch accepted",
        why="nobody starts two coordinators",
        changes=(
            (Ledger, "check_caller", mutants.accept_any_epoch),
            (Ledger, "state", mutants.state_whatever_epoch),
        ),
        needs=_strikes(faults.replace_coordinator),
    ),
    Mutation(
        name="epochs from 1 again",
        why="the services know the newest, and where none does there is nothing to mix up",
        changes=((Services, "next_epoch", mutants.count_from_one),),
        needs=_strikes(faults.lose_volume, faults.kill_coordinator),
        seeds=600,
    ),
    Mutation(
        name="what a lost service has missed never told",
        why="its inventory says what it has when it is back",
        changes=((ServiceLink, "_attach", mutants.attach_as_if_new),),
        # What matters is what it had when it was given up, not what came of it otherwise.
        faults={faults.freeze_service: 1},
    ),
    Mutation(
        name="copy never read",
        why="a task that is lost runs again, that is simple and always right",
        changes=((task, "_output_lost", mutants.make_it_again),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy read before it is sealed",
        why="it is all there, so readers may go on",
        changes=((task, "_output_lost", mutants.read_it_at_once),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy of a loser left behind",
        why="nobody reads it",
        changes=((task, "_discard_at", mutants.discard_the_first),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy sealed like its original",
        why="two that can be read are better than one",
        changes=((Store, "keep", mutants.seal_copies),),
        needs=_has_copies,
    ),
    Mutation(
        name="copy sealed by a restart",
        why="all of it is on disk",
        changes=((Ledger, "restore_copy", mutants.restore_sealed),),
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
        changes=((Ledger, "seal", mutants.seal_what_is_there),),
        seeds=300,
    ),
    Mutation(
        name="readers see what is not sealed",
        why="readers are only started when everything is sealed",
        changes=((stage.Stage, "sealed_before", mutants.show_everything),),
    ),
    Mutation(
        name="the journal's last seal forgotten",
        why="the last entry may be torn, so leave it out",
        changes=((Journal, "entries", mutants.forget_the_last),),
    ),
    Mutation(
        name="damaged journal believed",
        why="what is behind the damage is torn, so it never counted",
        changes=((journal, "_entries", mutants.end_at_the_damage),),
        needs=_strikes(faults.corrupt),
    ),
    Mutation(
        name="disk errors left to whoever reads",
        why="an error is not damage",
        changes=((AppendFile, "read", AppendFile._read),),
        needs=_strikes(faults.corrupt),
    ),
    Mutation(
        name="audit without a commit",
        why="what is sealed will be written soon",
        changes=((Writer, "commit", mutants.commit_nothing),),
    ),
    Mutation(
        name="memory leaked",
        why="off by one",
        changes=((ByteBudget, "give", mutants.give_back_too_little),),
    ),
    Mutation(
        name="refused blocks kept",
        why="they are discarded later anyhow",
        changes=((intake.Intake, "_keep", mutants.refuse_and_keep),),
    ),
    Mutation(
        name="reader does not count",
        why="the stream ended well, so everything is there",
        changes=((fetch._Reading, "check", mutants.check_nothing),),
    ),
    Mutation(
        name="reports sent once",
        why="gRPC delivers",
        changes=((ReportBook, "resend", mutants.send_once),),
        # What is lost is a report that is on its way when a connection breaks.
        setting=((Connection, "send", mutants.break_on_the_way),),
    ),
    Mutation(
        name="worker remembers credit that the coordinator has forgotten",
        why="it was granted once",
        changes=((Workload, "reset_credit", mutants.keep_credit),),
    ),
    Mutation(
        name="success said before the files are in place",
        why="moving files cannot fail",
        changes=((outputs, "commit", mutants.say_success_first),),
        needs=_has_output,
    ),
)

"""Giving out tasks: to whom, now that something has happened; what follows is told to the user.

Which attempt a worker gets is ``core.dispatch``'s business.
"""

from disco_engine.core.job_run import JobRun
from disco_engine.core.workers import Worker


def assign(run: JobRun) -> None:
    """Give tasks to workers that may have become able to take some."""
    for stage in run.stages if run.workers.excluded else ():
        if stage.queue and run.workers.find_taker(stage.chosen_as):
            run.wake_all = True
    able = _woken(run)
    if not able:
        return
    for assigned in run.dispatcher.give_out(able, run.now):
        run.emit(assigned)
        attempt = assigned.id
        stage = run.stages[attempt.stage]
        if stage.is_retried(attempt.task):
            text = f"{run.name_of(stage, attempt.task)}: attempt {attempt.attempt}"
            worker = assigned.worker
            run.announce("task-retried", text, stage=stage, attempt=attempt, worker=worker)


def _woken(run: JobRun) -> list[Worker]:
    """Return the workers that may have become able, and wake nobody any more."""
    wake_all, wake = run.wake_all, run.wake
    run.wake_all, run.wake = False, None
    if wake_all:
        return run.workers.all_usable()
    one = None if wake is None else run.workers.usable(wake)
    return [one] if one is not None and one.credit > 0 else []


def ask_back(run: JobRun) -> None:
    """Have attempts handed back that others could start at once."""
    for question in run.recalls.ask(run.now):
        run.emit(question)


def start_rivals(run: JobRun) -> None:
    """Let others try, too, what takes long on one worker near a stage's end."""
    for slow, worker in run.speculation.rivals(run.now):
        stage, index = slow.stage, slow.attempt.task
        assigned = run.dispatcher.give_rival(stage, index, worker, run.now)
        run.emit(assigned)
        text = f"{run.name_of(stage, index)} {slow.reason}; {worker.place} tries, too"
        attempt = assigned.id
        run.announce("speculated", text, stage=stage, attempt=attempt, worker=worker.id)

"""Runs a packed job in a worker slot: the engine's ``Program`` for classic and pipeline jobs."""

import importlib
import logging
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, chdir, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from disco.ddfs_inputs import planned
from disco.ddfs_urls import TAG
from disco.error import DataError, DiscoError
from disco.functions import globalize
from disco.importing import importing_a_job
from disco.job import Job, misspelt
from disco.payload import PYTHON, Header, split_payload
from disco.sources import is_below_installed
from disco.task import Task, activated
from disco.travelled import import_script, set_environment, show_sources, use_original_names
from disco.worker.base import PlannedStage, Worker
from disco.worker.hooks import overrides
from disco.worker.jobhome import LIBRARY
from disco.worker.modutil import unimported
from disco.worker.params import ParamsCopies, merged_params
from disco.worker.saving import saving_stages
from disco_engine.core.model import Grouping, Plan
from disco_engine.inputs.expand import expand
from disco_engine.inputs.urls import scheme_of
from disco_engine.program import PlanRequest, Program, TaskContext, bad_data, fatal

log = logging.getLogger(__name__)


def load(payload: bytes) -> Program:
    """Return the program that ``disco.packing`` packed; the engine's loader for all Disco jobs.

    Raises:
        ProgramError: It was packed by another version of Python, or what was given as a job is
            none. What the user's own modules raise while they are imported, passes through.
    """
    header, body = split_payload(payload)
    if body and header.python != PYTHON:
        raise fatal(
            f"the job was submitted with Python {header.python}, but this worker runs {PYTHON}, and"
            " functions cannot travel between them: use the same version on both sides"
        )
    set_environment(header.environment)
    show_sources(header.sources)
    use_original_names(header.files)
    with importing_a_job():
        if header.reference:
            job = _referenced(header)
            return ReferencedProgram(job, _jobargs(job, header.jobargs))
        job, jobargs = pickle.loads(body)
        return JobProgram(job, jobargs)


class JobProgram:
    """A job, ready to run.

    Args:
        job: The job.
        jobargs: The arguments of its ``run``.

    Raises:
        ProgramError: FATAL: the job's parameters make no sense.
    """

    def __init__(self, job: Job, jobargs: Mapping[str, Any]) -> None:
        self._worker = worker = job.worker_for(jobargs)
        self._job = job
        self._jobargs = jobargs
        self._stages: tuple[PlannedStage, ...] = ()
        with _job_errors_are_fatal():
            own = worker.planned_stages(job, jobargs)
            self._stages = (*own, *saving_stages(worker, job, jobargs))
        self._own_stages = len(own)
        worker.runners = tuple(planned.runner for planned in own)
        self._params = ParamsCopies(worker.getitem("params", job, jobargs))
        self._home = _home_of(worker, job, jobargs)
        self._watched = _watching(worker, job, jobargs)
        _let_functions_see(worker, job, jobargs)

    @property
    def stages(self) -> tuple[PlannedStage, ...]:
        """The stages, in order."""
        return self._stages

    def plan(self, request: PlanRequest) -> Plan:
        """Expand and split the inputs, and name the stages.

        Files are split only for a first stage that has a task per input: where all inputs meet in
        one task, there is nothing to gain.

        Raises:
            ProgramError: An input is missing or unreadable.
        """
        for problem in misspelt(self._job, self._worker, self._jobargs):
            log.warning("%s", problem)
        first = self._stages[0]
        splittable = first.runner.splittable and first.stage.grouping is Grouping.SPLIT
        inputs = expand(
            planned(request.inputs),
            split_size_bytes=request.settings.split_size_bytes,
            splittable=splittable,
        )
        return Plan(stages=tuple(planned.stage for planned in self._stages), inputs=inputs)

    def run(self, context: TaskContext) -> None:
        """Run one task.

        Raises:
            ProgramError: DATA: an input cannot be read. FATAL: the params have no copies.
        """
        if context.plan_stage >= self._own_stages:
            self._stages[context.plan_stage].runner.run(context, None)
            return
        with _job_errors_are_fatal():
            params = self._params.copy()
        task = Task(
            context,
            params,
            grouping=self._stages[context.plan_stage].stage.grouping,
            jobobjs=(self._job, self._jobargs),
        )
        with activated(task), _directory(self._home), self._watched(context):
            try:
                self._worker.start(task, self._job, **self._jobargs)
            except DataError as error:
                raise bad_data(str(error), input=error.url) from error


class ReferencedProgram(JobProgram):
    """A job that nobody has looked into before: whoever submitted it had its name only.

    What it reads may stand in the job itself. Where its records go was decided before it was
    loaded, so an output of its own must be repeated outside. Its ``memory``, ``sort_memory``,
    ``split_size``, ``task_timeout``, ``deadline``, ``max_attempts`` and ``copies`` come too late as
    well: the settings that it runs with are the submitter's.
    """

    def plan(self, request: PlanRequest) -> Plan:
        """Expand and split the inputs, the job's own if none were given, and name the stages.

        Raises:
            ProgramError: An input is missing or unreadable, there is none at all, or the job has an
                output that nobody knows of.
        """
        own_output = self._own("output")
        if own_output and not request.output_url:
            raise fatal(
                f"the job has an output of its own, {own_output!r}, which is not known where its"
                " records are sent: write it as spec.output"
            )
        if not request.inputs:
            request = replace(request, inputs=self._own_inputs())
        return super().plan(request)

    def _own(self, parameter: str) -> Any:
        return self._worker.getitem(parameter, self._job, self._jobargs)

    def _own_inputs(self) -> tuple[tuple[str, ...], ...]:
        from disco.job_inputs import input_urls, refuse_passwords  # most slots never plan

        with _job_errors_are_fatal():
            inputs = tuple(input_urls(self._own("input")))
            # Tags are read before anybody is told of them, and their tokens are left out then.
            refuse_passwords([url for url in urls if scheme_of(url) != TAG] for urls in inputs)
        if not inputs:
            raise fatal("no input: set spec.inputs, or give the job an input of its own")
        return inputs


@contextmanager
def _job_errors_are_fatal() -> Iterator[None]:
    try:
        yield
    except DiscoError as error:
        raise fatal(str(error)) from error


def _watching(
    worker: Worker, job: Job, jobargs: Mapping[str, Any]
) -> Callable[[TaskContext], AbstractContextManager[None]]:
    """Return what a task of a job runs in that wants to be watched; most do not."""
    measures = bool(worker.getitem("profile", job, jobargs))
    limits = worker.prints_messages and bool(worker.getitem("limit_messages", job, jobargs))
    if not (measures or limits):
        return lambda context: nullcontext()
    from disco.profiling import measured
    from disco.worker.throttling import limited_messages

    @contextmanager
    def watched(context: TaskContext) -> Iterator[None]:
        with (
            limited_messages() if limits else nullcontext(),
            measured(context) if measures else nullcontext(),
        ):
            yield

    return watched


def _home_of(worker: Worker, job: Job, jobargs: Mapping[str, Any]) -> str | None:
    """Return the directory with the files that travelled, if there are any."""
    files = worker.getitem("required_files", job, jobargs)
    if files or overrides(worker, "jobzip"):
        names = (LIBRARY, *(files if isinstance(files, Mapping) else ()))
        for place in sys.path:
            if any(Path(place, name).exists() for name in names):
                return place
    return None


def _directory(home: str | None) -> AbstractContextManager[None]:
    return nullcontext() if home is None else chdir(home)


def _let_functions_see(worker: Worker, job: Job, jobargs: Mapping[str, Any]) -> None:
    """Let the job's functions use the names that Disco's programs use without importing them."""
    names = worker.visible_names()
    for entry in worker.getitem("required_modules", job, jobargs) or ():
        name = entry if isinstance(entry, str) else entry[0]
        names[name.rpartition(".")[2]] = _module(name)
    for function in worker.functions(job, jobargs):
        globalize(function, names)
        for name in unimported(function):
            with suppress(ImportError):  # the function may mean something else, and set it later
                globalize(function, {name: importlib.import_module(name)})


def _jobargs(job: Job, jobargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments that came as JSON, in the form that ``Job.run`` takes.

    Raises:
        ProgramError: FATAL: there are params, which the job's own have no room for.
    """
    arguments = dict(jobargs)
    given = arguments.get("params")
    if isinstance(given, dict):
        del arguments["params"]
        own = job.worker_for(arguments).getitem("params", job, {})
        with _job_errors_are_fatal():
            arguments["params"] = merged_params(own, given)
    return arguments


def _referenced(header: Header) -> Job:
    """Import the job that a reference names.

    Raises:
        ProgramError: There is no such module or attribute, or it is no job. What the module raises
            while it is imported passes through.
    """
    name, _, attribute = header.reference.partition(":")
    module = _imported(name)
    if not attribute:
        return _only_job(module, name)
    try:
        thing: Any = module
        for part in attribute.split("."):
            thing = getattr(thing, part)
    except AttributeError:
        jobs = ", ".join(_jobs_in(module)) or "none"
        raise fatal(f"{name} has no attribute {attribute!r}; jobs in it: {jobs}") from None
    return _as_job(thing, f"{name}:{attribute}")


def _imported(name: str) -> ModuleType:
    if name.endswith(".py"):
        try:
            return import_script(name)
        except DiscoError as error:
            raise fatal(f"{error}: looked in {_places()}") from error
    return _module(name)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # one that it imports is missing
        raise fatal(
            f"there is no module {error.name}: looked in {_places()}, and among the installed"
            " packages"
        ) from error


def _places() -> str:
    """Return where modules are looked for, but for those that are installed."""
    listed = [
        f"{place}{'' if place.exists() else ' (not there)'}"
        for place in map(Path, sys.path)
        if not (is_below_installed(place) or place.is_relative_to(sys.base_prefix))
    ]
    return ", ".join(listed) or "no directory"


def _only_job(module: ModuleType, name: str) -> Job:
    jobs = _jobs_in(module)
    if not jobs:
        raise fatal(f"{name} defines no job: a job is a subclass of disco.Job, or an instance")
    if len(jobs) > 1:
        raise fatal(
            f"{name} defines {len(jobs)} jobs: say which, as in"
            f" {' or '.join(f'{name}:{job}' for job in jobs)}"
        )
    ((attribute, thing),) = jobs.items()
    return _as_job(thing, f"{name}:{attribute}")


def _jobs_in(module: ModuleType) -> dict[str, Any]:
    """Return the jobs that a module defines, by name."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, Job) or (_is_job_class(thing) and thing.__module__ == module.__name__)
    }


def _is_job_class(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Job)


def _as_job(thing: Any, name: str) -> Job:
    if isinstance(thing, Job):
        return thing
    if _is_job_class(thing):
        job: Job = thing()
        return job
    raise fatal(
        f"{name} is of type {type(thing).__name__}, not a job: a job is a subclass of disco.Job,"
        " or an instance of one"
    )

"""The engine as an author's process sees it, and reading results."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from disco import session
from disco.error import DiscoError
from disco.job import Job
from disco.results import records
from disco.settings import DiscoSettings
from disco.submission import input_urls
from disco.v1 import coordinator_pb2, job_pb2
from disco.worker.classic import func
from disco.worker.streams import StreamFunction
from disco_engine.local.engine import LocalEngine
from disco_engine.local.errors import EngineError

__all__ = ["Disco", "client_version", "result_iterator"]


def client_version() -> str:
    """Return the version of this library, or "source" if it is not installed."""
    try:
        return metadata.version("disco-k8s")
    except metadata.PackageNotFoundError:
        return "source"


class Disco:
    """The engine that runs jobs: here always processes on this machine, started per job.

    Args:
        master: "local"; None: the setting ``DISCO_MASTER``, which is "local" unless set.
        settings: Where defaults come from.
        proxy: Not needed.

    Raises:
        DiscoError: *master* is something else.
    """

    def __init__(
        self,
        master: str | None = None,
        settings: DiscoSettings | None = None,
        proxy: str | None = None,
    ) -> None:
        self.settings = DiscoSettings() if settings is None else settings
        self.master = master or self.settings["DISCO_MASTER"]
        if self.master != "local":
            raise DiscoError(
                f"master {self.master!r}: jobs can only be run on this machine from Python;"
                " leave the master (and DISCO_MASTER) out, or say 'local'"
            )

    def __str__(self) -> str:
        return f"Disco master at {self.master}"

    def submit_job(self, spec: job_pb2.JobSpec, job: Job, jobargs: Mapping[str, Any]) -> None:
        """Start what ``disco.submission.job_spec`` returned."""
        worker = job.worker_for(jobargs)
        workers = _count(worker.getitem("workers", job, jobargs), "workers", _cores())
        slots = _count(worker.getitem("slots", job, jobargs), "slots", 1)
        owner = worker.getitem("owner", job, jobargs) or self.settings["DISCO_JOB_OWNER"]
        try:
            engine = LocalEngine(spec, workers=workers, slots=slots).start()
        except (OSError, ValueError) as error:
            raise DiscoError(f"cannot start the local engine: {error}") from error
        run = session.Run(
            name=spec.name, spec=spec, engine=engine, owner=owner, workers=workers, slots=slots
        )
        session.add(run)

    def new_job(self, name: str, **jobargs: Any) -> Job:
        """Run a job that is given by its arguments only, and return it."""
        return Job(name=name, master=self.master, settings=self.settings).run(**jobargs)

    def wait(
        self,
        jobname: str,
        poll_interval: float = 2,
        timeout: float | None = None,
        clean: bool = False,
        show: str | bool | None = None,
    ) -> list[str]:
        """Wait for a job's end and return its result URLs; see ``Job.wait``."""
        run = session.get(jobname)
        how = self.settings["DISCO_EVENTS"] if show is None else show
        if not how:
            return run.wait(timeout)
        with _shown(run, how):
            return run.wait(timeout)

    def results(self, jobspec: Any, timeout: float = 2000) -> Any:
        """Return how jobs stand, and their results.

        Args:
            jobspec: A job, or its name, or a list of either.
            timeout: Milliseconds to wait for one of them to end.

        Returns:
            For one job (status, URLs), the status being "unknown job", "dead", "active" or
            "ready"; for a list (inactive, active), each a list of (name, (status, URLs)).
        """
        if isinstance(jobspec, str | Job):
            return self._result(_name_of(jobspec))
        names = [_name_of(job) for job in jobspec]
        deadline = time.monotonic() + timeout / 1000
        while True:
            found = [(name, self._result(name)) for name in names]
            inactive = [entry for entry in found if entry[1][0] != "active"]
            active = [entry for entry in found if entry[1][0] == "active"]
            if inactive or not active or time.monotonic() >= deadline:
                return inactive, active
            time.sleep(0.05)

    def kill(self, jobname: str | Job) -> None:
        """Stop a job."""
        run = session.find(_name_of(jobname))
        if run is not None:
            run.engine.cancel("the job was killed by its author")

    def purge(self, jobname: str | Job) -> None:
        """Stop a job if it runs, and forget it and its results."""
        session.remove(_name_of(jobname))

    def clean(self, jobname: str | Job) -> None:
        """Do nothing: the old name of what ``purge`` does better."""

    def joblist(self) -> list[tuple[float, str, str]]:
        """Return (start in seconds since 1970, status, name) of the jobs, newest first."""
        return [(run.started_s, run.status(), run.name) for run in session.all_runs()]

    def jobinfo(self, jobname: str | Job) -> dict[str, Any]:
        """Return what there is to know about a job.

        Returns:
            ``timestamp`` of its start, ``active`` (its status), ``pipeline`` (a row per stage:
            name, pending, waiting, running and done tasks, failed attempts), ``results``,
            ``inputs``, ``worker``, ``hosts``, ``owner``.
        """
        run = session.get(_name_of(jobname))
        status = run.status()
        return {
            "timestamp": time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(run.started_s)),
            "active": status,
            "pipeline": session.counts_of(run.engine.progress),
            "results": run.urls() if status == "ready" else [],
            "inputs": [list(item.urls) for item in run.spec.inputs],
            "worker": run.spec.code.loader,
            "hosts": ["localhost"],
            "owner": run.owner,
        }

    def events(
        self, jobname: str | Job, offset: int = 0
    ) -> Iterator[tuple[int, tuple[str, str, str]]]:
        """Yield (offset of the next event, (time, host, message)) of a job's events so far."""
        for number, event in enumerate(self._events(_name_of(jobname)), start=1):
            if number > offset:
                yield number, _described(event)

    def rawevents(self, jobname: str | Job, offset: int = 0) -> str:
        """Return the events so far as JSON, one per line."""
        return "".join(json.dumps(event) + "\n" for _, event in self.events(jobname, offset))

    def result_iterator(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Return the records of results; see the function of this name."""
        return result_iterator(*args, **kwargs)

    def _result(self, name: str) -> tuple[str, list[str]]:
        run = session.find(name)
        if run is None:
            return "unknown job", []
        status = run.status()
        return status, run.urls() if status == "ready" else []

    def _events(self, name: str) -> list[coordinator_pb2.JobEvent]:
        try:
            return list(next(session.get(name).engine.watch()).events)
        except EngineError:
            return []  # `wait` tells it


def result_iterator(
    urls: Any,
    reader: StreamFunction | None = func.chain_reader,
    input_stream: Sequence[StreamFunction] = (func.map_input_stream,),
    notifier: Callable[[str], None] = func.notifier,
    params: Any = None,
    ddfs: str | None = None,
) -> Iterator[Any]:
    """Yield the records of a job's results, part by part, in order.

    Args:
        urls: What ``Job.wait`` returned, or other URLs, paths, patterns and directories, or lists
            of URLs with the same content.
        reader: Last input stream for files that the engine did not write. With the default,
            files are read by what they are (``part-00000.jsonl``, …); None: raw lines.
        input_stream: The input streams before it.
        notifier: Called with each URL before it is read.
        params: For stream functions that take them.
        ddfs: Not needed.

    Yields:
        (key, value) pairs, or whatever *reader* yields.

    Raises:
        DataError: Something cannot be read, or has been purged.
        DiscoError: *urls* are not URLs.
    """
    inputs = input_urls([urls] if isinstance(urls, str) else urls)
    chain = (*input_stream, *([reader] if reader is not None else []))
    by_name = reader is func.chain_reader and tuple(input_stream) == (func.map_input_stream,)
    return records(inputs, chain, params, by_name=by_name, notifier=notifier)


def _name_of(job: str | Job) -> str:
    return job if isinstance(job, str) else job.name


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(value: Any, name: str, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DiscoError(f"{name} must be a whole number from 1 on, got {value!r}")
    return value


def _described(event: coordinator_pb2.JobEvent) -> tuple[str, str, str]:
    moment = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(event.time_s))
    where = event.stage_name
    if event.HasField("attempt"):
        where = f"{where}:{event.attempt.task}"
    message = f"{event.kind}: {event.text}"
    return moment, event.worker_id or "master", f"[{where}] {message}" if where else message


@contextmanager
def _shown(run: session.Run, how: str | bool) -> Iterator[None]:
    """Print a run's events to standard error until the block ends."""
    over = threading.Event()

    def show() -> None:
        for event in run.events():
            if over.is_set():
                return
            described = _described(event)
            print(json.dumps(described) if how == "json" else "  ".join(described), file=sys.stderr)

    thread = threading.Thread(target=show, name="show-events", daemon=True)
    thread.start()
    try:
        yield
        thread.join()  # the job has ended: what is left to show is there already
    finally:
        over.set()

"""Runs the jobs of this Python process on its own machine: an engine for each."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from disco import session
from disco.error import DiscoError
from disco.jobpack import JOBPACK_VERSION2, JobPack
from disco.submission import job_spec, most_workers, unique_name
from disco.v1 import common_pb2, coordinator_pb2, job_pb2
from disco.version import client_version
from disco_engine.core.parts import PREFIX, Part, ServedPart, part_of
from disco_engine.local.chained import by_label
from disco_engine.local.engine import LocalEngine
from disco_engine.local.errors import EngineError
from disco_engine.local.machine import cores
from disco_engine.local.session import session_token
from disco_engine.result_errors import ResultError

if TYPE_CHECKING:
    from disco.job import Job


class LocalMaster:
    """The ``disco.masters.Master`` that is no server. All of a process share their jobs."""

    def start(self, job: "Job", jobargs: Mapping[str, Any], *, prefix: str, owner: str) -> str:
        """Start a run, and return its name, ``prefix@hex:hex:hex``."""
        spec = job_spec(job, jobargs, name=unique_name(prefix))
        _read_results(spec)
        worker = job.worker_for(jobargs)
        workers = _count(worker.getitem("workers", job, jobargs), "workers", cores())
        slots = _count(worker.getitem("slots", job, jobargs), "slots", 1)
        workers = min(workers, most_workers(worker, job, jobargs, slots) or workers)
        try:
            engine = LocalEngine(spec, workers=workers, slots=slots).start()
        except (OSError, ValueError) as error:
            raise DiscoError(f"cannot start the local engine: {error}") from error
        session.add(
            session.Run(
                name=spec.name, spec=spec, engine=engine, owner=owner, workers=workers, slots=slots
            )
        )
        return spec.name

    def wait(self, name: str, timeout_s: float | None) -> list[str]:
        """Return the URLs of a job's results when it has ended."""
        return session.get(name).wait(timeout_s)

    def status(self, name: str) -> tuple[str, list[str]]:
        """Return how a job stands, and its results once it is ready."""
        run = session.find(name)
        if run is None:
            return "unknown job", []
        status = run.status()
        return status, run.urls() if status == "ready" else []

    def events(self, name: str, after: int) -> Iterator[tuple[int, coordinator_pb2.JobEvent]]:
        """Return what has happened so far, with ascending numbers."""
        return iter(session.get(name).engine.events(after))

    def follow(self, name: str) -> Iterator[coordinator_pb2.JobEvent]:
        """Yield what has happened, and what happens, until the job has ended."""
        return session.get(name).events()

    def values(self, name: str, key: str, prefix: str) -> dict[str, bytes]:
        """Return what a job's tasks put beside their records."""
        return {value.key: value.value for value in _values(name, key, prefix)}

    def value_keys(self, name: str) -> list[str]:
        """Return the keys of these, ascending."""
        return [value.key for value in _values(name, keys_only=True)]

    def kill(self, name: str) -> None:
        """Stop a job."""
        run = session.find(name)
        if run is not None:
            run.engine.cancel("the job was killed by its author")

    def purge(self, name: str) -> None:
        """Stop a job if it runs, and forget it and its results."""
        session.remove(name)

    def jobs(self) -> list[tuple[float, str, str]]:
        """Return (start, status, name) of the jobs, newest first."""
        return [(run.started_s, run.status(), run.name) for run in session.all_runs()]

    def info(self, name: str) -> dict[str, Any]:
        """Return what there is to know about a job."""
        run = session.get(name)
        status = run.status()
        return {
            "timestamp": time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(run.started_s)),
            "active": session.told_status(status, run.engine.progress),
            "pipeline": session.counts_of(run.engine.progress),
            "results": run.urls() if status == "ready" else [],
            "inputs": [list(item.urls) for item in run.spec.inputs],
            "worker": run.spec.code.loader,
            "hosts": ["localhost"],
            "owner": run.owner,
        }

    def stage_urls(self, name: str, stage: str) -> list[str]:
        """Return where the records are that a finished stage has written."""
        return session.get(name).stage_urls(stage)

    def pack(self, name: str) -> JobPack:
        """Return all there is of a job."""
        run = session.get(name)
        told = {
            "prefix": name.partition("@")[0],
            "owner": run.owner,
            "worker": run.spec.code.loader,
            "pipeline": [row[0] for row in session.counts_of(run.engine.progress)],
            "inputs": [[0, 0, list(item.urls)] for item in run.spec.inputs],
        }
        code = run.spec.code
        return JobPack(JOBPACK_VERSION2, told, {}, code.modules_zip, code.payload)

    def version(self) -> str:
        """Return the version of this library."""
        return client_version()

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return what there is to know of this machine."""
        runs = session.all_runs()
        rows = [row for run in runs for row in session.counts_of(run.engine.progress)]
        disk = shutil.disk_usage(tempfile.gettempdir())
        return {
            "localhost": {
                "max_workers": cores(),
                "tasks": [run.name for run in runs if run.status() == "active"],
                "connected": True,
                "blacklisted": False,
                "job_ok": sum(row[4] for row in rows),
                "data_error": 0,
                "error": sum(row[5] for row in rows),
                "diskfree": disk.free // 1024,
                "diskused": disk.used // 1024,
            }
        }


def _values(
    name: str, key: str = "", prefix: str = "", *, keys_only: bool = False
) -> list[common_pb2.NamedValue]:
    run = session.find(name)
    if run is None:
        raise DiscoError(f"Unknown key or jobname: {name!r} is no job of this process")
    try:
        return run.engine.values(key, prefix, keys_only=keys_only)
    except EngineError as error:
        raise DiscoError(str(error)) from error


def _read_results(spec: job_pb2.JobSpec) -> None:
    """Let the job read those of its inputs that are results of other jobs of this process.

    Raises:
        DiscoError: Some are not there any more, or are those of a job on a server.
    """
    inputs = [tuple(item.urls) for item in spec.inputs]
    for (url, *_), part in zip(inputs, map(_part_of, inputs), strict=True):
        if isinstance(part, ServedPart):
            raise DiscoError(
                f"input {url} is the result of a job on a server, which only programs with its"
                " token can read: read it with result_iterator, or give that job an output URL, and"
                " this one the files there"
            )
        if part is not None and session.find(part.uid) is None:
            raise DiscoError(
                f"input {url}: this process does not have that result: it has been purged, or"
                " another process ran the job; run that job here, or give it an output URL, and"
                " this one the files there"
            )
    try:
        chosen = by_label(inputs, session_token())
    except ResultError as error:
        raise DiscoError(f"an input cannot be read: {error}") from error
    if chosen != inputs:
        del spec.inputs[:]
        spec.inputs.extend(job_pb2.Input(urls=urls) for urls in chosen)


def _part_of(urls: tuple[str, ...]) -> Part | None:
    """Return the part of a result that an input is; None: it is something else."""
    try:
        return part_of(urls[0])
    except ValueError as error:
        if urls[0].startswith(PREFIX):
            raise DiscoError(f"input {error}") from error
        return None


def _count(value: Any, name: str, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DiscoError(f"{name} must be a whole number from 1 on, got {value!r}")
    return value

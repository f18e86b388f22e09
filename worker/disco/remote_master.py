"""Runs jobs on a server, for programs that use Disco's names; ``disco.client`` does the work."""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import MessageToDict

from disco import session
from disco.client.connection import Connection
from disco.client.errors import ClientError, InvalidError, NotFoundError, NotPossibleError
from disco.client.outputs import Output
from disco.client.submitting import fitted, submission_of
from disco.client.sync import Client
from disco.error import DiscoError, JobError, UnsupportedError
from disco.jobpack import JobPack
from disco.saved import results_tag
from disco.servers import Server, server_of
from disco.v1 import coordinator_pb2, jobs_pb2
from disco_engine.core.parts import ServedPart
from disco_engine.phases import ENDED

if TYPE_CHECKING:
    from disco.job import Job

_SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
_MORE_MAY_FOLLOW_BYTES = 512 * 1024
"""Of events in one message: the server spreads over several what is more than a megabyte."""


class RemoteMaster:
    """The ``disco.masters.Master`` that is a server."""

    def __init__(self, server: Server) -> None:
        self.server = server

    @property
    def client(self) -> Client:
        """The client that all share who ask this server."""
        return self.server.client

    def start(self, job: "Job", jobargs: Mapping[str, Any], *, prefix: str, owner: str) -> str:
        """Start a run, and return its name, which the server makes of *prefix*."""
        submission = submission_of(job, jobargs, name_prefix=prefix)
        remote_paths = job.worker_for(jobargs).getitem("remote_paths", job, jobargs)
        ready = fitted(submission, self.client.about(), paths_are_remote=bool(remote_paths))
        return self.client.submit(ready).name

    def wait(self, name: str, timeout_s: float | None) -> list[str]:
        """Return the URLs of a job's results when it has ended."""
        try:
            job = self.client.wait(name, timeout_s=timeout_s)
        except TimeoutError as error:
            raise JobError(name, f"Timeout: it still runs after {timeout_s} s") from error
        if job.phase != _SUCCEEDED:
            raise JobError(name, session.reason_of(job))
        return self._urls(job)

    def status(self, name: str) -> tuple[str, list[str]]:
        """Return how a job stands, and its results once it is ready."""
        try:
            job = self.client.get(name)
        except (InvalidError, NotFoundError):  # InvalidError: no job can be called so
            return "unknown job", []
        status = _status(job)
        return status, self._urls(job) if status == "ready" else []

    def events(self, name: str, after: int) -> Iterator[tuple[int, coordinator_pb2.JobEvent]]:
        """Return what has happened so far, with ascending numbers.

        They are the server's. Those of a coordinator that took over begin with 1 again, and go on
        here where the others ended.
        """
        number = 0
        with closing(self.client.watch(name)) as replies:
            for reply in replies:
                for event in reply.events:
                    number = max(number + 1, event.number)
                    if number > after:
                        yield number, event
                if reply.job.phase not in ENDED and reply.ByteSize() < _MORE_MAY_FOLLOW_BYTES:
                    break

    def follow(self, name: str) -> Iterator[coordinator_pb2.JobEvent]:
        """Yield what has happened, and what happens, until the job has ended."""
        with suppress(ClientError), closing(self.client.watch(name)) as replies:  # `wait` tells it
            for reply in replies:
                yield from reply.events

    def values(self, name: str, key: str, prefix: str) -> dict[str, bytes]:
        """Return what a job's tasks put beside their records."""
        return self._values(name, key=key, prefix=prefix)

    def value_keys(self, name: str) -> list[str]:
        """Return the keys of these, ascending."""
        return list(self._values(name, keys_only=True))

    def _values(
        self, name: str, *, key: str = "", prefix: str = "", keys_only: bool = False
    ) -> dict[str, bytes]:
        try:
            return self.client.values(name, key=key, prefix=prefix, keys_only=keys_only)
        except NotFoundError as error:
            raise DiscoError(f"Unknown key or jobname: {error}") from error
        except NotPossibleError as error:
            raise DiscoError(str(error)) from error

    def kill(self, name: str) -> None:
        """Stop a job."""
        with suppress(NotFoundError):
            self.client.cancel(name, reason="the job was killed by its author")

    def purge(self, name: str) -> None:
        """Stop a job if it runs, and remove it and its results."""
        with suppress(NotFoundError):
            self.client.delete(name)

    def jobs(self) -> list[tuple[float, str, str]]:
        """Return (start, status, name) of the jobs of the namespace, newest first."""
        with closing(self.client.list()) as jobs:
            found = [(_time_s(job), _status(job), job.name) for job in jobs]
        return sorted(found, reverse=True)

    def info(self, name: str) -> dict[str, Any]:
        """Return what there is to know about a job."""
        job = self.client.get(name)
        status = _status(job)
        spec = MessageToDict(job.spec)
        return {
            "timestamp": time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(_time_s(job))),
            "active": session.told_status(status, job),
            "pipeline": session.counts_of(job),
            "results": self._urls(job) if status == "ready" else [],
            "inputs": [
                [item] if isinstance(item, str) else item for item in spec.get("inputs", ())
            ],
            "worker": spec.get("job", ""),
            "hosts": [],
            "owner": job.submitted_by,
        }

    def stage_urls(self, name: str, stage: str) -> list[str]:
        """Return where the records are that a finished stage has written: the last one only."""
        job = self.client.get(name)
        if _status(job) == "ready" and job.stages and job.stages[-1].name == stage:
            return self._urls(job)
        raise UnsupportedError(
            f"stage {stage!r} of {name}: a server tells only where the records of a job that"
            " succeeded are, which its last stage has written; let an own job write what is"
            " needed, or run it on this machine (Disco('local')), where all stages can be read"
        )

    def pack(self, name: str) -> JobPack:
        """Refuse: servers do not hand out code."""
        self.client.get(name)  # which says if there is no such job
        raise UnsupportedError(
            f"jobpack of {name}: a server does not give back the code of a job; jobinfo tells the"
            " rest of it, and disco status NAME -o yaml its spec"
        )

    def version(self) -> str:
        """Return the server's version."""
        return self.client.about().version

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Refuse: servers do not tell of machines."""
        raise UnsupportedError(
            "a server does not tell which machines it has: jobinfo and disco ls tell how many"
            " workers jobs have, and on a cluster kubectl get nodes what there is"
        )

    def _urls(self, job: jobs_pb2.Job) -> list[str]:
        """Return the URLs of a job's results, in order."""
        if job.results.output_url:
            here = self.client.about().kind == "local"
            output = Output(info=job.results, job=f"{job.namespace}/{job.name}", here=here)
            return output.urls()
        if session.is_saved_to_ddfs(job):
            whole = f"{job.namespace}/{job.name}"
            return [results_tag(whole)] if job.results.parts else []
        return [
            str(
                ServedPart(
                    server=self.server.connection.server,
                    namespace=job.namespace,
                    name=job.name,
                    uid=job.uid,
                    number=number,
                )
            )
            for number in range(job.results.parts)
        ]


def remote_master(connection: Connection) -> RemoteMaster:
    """Return the master at a connection."""
    return RemoteMaster(server_of(connection))


def _status(job: jobs_pb2.Job) -> str:
    if job.phase not in ENDED:
        return "active"
    return "ready" if job.phase == _SUCCEEDED else "dead"


def _time_s(job: jobs_pb2.Job) -> float:
    return job.created.ToNanoseconds() / 1e9

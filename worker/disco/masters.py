"""Where jobs run: on this machine, or on a server. What ``disco.core.Disco`` needs of either."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from disco.error import DiscoError
from disco.jobpack import JobPack
from disco.v1 import coordinator_pb2

if TYPE_CHECKING:
    from disco.job import Job

LOCAL = "local"
"""The master that is no server: processes on this machine, started for each job."""


class Master(Protocol):
    """What runs jobs. A job's name is what ``start`` returned."""

    def start(self, job: "Job", jobargs: Mapping[str, Any], *, prefix: str, owner: str) -> str:
        """Start a run, and return its name.

        Raises:
            DiscoError: The job or an argument makes no sense, or it cannot be started.
        """
        ...

    def wait(self, name: str, timeout_s: float | None) -> list[str]:
        """Return the URLs of a job's results when it has ended.

        Raises:
            JobError: It did not end well, or not within *timeout_s* seconds.
            DiscoError: There is no such job.
        """
        ...

    def status(self, name: str) -> tuple[str, list[str]]:
        """Return "unknown job", "active", "dead" or "ready", and for the last the results' URLs."""
        ...

    def events(self, name: str, after: int) -> Iterator[tuple[int, coordinator_pb2.JobEvent]]:
        """Return what has happened so far, as far as it is kept, with ascending numbers from 1 on.

        Args:
            name: Which job.
            after: Only what has greater numbers.

        Raises:
            DiscoError: There is no such job.
        """
        ...

    def follow(self, name: str) -> Iterator[coordinator_pb2.JobEvent]:
        """Yield what has happened, and what happens, until the job has ended."""
        ...

    def values(self, name: str, key: str, prefix: str) -> dict[str, bytes]:
        """Return what a job's tasks put beside their records: *key*, or else all with *prefix*.

        Raises:
            DiscoError: There is no such job, or its values are gone.
        """
        ...

    def value_keys(self, name: str) -> list[str]:
        """Return the keys of these, ascending.

        Raises:
            DiscoError: There is no such job, or its values are gone.
        """
        ...

    def kill(self, name: str) -> None:
        """Stop a job; one that is unknown or has ended is fine."""
        ...

    def purge(self, name: str) -> None:
        """Stop a job if it runs, and remove it and its results; one that is unknown is fine."""
        ...

    def jobs(self) -> list[tuple[float, str, str]]:
        """Return (start in seconds since 1970, status, name) of the jobs, newest first."""
        ...

    def info(self, name: str) -> dict[str, Any]:
        """Return what ``Disco.jobinfo`` does.

        Raises:
            DiscoError: There is no such job.
        """
        ...

    def stage_urls(self, name: str, stage: str) -> list[str]:
        """Return where the records are that a finished stage has written.

        Raises:
            DiscoError: There is no such job or stage, or they are not there (any more).
        """
        ...

    def pack(self, name: str) -> JobPack:
        """Return all there is of a job.

        Raises:
            DiscoError: There is no such job, or its code is not to be had.
        """
        ...

    def version(self) -> str:
        """Return the version of what runs jobs."""
        ...

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Return what ``Disco.nodeinfo`` does.

        Raises:
            DiscoError: Nobody tells.
        """
        ...


def master_of(text: str, namespace: str | None) -> Master:
    """Return the master that *text* names.

    Args:
        text: "local"; ``disco://host:port`` or ``host:port``; or the name of a context of the
            client's config file.
        namespace: Of the jobs on a server; None: as the environment or the config file says.

    Raises:
        DiscoError: There is no such master.
    """
    if text == LOCAL:
        from disco.local_master import LocalMaster

        return LocalMaster()
    from disco.client.connection import resolve
    from disco.client.errors import SettingsError
    from disco.remote_master import remote_master

    try:
        if ":" in text or "/" in text:
            return remote_master(resolve(server=text, namespace=namespace))
        return remote_master(resolve(context=text, namespace=namespace))
    except SettingsError as error:
        raise DiscoError(
            f"master {text!r}: {error}; a master is {LOCAL!r} (this machine), disco://host:port, or"
            " the name of a context"
        ) from error

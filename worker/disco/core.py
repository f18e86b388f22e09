"""What runs jobs, as an author's process sees it, and reading results."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pstats import Stats
from typing import TYPE_CHECKING, Any, TextIO

from disco import messages, profiling
from disco.administration import Administration
from disco.ddfs_inputs import expanded
from disco.error import CommError, DiscoError, JobError
from disco.job import Job
from disco.job_inputs import input_urls
from disco.masters import master_of
from disco.results import records
from disco.settings import DiscoSettings
from disco.version import client_version
from disco.worker.classic import func
from disco.worker.streams import StreamFunction
from disco_engine.core.values import key_problem

if TYPE_CHECKING:
    from disco.ddfs import DDFS

__all__ = ["Continue", "Disco", "Stats", "client_version", "result_iterator"]

_LOOK_AGAIN_S = 0.05


class Continue(Exception):
    """A job has not ended yet: ask again. Raised by ``Disco.check_results`` only."""


class Disco(Administration):
    """What runs jobs: processes on this machine, started per job, or a server.

    Args:
        master: "local": this machine. ``disco://host:port``: the server there. Otherwise the name
            of a context of the config file (``disco config``). None: the setting
            ``DISCO_MASTER``, which is "local" unless set.
        settings: Where defaults come from.
        proxy: Not needed.
        namespace: Of jobs on a server; None: as the environment or the config file says.

    Raises:
        DiscoError: There is no such master.
    """

    def __init__(
        self,
        master: str | None = None,
        settings: DiscoSettings | None = None,
        proxy: str | None = None,
        namespace: str | None = None,
    ) -> None:
        self.settings = DiscoSettings() if settings is None else settings
        self.master: str = master or self.settings["DISCO_MASTER"]
        self._master = master_of(self.master, namespace)

    def __str__(self) -> str:
        return f"Disco master at {self.master}"

    def start(self, job: Job, jobargs: Mapping[str, Any], *, prefix: str) -> str:
        """Start a run of a job, and return its unique name, which begins like *prefix*."""
        owner = job.worker_for(jobargs).getitem("owner", job, jobargs)
        return self._master.start(
            job, jobargs, prefix=prefix, owner=owner or self.settings["DISCO_JOB_OWNER"]
        )

    def new_job(self, name: str, **jobargs: Any) -> Job:
        """Run a job that is given by its arguments only, and return it."""
        return Job(name=name, master=self, settings=self.settings).run(**jobargs)

    def wait(
        self,
        jobname: str | Job,
        poll_interval: float = 2,
        timeout: float | None = None,
        clean: bool = False,
        show: str | bool | None = None,
    ) -> list[str]:
        """Wait for a job's end and return its result URLs; see ``Job.wait``."""
        name = _name_of(jobname)
        how = self.settings["DISCO_EVENTS"] if show is None else show
        if not how:
            return self._master.wait(name, timeout)
        with messages.shown(self._master.follow(name), how):
            return self._master.wait(name, timeout)

    def check_results(
        self, jobname: str | Job, start_time: float, timeout: float | None, poll_interval: float
    ) -> list[str]:
        """Return the result URLs of a job that has ended; look once.

        Args:
            jobname: Which job.
            start_time: When the waiting began, in seconds since 1970.
            timeout: Seconds that it may take; None: any.
            poll_interval: Seconds to wait for the end.

        Raises:
            Continue: It has not ended, or the server cannot be reached now.
            JobError: "Status dead", or "Timeout".
        """
        try:
            status, urls = self.results(jobname, timeout=poll_interval * 1000)
        except CommError:
            status, urls = "active", []
        if status == "ready":
            found: list[str] = urls
            return found
        if status != "active":
            raise JobError(jobname, f"Status {status}")
        if timeout is not None and time.time() - start_time >= timeout:
            raise JobError(jobname, "Timeout")
        raise Continue

    def results(self, jobspec: Any, timeout: float = 2000) -> Any:
        """Return how jobs stand, and their results.

        Args:
            jobspec: A job, or its name, or a list of either, or of what this has returned.
            timeout: Milliseconds to wait for one of them to end.

        Returns:
            For one job (status, URLs), the status being "unknown job", "dead", "active" or
            "ready"; for a list (inactive, active), each a list of (name, (status, URLs)).
        """
        alone = isinstance(jobspec, str | Job)
        names = [_name_of(job) for job in ([jobspec] if alone else jobspec)]
        deadline = time.monotonic() + timeout / 1000
        while True:
            found = [(name, self._master.status(name)) for name in names]
            active = [entry for entry in found if entry[1][0] == "active"]
            inactive = [entry for entry in found if entry[1][0] != "active"]
            if inactive or not active or time.monotonic() >= deadline:
                return found[0][1] if alone else (inactive, active)
            time.sleep(_LOOK_AGAIN_S)

    def kill(self, jobname: str | Job) -> None:
        """Stop a job."""
        self._master.kill(_name_of(jobname))

    def purge(self, jobname: str | Job) -> None:
        """Stop a job if it runs, and forget it and its results."""
        self._master.purge(_name_of(jobname))

    def clean(self, jobname: str | Job) -> None:
        """Do nothing: the old name of what ``purge`` does better."""

    def joblist(self) -> list[tuple[float, str, str]]:
        """Return (start in seconds since 1970, status, name) of the jobs, newest first.

        On this machine those of this process, on a server those of the namespace.
        """
        return self._master.jobs()

    def jobinfo(self, jobname: str | Job) -> dict[str, Any]:
        """Return what there is to know about a job.

        Returns:
            ``timestamp`` of its start, ``active`` (its status; "initializing" until its stages are
            known), ``pipeline`` (a row per stage: name, pending, waiting, running and done tasks,
            failed attempts), ``results``, ``inputs``, ``worker``, ``hosts``, ``owner``.
        """
        return self._master.info(_name_of(jobname))

    def events(
        self, jobname: str | Job, offset: int = 0
    ) -> Iterator[tuple[int, tuple[str, str, str]]]:
        """Yield (offset behind it, (time, host, message)) of each message of a job so far.

        Args:
            jobname: Which job.
            offset: Where to go on: one that was yielded before. 0: with the oldest that is kept.
        """
        events = self._master.events(_name_of(jobname), messages.first_number(offset))
        return messages.told_from(offset, events)

    def rawevents(self, jobname: str | Job, offset: int = 0) -> str:
        """Return the same messages as JSON, one per line: ``[time, host, message]``."""
        return "".join(json.dumps(event) + "\n" for _, event in self.events(jobname, offset))

    def oob_get(self, jobname: str | Job, key: str) -> bytes:
        """Return what tasks of a job that have finished put under *key* (``put``).

        If several did, that of the latest stage counts, and in it that of the last task. The job
        may still run.

        Raises:
            DiscoError: There is no such job or no such key, or the job's values are gone.
        """
        problem = key_problem(key)
        found = {} if problem else self._master.values(_name_of(jobname), key, "")
        if key not in found:
            raise DiscoError(f"Unknown key or jobname: {_name_of(jobname)} has no value {key!r}")
        return found[key]

    def oob_list(self, jobname: str | Job) -> list[str]:
        """Return the keys under which tasks of a job that have finished put something, ascending.

        Raises:
            DiscoError: There is no such job, or its values are gone.
        """
        return self._master.value_keys(_name_of(jobname))

    def profile_stats(
        self, jobname: str | Job, mode: str = "", stream: TextIO = sys.stdout
    ) -> Stats:
        """Return where the functions of a job spent their time that was run with ``profile=True``.

        Args:
            jobname: Which.
            mode: Only of stages whose names begin like this, such as "map".
            stream: Where the statistics print to.

        Returns:
            Those of all tasks together, without directories, the longest cumulative time first.

        Raises:
            JobError: No data of a profile is there.
            DiscoError: There is no such job, or its values are gone.
        """
        name = _name_of(jobname)
        profiles = self._master.values(name, "", profiling.prefix_of(mode))
        if not profiles:
            raise JobError(
                name,
                "No profile data: run the job with profile=True"
                + f", or is {mode!r} none of its stages?" * bool(mode),
            )
        return profiling.merged(profiles.values(), stream)

    def result_iterator(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Return the records of results; see the function of this name."""
        return result_iterator(*args, **{"ddfs": self.ddfs, **kwargs})


def result_iterator(
    urls: Any,
    reader: StreamFunction | None = func.chain_reader,
    input_stream: Sequence[StreamFunction] = (func.map_input_stream,),
    notifier: Callable[[str], None] = func.notifier,
    params: Any = None,
    ddfs: "str | DDFS | None" = None,
    trust: bool = False,
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
        ddfs: Where tags are: a ``DDFS``, or its roots; None: as the setting ``DISCO_DDFS`` says.
        trust: Read pickles of jobs on servers that this user has not submitted from here: whoever
            wrote them can run any code here.

    Yields:
        (key, value) pairs, or whatever *reader* yields.

    Raises:
        DataError: Something cannot be read, or has been purged.
        DiscoError: *urls* are not URLs.
    """
    return records(
        input_urls([urls] if isinstance(urls, str) else urls),
        reader=reader,
        input_stream=input_stream,
        notifier=notifier,
        params=params,
        trust=trust,
        expanded=partial(expanded, ddfs=_ddfs_of(ddfs)),
    )


def _ddfs_of(ddfs: "str | DDFS | None") -> "DDFS | None":
    if not isinstance(ddfs, str):
        return ddfs
    from disco.ddfs import DDFS

    return DDFS(ddfs)


def _name_of(job: Any) -> str:
    """Return the name of a job, or of an entry of ``Disco.results``."""
    if isinstance(job, str):
        return job
    return str(job[0] if isinstance(job, tuple | list) else job.name)

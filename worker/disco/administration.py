"""What programs ask a Disco master beside running jobs: its nodes, its table, packs of jobs.

A master here is processes on this machine, or a server. What neither has, is refused with what
does it instead.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from disco.error import DiscoError, UnsupportedError
from disco.jobpack import JobPack, PackedJobPack
from disco.masters import Master
from disco.settings import DiscoSettings

if TYPE_CHECKING:
    from disco.ddfs import DDFS

_INSTEAD = {
    "/disco/version": "master_version()",
    "/disco/job/new": "submit(jobpack)",
    "/disco/ctrl/joblist": "joblist()",
    "/disco/ctrl/jobinfo": "jobinfo(jobname)",
    "/disco/ctrl/parameters": "jobpack(jobname)",
    "/disco/ctrl/rawevents": "rawevents(jobname, offset)",
    "/disco/ctrl/jobevents": "events(jobname)",
    "/disco/ctrl/nodeinfo": "nodeinfo()",
    "/disco/ctrl/load_config_table": "get_config()",
    "/disco/ctrl/get_stageresults": "stageresults(jobname, stagename)",
    "/disco/ctrl/get_results": "results(jobs, timeout)",
    "/disco/ctrl/kill_job": "kill(jobname)",
    "/disco/ctrl/purge_job": "purge(jobname)",
    "/ddfs/": "the methods of .ddfs",
}


class Administration:
    """Part of ``disco.core.Disco``."""

    settings: DiscoSettings
    master: str
    _master: Master

    def request(
        self, url: str, data: bytes | None = None, offset: int = 0, as_bytes: bool = False
    ) -> NoReturn:
        """Refuse: there are no URLs of a Disco master here.

        Raises:
            UnsupportedError: Always; it names the method that does what the URL did.
        """
        method = next(
            (told for begin, told in _INSTEAD.items() if url.startswith(begin)),
            "its methods, or the Jobs service of a server (docs/reference/jobs-api.md)",
        )
        raise UnsupportedError(f"{self} has no {url}: use {method}")

    def submit(self, jobpack: bytes) -> str:
        """Run what is in a job pack, and return the job's name.

        The pack's worker is a program in its files that speaks Disco's worker protocol.

        Raises:
            DiscoError: It is no job pack, or is one of a Python job.
        """
        from disco.job import Job
        from disco.worker.executable import Executable

        try:
            pack = JobPack.loads(jobpack)
            pack.check()
            with zipfile.ZipFile(io.BytesIO(pack.jobhome)) as home:
                files = {name: home.read(name) for name in home.namelist() if name[-1] != "/"}
        except (DiscoError, zipfile.BadZipFile) as error:
            raise DiscoError(f"Failed to submit jobpack: {error}") from error
        told = pack.jobdict
        program = _program_of(str(told["worker"]), files)
        worker = Executable(
            program=program,
            pipeline=[(grouping, name) for name, grouping, *_ in told["pipeline"]],
            input=[_urls_of(item) for item in told["inputs"]],
            env=pack.jobenvs,
            jobdata=pack.jobdata,
            required_files=files,
            scheduler=told.get("scheduler") or {},
            owner=told["owner"],
            save_results=bool(told.get("save_results")),
        )
        master: Any = self
        return Job(name=told["prefix"], master=master, worker=worker).run().name

    def jobpack(self, jobname: Any) -> PackedJobPack:
        """Return the pack of a job: what is known of it, its files, its pickled part.

        Raises:
            DiscoError: There is no such job; or it is on a server, which does not hand out code.
        """
        return JobPack.loads(self._master.pack(_name_of(jobname)).dumps())

    def master_version(self) -> str:
        """Return the version of what runs jobs."""
        return self._master.version()

    def nodeinfo(self) -> dict[str, dict[str, Any]]:
        """Return what there is to know of the machines that run jobs, by name.

        That is for each ``max_workers``, ``tasks`` (names of the jobs that run), ``connected``,
        ``blacklisted``, ``job_ok``, ``data_error``, ``error`` (attempts so far), ``diskfree`` and
        ``diskused`` (kB).

        Raises:
            DiscoError: A server has the machines, and does not tell of them.
        """
        return self._master.nodes()

    def get_config(self) -> list[list[str]]:
        """Return a row for each machine: [name, workers as a text].

        Raises:
            DiscoError: As for ``nodeinfo``.
        """
        return [[name, str(info["max_workers"])] for name, info in self.nodeinfo().items()]

    def set_config(self, config: Sequence[Sequence[str]]) -> NoReturn:
        """Refuse: there is no table of nodes.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            "there is no table of nodes to save: a job says how many workers it wants (workers=4),"
            " disco serve how many there are (--workers), and a cluster has its own nodes"
        )

    config = property(get_config, set_config)

    def blacklist(self, node: str) -> NoReturn:
        """Refuse: nobody keeps such a list.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            f"{node} cannot be blacklisted here: workers on which different tasks failed get no"
            " more of them by themselves; on a cluster, kubectl cordon NODE keeps pods away"
        )

    def whitelist(self, node: str) -> NoReturn:
        """Refuse: nobody keeps such a list.

        Raises:
            UnsupportedError: Always.
        """
        raise UnsupportedError(
            f"{node} cannot be whitelisted here: exclusion of a worker ends by itself; on a"
            " cluster, kubectl uncordon NODE lets pods come back"
        )

    @property
    def ddfs(self) -> "DDFS":
        """Tags and blobs, where the setting ``DISCO_DDFS`` says."""
        from disco.ddfs import DDFS

        return DDFS(self.master, settings=self.settings)

    def stageresults(self, jobname: Any, stagename: str) -> list[list[str]]:
        """Return the URLs of what a finished stage has written, each in a list of its own.

        They can be read, and be the inputs of jobs, as long as the job's results.

        Raises:
            DiscoError: There is no such job or stage, or it has not finished; or its records are
                gone, as those of a job that failed, or that wrote to an output; or a server has
                them, which tells of the last stage only.
        """
        return [[url] for url in self._master.stage_urls(_name_of(jobname), stagename)]

    def mapresults(self, jobname: Any) -> list[list[str]]:
        """Return what the stage "map" has written: the old name of one ``stageresults``."""
        return self.stageresults(jobname, "map")


def _name_of(job: Any) -> str:
    return job if isinstance(job, str) else str(job.name)


def _program_of(worker: str, files: dict[str, bytes]) -> str:
    """Return what a pack's worker is called in the job home.

    Raises:
        DiscoError: It is not among the pack's files.
    """
    if worker not in files:
        raise DiscoError(
            f"Failed to submit jobpack: its worker {worker!r} is none of its files: packs are for"
            " programs that speak the worker protocol; a job in Python is started by its run()"
        )
    return worker.removeprefix("lib/")


def _urls_of(item: Any) -> list[str]:
    """Return the replicas of an input, in either version of job dicts."""
    if isinstance(item, str):
        return [item]
    urls = item[2] if len(item) == 3 and isinstance(item[0], int) else item
    return [urls] if isinstance(urls, str) else [str(url) for url in urls]

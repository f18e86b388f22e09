"""Jobs: what an author writes, and a handle on what became of it."""

import difflib
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TextIO

from disco.error import DiscoError, JobError
from disco.importing import refuse_while_importing
from disco.iterables import listify
from disco.jobpack import JOBPACK_VERSION1, JOBPACK_VERSION2, JobPack, PackedJobPack, check_prefix
from disco.settings import DiscoSettings
from disco.worker.base import Worker as BaseWorker
from disco.worker.classic.worker import Worker as ClassicWorker
from disco.worker.hooks import overrides
from disco.worker.pipeline.worker import Worker as PipelineWorker
from disco.worker.simple import Worker as SimpleWorker

if TYPE_CHECKING:
    from pstats import Stats

    from disco.core import Disco

__all__ = [
    "JOBPACK_VERSION1",
    "JOBPACK_VERSION2",
    "Job",
    "JobChain",
    "JobPack",
    "PackedJobPack",
    "SimpleJob",
]

log = logging.getLogger(__name__)

_ELSEWHERE = {"mapper": "map"}
"""What other frameworks call a parameter, if that is not spelt alike."""


class Job:
    """A job: derive from it, or make one and give it its functions as arguments of ``run``.

        class WordCount(Job):
            partitions = 2

            @staticmethod
            def map(line, params):
                for word in line.split():
                    yield word, 1

            @staticmethod
            def reduce(pairs, params):
                for word, ones in kvgroup(sorted(pairs)):
                    yield word, sum(ones)

        job = WordCount().run(input=["*.txt"])
        for word, count in result_iterator(job.wait()):
            print(word, count)

    With an attribute ``pipeline`` it is a pipeline job (``disco.worker.pipeline.worker``), else a
    classic one (``disco.worker.classic.worker``). All parameters of the worker may be attributes
    of the job, or arguments of ``run``, which take precedence.

    Args:
        name: What the unique name of a run begins with; without '/' and '.'. Default: the class's.
        master: What runs it: a ``Disco``, or the name of a master, as for ``Disco``. None: the
            setting ``DISCO_MASTER``, which is "local", processes on this machine, unless set.
        worker: What gives it its parameters' defaults.
        settings: Where other defaults come from.

    Attributes:
        name: The unique name of the newest run; before the first, what it will begin with.
        worker: As given; None: chosen by what the job has.
    """

    Worker: type[BaseWorker] = ClassicWorker

    name: str = ""
    worker: BaseWorker | None = None
    _settings: DiscoSettings | None = None
    _master: "str | Disco | None" = None
    _prefix: str = ""

    def __init__(
        self,
        name: str | None = None,
        master: "str | Disco | None" = None,
        worker: BaseWorker | None = None,
        settings: DiscoSettings | None = None,
    ) -> None:
        self.name = name or type(self).__name__
        self.worker = worker
        self._master = master
        self._settings = settings

    def __getstate__(self) -> dict[str, Any]:
        # The author's master and settings stay with the author.
        stay = ("_settings", "_master")
        return {key: value for key, value in vars(self).items() if key not in stay}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or type(self).__name__}>"

    @property
    def disco(self) -> "Disco":
        """What runs the job."""
        from disco.core import Disco  # worker slots need none of it

        if isinstance(self._master, Disco):
            return self._master
        return Disco(self._master, self._settings)

    @property
    def settings(self) -> DiscoSettings:
        """Where defaults come from."""
        return DiscoSettings() if self._settings is None else self._settings

    @property
    def prefix(self) -> str:
        """What the unique name of the next run begins with, unless the run says otherwise."""
        return self._prefix or self.name or type(self).__name__

    def worker_for(self, jobargs: Mapping[str, Any]) -> BaseWorker:
        """Return the worker for a run with these arguments."""
        if self.worker is not None:
            return self.worker
        if self.Worker is ClassicWorker and ("pipeline" in jobargs or hasattr(self, "pipeline")):
            return PipelineWorker()
        return self.Worker()

    def run(self, **jobargs: Any) -> Self:
        """Start the job and return it, with its unique name.

        Args:
            **jobargs: Values of parameters, such as ``input``, a list of URLs, paths, patterns and
                directories, each a text or a list of texts with the same content.

        Raises:
            DiscoError: A parameter is unknown or makes no sense, or something cannot travel, or the
                job's module is being imported in order to run it. What is wrong with the inputs is
                told by ``wait``.
        """
        refuse_while_importing(self.prefix)
        self._prefix = self.prefix
        prefix = jobargs.get("name") or self._prefix
        worker = self.worker_for(jobargs)
        for problem in misspelt(self, worker, jobargs):
            log.warning("%s", problem)
        if overrides(worker, "jobdict"):
            prefix = worker.jobdict(self, **jobargs)["prefix"]
        check_prefix(prefix)
        self.name = self.disco.start(self, jobargs, prefix=prefix)
        return self

    def wait(
        self,
        poll_interval: float = 2,
        timeout: float | None = None,
        clean: bool = False,
        show: str | bool | None = None,
    ) -> list[str]:
        """Wait for the job's end and return the URLs of its results, in order.

        Args:
            poll_interval: Not needed: the end is noticed at once.
            timeout: Seconds to wait; None: for ever.
            clean: Not needed, as ``clean``.
            show: Print events to standard error while waiting: "json" as JSON, True or any other
                text as lines. None: the setting ``DISCO_EVENTS``.

        Returns:
            ``disco://…`` URLs for ``result_iterator``, or as inputs of another job; with an output
            URL those of the files.

        Raises:
            JobError: The job failed (the message has the user's traceback and the record), was
                killed, or still runs after *timeout* seconds.
        """
        return self.disco.wait(self.name, poll_interval, timeout, clean, show)

    def results(self, timeout: float = 2000) -> tuple[str, list[str]]:
        """Return (status, result URLs); see ``Disco.results``.

        Args:
            timeout: Milliseconds to wait for the job's end.
        """
        status: tuple[str, list[str]] = self.disco.results(self.name, timeout)
        return status

    def stageresults(self, stagename: str) -> list[list[str]]:
        """Return what a finished stage of the job has written; see ``Disco.stageresults``."""
        return self.disco.stageresults(self.name, stagename)

    def mapresults(self) -> list[list[str]]:
        """Return what the stage "map" has written; see ``Disco.mapresults``."""
        return self.disco.mapresults(self.name)

    def jobpack(self) -> PackedJobPack:
        """Return the pack of the job; see ``Disco.jobpack``."""
        return self.disco.jobpack(self.name)

    def kill(self) -> None:
        """Stop the job; what it has done is lost."""
        self.disco.kill(self.name)

    def purge(self) -> None:
        """Stop the job if it runs, and remove its results, unless they are in an output."""
        self.disco.purge(self.name)

    def clean(self) -> None:
        """Do nothing: the old name of what ``purge`` does better."""

    def events(self, offset: int = 0) -> Iterator[tuple[int, tuple[str, str, str]]]:
        """Yield (next offset, (time, host, message)) of the job's events so far."""
        return self.disco.events(self.name, offset)

    def oob_get(self, key: str) -> bytes:
        """Return what the job's tasks put under *key*; see ``Disco.oob_get``."""
        return self.disco.oob_get(self.name, key)

    def oob_list(self) -> list[str]:
        """Return the keys under which the job's tasks put something, ascending."""
        return self.disco.oob_list(self.name)

    def profile_stats(self, mode: str = "", stream: TextIO = sys.stdout) -> "Stats":
        """Return where the job's functions spent their time; see ``Disco.profile_stats``."""
        return self.disco.profile_stats(self.name, mode, stream)

    def jobinfo(self) -> dict[str, Any]:
        """Return what there is to know about the job; see ``Disco.jobinfo``."""
        return self.disco.jobinfo(self.name)


def misspelt(job: Job, worker: BaseWorker, jobargs: Mapping[str, Any]) -> list[str]:
    """Return what to say of attributes of *job* that are spelt almost like parameters of *worker*.

    If the parameter is given, too, the attribute is the author's own; and a worker that takes any
    parameter may read any attribute.
    """
    if not worker.strict:
        return []
    known = (*worker.defaults(), "pipeline")
    said = []
    for name in sorted(set(dir(job)) - set(dir(Job)) - set(known)):
        alike = difflib.get_close_matches(_ELSEWHERE.get(name, name), known, n=1, cutoff=0.8)
        if name.startswith("_") or not alike or alike[0] in jobargs or hasattr(job, alike[0]):
            continue
        said.append(
            f"job {type(job).__name__} has {name!r}, which is no parameter and has no effect:"
            f" did you mean {alike[0]}?"
        )
    return said


class SimpleJob(Job):
    """A job whose stages are functions that read and write themselves: ``disco.worker.simple``."""

    Worker = SimpleWorker


class JobChain(dict[Job, Any]):
    """Jobs that read each other's results: ``{job: inputs}``.

    Inputs are URLs, jobs of the chain, or a list of both. A job starts when all jobs it reads have
    ended.
    """

    def inputs(self, job: Job) -> list[Any]:
        """Return what *job* reads, as a list of URLs and jobs."""
        found = self[job]
        return [found] if isinstance(found, str | Job) else listify(found)

    def walk(self) -> Iterator[Job]:
        """Yield the jobs, each after those it reads.

        Raises:
            DiscoError: They read each other in a circle.
        """
        done: list[Job] = []
        waiting = list(self)
        while waiting:
            ready = [job for job in waiting if all(other in done for other in self._before(job))]
            if not ready:
                raise DiscoError(f"the jobs {waiting!r} wait for each other")
            yield from ready
            done.extend(ready)
            waiting = [job for job in waiting if job not in ready]

    def wait(self, poll_interval: float = 1) -> Self:
        """Run all jobs and return the chain when all have ended.

        Args:
            poll_interval: Seconds between two looks at which jobs have ended.

        Raises:
            JobError: One of them failed.
        """
        waiting = list(self.walk())
        running: list[Job] = []
        while waiting or running:
            for job in [job for job in waiting if not self._pending(job, waiting, running)]:
                waiting.remove(job)
                running.append(job.run(input=self._urls(job)))
            running = [job for job in running if not self._ended(job)]
            if running:
                time.sleep(poll_interval)
        return self

    def purge(self) -> None:
        """Remove the results of all jobs."""
        for job in self:
            job.purge()

    def _before(self, job: Job) -> list[Job]:
        return [entry for entry in self.inputs(job) if isinstance(entry, Job) and entry in self]

    def _pending(self, job: Job, waiting: Iterable[Job], running: Iterable[Job]) -> bool:
        return any(other in waiting or other in running for other in self._before(job))

    def _urls(self, job: Job) -> list[Any]:
        urls: list[Any] = []
        for entry in self.inputs(job):
            urls.extend(entry.wait() if isinstance(entry, Job) else [entry])
        return urls

    @staticmethod
    def _ended(job: Job) -> bool:
        status, _ = job.results(timeout=0)
        if status == "dead":
            job.wait()  # raises, and says why
            raise JobError(job, "the job is dead")
        return status == "ready"

"""Workers that call one function per stage, which reads and writes as it likes.

class Lengths(SimpleJob):
    @staticmethod
    def map(worker, task, **jobargs):
        out = worker.output(task, 0)
        for line in worker.input(task):
            out.file.add(len(line), 1)
"""

from typing import TYPE_CHECKING, Any

from disco.worker.base import Worker as BaseWorker

if TYPE_CHECKING:
    from disco.job import Job
    from disco.task import Task


class Worker(BaseWorker):
    """Calls the job's attribute that is called as the stage, with (worker, task, **jobargs)."""

    def run(self, task: "Task", job: "Job", **jobargs: Any) -> None:
        """Do what the task is for."""
        self.getitem(task.stage, job, jobargs)(self, task, **jobargs)

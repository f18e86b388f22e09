"""What a worker of a program's own may override: how a task runs, and what a job takes along.

class Worker(disco.worker.classic.worker.Worker):
    def jobzip(self, job, **jobargs):                 # where the author is
        archive = super().jobzip(job, **jobargs)
        archive.write("words.txt", "lib/words.txt")
        return archive

    def run(self, task, job, **jobargs):              # where the task is
        with open("lib/words.txt") as file:
            ...
        super().run(task, job, **jobargs)
"""

from collections.abc import Iterator, Mapping, Sequence
from inspect import getmodule, getsourcefile
from typing import TYPE_CHECKING, Any, NoReturn

from disco.error import DiscoError
from disco.task import Task, active_task

if TYPE_CHECKING:
    from disco.fileutils import DiscoZipFile
    from disco.job import Job
    from disco.worker.base import StageRunner
    from disco.worker.inputs import BaseOutput, IDedInput, Input, Output

# Imported where they are used: a slot that runs a job of Disco's own kinds needs none of them.


class TaskHooks:
    """How a task runs: ``start`` calls ``run``, then ``end``.

    Attributes:
        outputs: What the running task has opened with ``output``, by label.
        runners: What runs the tasks of each stage, in a worker slot.
    """

    outputs: "dict[Any, BaseOutput]"
    runners: "Sequence[StageRunner]" = ()

    def start(self, task: Task, job: "Job", **jobargs: Any) -> None:
        """Run a task, from the beginning to the end."""
        self.outputs = {}
        self.run(task, job, **jobargs)
        self.end(task, job, **jobargs)

    def run(self, task: Task, job: "Job", **jobargs: Any) -> None:
        """Do what the task is for."""
        self.runners[task.context.plan_stage].run(task.context, task.params)

    def end(self, task: Task, job: "Job", **jobargs: Any) -> None:
        """Let the outputs leave the task."""
        self.send_outputs()

    def input(self, task: Task, merged: bool = False, **options: Any) -> "Input":
        """Return the records of all inputs of a task.

        Args:
            task: Which.
            merged: Each input is sorted, and so are the records of all.
            **options: ``open``, as for ``disco.worker.Input``.
        """
        from disco.worker.inputs import MergedInput, SerialInput

        return (MergedInput if merged else SerialInput)(self.get_inputs(), task=task, **options)

    def output(self, task: Task, label: int | None = None, **options: Any) -> "Output":
        """Return where a task writes records with *label*: the same at every call.

        Args:
            task: Which.
            label: An integer; None is 0.
            **options: ``open``, as for ``disco.worker.Output``.
        """
        from disco.worker.inputs import Output

        if label not in self.outputs:
            self.outputs[label] = Output(task.output(label), **options)
        found = self.outputs[label]
        assert isinstance(found, Output)
        return found

    def send_outputs(self) -> None:
        """Let the outputs leave the task."""
        if self.outputs:
            from disco.worker.inputs import send

            for output in self.outputs.values():
                send(output, active_task())

    @classmethod
    def get_task(cls) -> Task:
        """Return the running task."""
        return active_task()

    @classmethod
    def get_inputs(cls, done: bool = False, exclude: Sequence[int] = ()) -> "Iterator[IDedInput]":
        """Yield the inputs of the running task, but for those whose ids are excluded."""
        from disco.worker.inputs import IDedInput, given_inputs

        for number, given in enumerate(given_inputs(active_task())):
            if number not in exclude:
                yield IDedInput((cls, number, given.label))

    @classmethod
    def get_input(cls, id: int) -> list[tuple[int, str]]:
        """Return (number, URL) of each replica of an input of the running task."""
        from disco.worker.inputs import given_inputs, stored_url
        from disco_engine.core.model import TaskInput

        given = given_inputs(active_task())[id]
        return list(enumerate(given.urls if isinstance(given, TaskInput) else [stored_url(id)]))

    @classmethod
    def labelled_input_map(
        cls, task: Task, inputs: "Iterator[IDedInput]"
    ) -> dict[int, list[list[str]]]:
        """Return the inputs by label, each as the URLs of its replicas."""
        found: dict[int, list[list[str]]] = {}
        for one in inputs:
            found.setdefault(one.label, []).append(one.locations)
        return found

    @classmethod
    def send(cls, type: str, payload: Any = "") -> None:
        """Print a message (``MSG``), which becomes one of the job's events.

        Raises:
            DiscoError: It is of another type.
        """
        if type != "MSG":
            raise DiscoError(
                f"no {type} can be sent: a task's inputs and outputs are at get_inputs() and"
                " output(), and it ends when run() does"
            )
        print(payload)

    @classmethod
    def main(cls) -> NoReturn:
        """Refuse: the engine runs workers itself.

        Raises:
            DiscoError: Always.
        """
        raise DiscoError(f"{cls.__module__} is no program: give the worker to a job, and run that")


class JobHooks:
    """What a job takes along, and what others are told of it: the parts of a job pack."""

    def getitem(self, key: str, job: Any, jobargs: Mapping[str, Any], default: Any = None) -> Any:
        """Return a parameter's value."""
        raise NotImplementedError

    def functions(self, job: Any, jobargs: Mapping[str, Any]) -> list[Any]:
        """Return the user's functions."""
        raise NotImplementedError

    def pipeline_of(self, job: Any, jobargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (name, grouping) of each stage."""
        raise NotImplementedError

    @property
    def bin(self) -> str:
        """The path of the worker's own source file, without the leading slash."""
        module = getmodule(type(self))
        return str(module and getsourcefile(module)).lstrip("/")

    def get_modules(self, job: "Job", **jobargs: Any) -> list[Any]:
        """Return what ``required_modules`` may be: the modules that the job's functions use."""
        from disco.worker.modutil import find_modules

        return list(find_modules(self.functions(job, jobargs), exclude=["Task"]))

    def jobdict(self, job: "Job", **jobargs: Any) -> dict[str, Any]:
        """Return what there is to know about a job: its name's prefix, stages, inputs, owner, ….

        A worker that overrides this may change ``prefix``; others than classic and pipeline workers
        also ``pipeline``, (name, grouping) of each stage.
        """

        def get(key: str) -> Any:
            return self.getitem(key, job, jobargs)

        inputs = [[one] if isinstance(one, str) else list(map(str, one)) for one in get("input")]
        return {
            "prefix": jobargs.get("name") or job.prefix,
            "owner": get("owner") or job.settings["DISCO_JOB_OWNER"],
            "worker": self.bin,
            "pipeline": self.pipeline_of(job, jobargs),
            "inputs": [[0, 0, urls] for urls in inputs],
            "save_results": bool(get("save_results") or get("save")),
            "save_info": get("save_info"),
            "scheduler": get("scheduler"),
        }

    def jobenvs(self, job: "Job", **jobargs: Any) -> dict[str, str]:
        """Return environment variables for the tasks; paths in PYTHONPATH begin at the job's files.

        Disco's own need none. What a worker returns that overrides this, is set in each slot.
        """
        return {"PYTHONPATH": "lib", "LD_LIBRARY_PATH": "lib"}

    def jobhome(self, job: "Job", **jobargs: Any) -> bytes:
        """Return the bytes of ``jobzip``."""
        archive = self.jobzip(job, **jobargs)
        archive.close()
        return archive.dumps()

    def jobzip(self, job: "Job", **jobargs: Any) -> "DiscoZipFile":
        """Return the files that travel with a job, in a ZIP that is still open.

        They are the user's modules that the job imports, and the required ones. A worker that
        overrides this may add to it.
        """
        from disco.job_files import job_zip

        return job_zip(job, jobargs, self)


def overrides(worker: object, hook: str) -> bool:
    """Return whether the worker's class has a hook of its own."""
    own = getattr(type(worker), hook, None)
    return own is not getattr(JobHooks, hook)

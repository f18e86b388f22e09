"""Runs the tasks of a stage whose worker is a program: one process per task."""

import errno
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disco.jobpack import JOBPACK_VERSION2, JobPack
from disco.worker.children import Child
from disco.worker.executable.conversation import BrokenOffError, Conversation, Patience
from disco.worker.executable.dialogue import Answer, Dialogue, Ending
from disco.worker.executable.inputs import TaskInputs
from disco.worker.executable.outputs import pairs_of_output
from disco.worker.jobhome import make_home, required, travelled
from disco.worker.throttling import MessageLimit
from disco_engine.core.model import Failure, FailureKind, Grouping
from disco_engine.program import ProgramError, TaskContext, bad_data, fatal

JOBFILE = "jobfile"
"""Name of the job pack in the job home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is started for a task.

    Attributes:
        name: The program's: a path where the workers run, or of a file that travels with the job.
        arguments: Of its command line.
        files: Where the other files that travel are in the job home.
        environment: Variables that it has besides those of the slot.
        data: What the job file has for it.
        input_format: Of the files that hold what earlier stages have written.
        patience: With it.
        limits_messages: It may say MSG as often as Disco allows.
    """

    name: str
    arguments: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""
    input_format: str = "pickle"
    patience: Patience = field(default_factory=Patience)
    limits_messages: bool = False

    @property
    def place(self) -> str:
        """Where it is in the job home, if it travels."""
        return self.name if self.name in self.files else os.path.basename(self.name)


class ProgramTasks:
    """The tasks of one stage.

    Args:
        program: What runs them.
        grouping: Of the stage.
        pipeline: (stage, grouping) of all stages, for the job file.
    """

    splittable = False  # programs are told URLs, and read what these name

    def __init__(
        self, program: Program, grouping: Grouping, pipeline: Sequence[tuple[str, Grouping]]
    ) -> None:
        self._program = program
        self._grouping = grouping
        self._pipeline = pipeline

    def run(self, context: TaskContext, params: Any) -> None:
        """Run one task.

        Raises:
            ProgramError: The program failed, or what it has written cannot be read.
        """
        program = self._program
        command, home = self._prepared(context)
        inputs = TaskInputs(context, home, program.input_format)
        limit = MessageLimit() if program.limits_messages else None
        dialogue = Dialogue(self._task(context, home), inputs, _say(context), limit)
        answer = self._end_of(command, home, dialogue)
        name = os.path.basename(program.name)
        if answer.ending is Ending.FATAL:
            raise fatal(f"{name}: {answer.message}")
        if answer.ending is Ending.ERROR and dialogue.unreadable:
            raise bad_data(f"{name}: {answer.message}", input=" ".join(dialogue.unreadable))
        if answer.ending is Ending.ERROR:
            raise _failed(f"{name}: {answer.message}")
        writer = context.writer()
        writer.producer = f"the program {name}"
        for output in dialogue.outputs:
            writer.extend(output.label, pairs_of_output(home, output))

    def _prepared(self, context: TaskContext) -> tuple[list[str], Path]:
        """Return the command line and the job home."""
        program = self._program
        installed = _installed(program)
        files = required(program.files if installed else (program.place, *program.files))
        home = make_home(context.scratch, {**files, JOBFILE: self._jobpack(context).dumps()})
        return [installed or str(home / program.place), *program.arguments], home

    def _jobpack(self, context: TaskContext) -> JobPack:
        """Return what the job file has: what the author gave the program, but no files again."""
        jobdict = {
            "prefix": context.job_name.partition("@")[0],
            "owner": "",
            "worker": os.path.basename(self._program.name),
            "pipeline": [[stage, grouping, False] for stage, grouping in self._pipeline],
            "inputs": [],
        }
        environment = dict(self._program.environment)
        return JobPack(JOBPACK_VERSION2, jobdict, environment, b"", self._program.data)

    def _task(self, context: TaskContext, home: Path) -> dict[str, Any]:
        """Return what the program is told of its task; it is given no address of anything."""
        return {
            "taskid": context.task,
            "jobname": context.job_name,
            "jobfile": str(home / JOBFILE),
            "stage": context.stage_name,
            "grouping": str(self._grouping),
            "group": [context.group.label or 0, context.group.node or ""],
            "host": context.node,
            "master": "",
            "disco_port": 0,
            "put_port": 0,
            "disco_data": str(home),
            "ddfs_data": str(home),
        }

    def _end_of(self, command: list[str], home: Path, dialogue: Dialogue) -> Answer:
        """Run the program, and return how it said its task ended.

        Raises:
            ProgramError: USER: it did not say so. FATAL: it cannot be started.
        """
        program = self._program
        try:
            child = Child(command, home=home, environment=program.environment)
        except OSError as error:
            raise fatal(f"the program {command[0]} cannot be started: {_why(error)}") from error
        with child:
            try:
                return Conversation(child, dialogue, program.patience).to_its_end()
            except BrokenOffError as error:
                words = error.last_words.decode(errors="backslashreplace")
                if words:
                    print(words)
                raise _failed(
                    f"the program {os.path.basename(program.name)} broke off: {error}", words
                ) from error


def _installed(program: Program) -> str | None:
    """Return the path of a program that is there wherever workers run; None: it travels.

    One that has travelled is meant also if something on the PATH has the same name.
    """
    if os.path.isabs(program.name):
        return program.name
    return None if travelled(program.place) else shutil.which(program.name)


def _why(error: OSError) -> str:
    """Return why a program that is there cannot be started, and what to do."""
    why = error.strerror or str(error)
    match error.errno:
        case errno.ENOEXEC:
            return (
                f"{why}; build it for the workers' system ({platform.system()},"
                f" {platform.machine()}), or let it begin with #! and an interpreter"
            )
        case errno.ENOENT:
            return (
                f"{why}; if it is there, the interpreter in its first line or its dynamic loader is"
                " not: name one that the workers have, or link it statically"
            )
        case _:
            return why


def _say(context: TaskContext) -> Callable[[str], None]:
    def say(text: str) -> None:
        context.status(text)
        print(text)

    return say


def _failed(message: str, words: str = "") -> ProgramError:
    shown = words[-_SHOWN_CHARACTERS:]
    last = f"Its last words:\n{shown}" if shown else ""
    return ProgramError(Failure(kind=FailureKind.USER, message=message, traceback=last))


_SHOWN_CHARACTERS = 4_000  # all of them are in the log of the task

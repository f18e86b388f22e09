"""Jobs whose worker is a program in any language, which speaks Disco's worker protocol.

    class WordCount(Job):
        Worker = Executable
        program = "wordcount"
        pipeline = [(split, "map"), (group_label, "reduce")]

The same program runs the tasks of all stages; it is told which one each is.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from disco.error import DiscoError
from disco.sources import is_installed
from disco.worker.base import PlannedStage, planned
from disco.worker.base import Worker as BaseWorker
from disco.worker.executable.conversation import Patience
from disco.worker.executable.inputs import WRITERS
from disco.worker.executable.tasks import Program, ProgramTasks
from disco.worker.hooks import TaskHooks
from disco.worker.jobhome import LIBRARY
from disco.worker.params import Params
from disco_engine.core.model import Grouping


class Executable(BaseWorker):
    """Parameters of a job whose worker is a program: those of every job, and some of its own."""

    strict = True
    prints_messages = False  # its programs say MSG, and what they print is their log
    run = TaskHooks.run

    def defaults(self) -> dict[str, Any]:
        """Return every parameter with its default.

        =================  ========================================================================
        ``program``        path of the program: absolute where the workers run, or a name on their
                           ``PATH``; or relative to the job's module or the working directory, and
                           then it travels with the job
        ``arguments``      texts: what its command line has besides
        ``env``            a dict of environment variables
        ``jobdata``        bytes for the program, in the job file that TASK names
        ``required_files`` what it finds in its working directory, the job home: paths of files,
                           which have their names there, or a dict of bytes by the place
        ``input_format``   "pickle" or "netstring": of the files in which later stages find what
                           the stage before them has written
        ``pipeline``       a list of (grouping, name of the stage)
        ``patience``       a ``Patience``: how long the program may be silent
        =================  ========================================================================
        """
        return {
            **super().defaults(),
            "program": None,
            "arguments": (),
            "env": {},
            "jobdata": b"",
            "input_format": "pickle",
            "pipeline": (),
            "patience": Patience(),
        }

    def getitem(
        self, key: str, job: object, jobargs: Mapping[str, Any], default: Any = None
    ) -> Any:
        """Return a parameter's value; the program is among the ``required_files`` if it travels."""
        value = super().getitem(key, job, jobargs, default)
        if key != "required_files":
            return value
        path = _here(str(super().getitem("program", job, jobargs)), job)
        if path is None:
            return value
        if isinstance(value, Mapping):
            return {f"{LIBRARY}/{path.name}": path.read_bytes(), **value}
        return [*value, path]

    def planned_stages(self, job: object, jobargs: Mapping[str, Any]) -> tuple[PlannedStage, ...]:
        """Return the job's stages, in order.

        Raises:
            DiscoError: There is no program, or a parameter makes no sense.
        """
        program = self._program(job, jobargs)
        if self.getitem("params", job, jobargs) not in (None, {}, Params()):
            raise DiscoError(
                "params are for functions in Python: give a program arguments, env, jobdata or"
                " required_files"
            )
        pipeline = _checked(self.getitem("pipeline", job, jobargs))
        return tuple(
            planned(name, grouping, ProgramTasks(program, grouping, pipeline))
            for name, grouping in pipeline
        )

    def pipeline_of(self, job: object, jobargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (name, grouping) of each stage.

        Raises:
            DiscoError: The pipeline makes no sense.
        """
        return [*_checked(self.getitem("pipeline", job, jobargs))]

    def functions(self, job: object, jobargs: Mapping[str, Any]) -> list[Any]:
        """Return none: nothing of such a job is Python."""
        return []

    def _program(self, job: object, jobargs: Mapping[str, Any]) -> Program:
        def value(key: str) -> Any:
            return super(Executable, self).getitem(key, job, jobargs)

        name = value("program")
        if not isinstance(name, str | Path) or not str(name):
            raise DiscoError(f"program must be the path of an executable, got {name!r}")
        if value("input_format") not in WRITERS:
            raise DiscoError(
                f"unknown input_format {value('input_format')!r}; there are {', '.join(WRITERS)}"
            )
        env = value("env")
        if not isinstance(env, Mapping) or not _are_texts([*env, *env.values()]):
            raise DiscoError(f"env must be a dict of texts, got {env!r}")
        arguments = value("arguments")
        if isinstance(arguments, str) or not _are_texts(arguments):
            raise DiscoError(f"arguments must be a list of texts, got {arguments!r}")
        return Program(
            name=str(name),
            arguments=tuple(arguments),
            files=tuple(_names_of(value("required_files"))),
            environment=dict(env),
            data=bytes(value("jobdata")),
            input_format=value("input_format"),
            patience=value("patience"),
            limits_messages=bool(value("limit_messages")),
        )


def _names_of(files: Any) -> Iterator[str]:
    """Yield where files that travel are in the job home, of which ``lib`` is another name."""
    for file in files:
        place = str(file).removeprefix(f"{LIBRARY}/")
        yield place if isinstance(files, Mapping) else os.path.basename(place)


def _here(program: str, job: object) -> Path | None:
    """Return where the program is on the author's machine, if it travels from there."""
    if os.path.isabs(program):
        return None
    module = sys.modules.get(type(job).__module__)
    file = getattr(module, "__file__", None)
    beside = [Path(file).parent] if file and module and not is_installed(module) else []
    for place in (*beside, Path.cwd()):
        if (place / program).is_file():
            return (place / program).resolve()
    return None


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _checked(pipeline: Any) -> list[tuple[str, Grouping]]:
    if not isinstance(pipeline, Sequence) or isinstance(pipeline, str) or not pipeline:
        raise DiscoError(
            f"pipeline must be a list of (grouping, name of the stage) pairs, at least one; got"
            f" {pipeline!r}"
        )
    checked: list[tuple[str, Grouping]] = []
    for place, item in enumerate(pipeline):
        match item:
            case (str(grouping), str(name)) | (str(grouping), str(name), bool()) if name:
                pass
            case _:
                raise DiscoError(
                    f"Bad Stage: item {place} of the pipeline is {item!r}, not (grouping, name)"
                )
        if grouping not in tuple(Grouping):
            raise DiscoError(
                f"Unknown grouping {grouping!r} of stage {name!r}; there are {', '.join(Grouping)}"
            )
        if any(name == other for other, _ in checked):
            raise DiscoError(f"Repeated stage {name!r}: give each stage a name of its own")
        checked.append((name, Grouping(grouping)))
    return checked

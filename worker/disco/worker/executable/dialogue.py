"""What a program is answered: the decisions of the worker protocol, version 1.1, without its pipes.

    program                                     answer
    WORKER {"version": "1.1", "pid": N}         OK "ok"; must be the first
    TASK ""                                     TASK {taskid, stage, grouping, group, …}
    INPUT "" | [include | exclude, [ids]]       INPUT [done | more, [[id, "ok", label, replicas]]]
    INPUT_ERR [id, [replica ids]]               RETRY [[replica id, url]] | FAIL ""
    MSG text                                    OK "ok"
    PING anything                               OK "pong"
    OUTPUT [label, path, size]                  OK "ok"
    ERROR text | FATAL text | DONE ""           none: the program is ended

What programs say wrongly is an error, so that the attempt is tried again; a message that nobody
knows, or another version, ends the job, since another attempt would not do better.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from disco.worker.executable.frames import Frame
from disco.worker.throttling import MessageLimit, TooManyMessagesError

VERSION = "1.1"


class Ending(StrEnum):
    """How a program ended its task."""

    DONE = "done"
    ERROR = "error"  # this attempt failed; another may be better off
    FATAL = "fatal"  # the job can never work


class Answer(NamedTuple):
    """What follows from a frame.

    Attributes:
        reply: To send; None: the task is over.
        ending: How it ended; None: it has not.
        message: Why, if it did not end well.
        delay_s: Seconds by which the reply is delayed.
    """

    reply: Frame | None = None
    ending: Ending | None = None
    message: str = ""
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramInput:
    """One thing a program reads.

    Attributes:
        id: Unlike that of any other input of the task.
        label: The label of its records.
        urls: Any of these has the content; a replica's id is its place here.
    """

    id: int
    label: int
    urls: tuple[str, ...]


class ProgramOutput(NamedTuple):
    """What a program says it has written.

    Attributes:
        label: Of its records.
        path: From the job home.
        size_bytes: Of the file.
    """

    label: int
    path: str
    size_bytes: int


class Inputs(Protocol):
    """Where a task's inputs come from."""

    @property
    def here(self) -> Sequence[ProgramInput]:
        """Those that can be read now."""
        ...

    @property
    def are_complete(self) -> bool:
        """There will be no more."""
        ...

    def bring_more(self) -> None:
        """Make some more of them readable; at least one, unless they are complete."""
        ...


class Dialogue:
    """One program's side of one attempt at a task, from its first frame to its last.

    Args:
        task: What TASK is answered.
        inputs: Of the task.
        say: Where messages to the user go.
        limit: Of these messages; None: there is none.

    Attributes:
        greeted: The program has said WORKER.
        outputs: What it says it has written.
        unreadable: The URLs of the last input that it could read from nowhere; empty: none.
    """

    def __init__(
        self,
        task: Mapping[str, Any],
        inputs: Inputs,
        say: Callable[[str], None],
        limit: MessageLimit | None = None,
    ) -> None:
        self.greeted = False
        self.outputs: list[ProgramOutput] = []
        self.unreadable: tuple[str, ...] = ()
        self._task = dict(task)
        self._inputs = inputs
        self._say = say
        self._limit = limit
        self._owes_more = False  # it was told that there are more inputs than it got
        self._failed: Counter[tuple[int, int]] = Counter()

    def answer(self, frame: Frame) -> Answer:
        """Return what follows from *frame*."""
        if not self.greeted and frame.name != "WORKER":
            return _error(f"its first message must be WORKER, not {frame.name}")
        match frame:
            case Frame("WORKER", {"version": version}):
                return self._greet(version)
            case Frame("TASK", _):
                return Answer(Frame("TASK", self._task))
            case Frame("PING", _):
                return Answer(Frame("OK", "pong"))
            case Frame("MSG", str(text)):
                return self._take_message(text)
            case Frame("INPUT", payload):
                return self._list_inputs(payload)
            case Frame("INPUT_ERR", [int(number), [*replicas]]):
                return self._find_replica(number, replicas)
            case Frame("OUTPUT", [int(label), str(path), int(size)]):
                return self._take_output(ProgramOutput(label, path, size))
            case Frame("ERROR", str(text)):
                return _error(text)
            case Frame("FATAL", str(text)):
                return _fatal(text)
            case Frame("DONE", _):
                return self._finish()
            case Frame(name, payload) if name in _KNOWN:
                return _error(f"{name} has a payload that it cannot have: {payload!r:.200}")
            case _:
                return _fatal(f"{frame.name!r} is no message of the worker protocol")

    def _greet(self, version: Any) -> Answer:
        if version != VERSION:
            return _fatal(f"it speaks version {version!r} of the protocol; here is {VERSION!r}")
        self.greeted = True
        return _OK

    def _take_message(self, text: str) -> Answer:
        self._say(text)
        if self._limit is None:
            return _OK
        try:
            return _OK._replace(delay_s=self._limit.count())
        except TooManyMessagesError as error:
            return _fatal(str(error))

    def _list_inputs(self, payload: Any) -> Answer:
        match payload:
            case ["include", [*numbers]]:
                # Whoever asks for certain inputs knows them already.
                wanted = _ids(numbers)
                found = [one for one in self._inputs.here if one.id in wanted]
            case "" | ["exclude", [*_]]:
                unwanted = _ids(payload[1] if payload else ())
                self._inputs.bring_more()
                self._owes_more = not self._inputs.are_complete
                found = [one for one in self._inputs.here if one.id not in unwanted]
            case _:
                return _error(f"INPUT has a payload that it cannot have: {payload!r:.200}")
        flag = "done" if self._inputs.are_complete else "more"
        rows = [[one.id, "ok", one.label, self._replicas(one)] for one in found]
        return Answer(Frame("INPUT", [flag, rows]))

    def _replicas(self, one: ProgramInput, but: Collection[int] = ()) -> list[list[Any]]:
        """Return (replica id, URL) of an input's replicas, those first that failed least."""
        order = sorted(range(len(one.urls)), key=lambda place: self._failed[one.id, place])
        return [[place, one.urls[place]] for place in order if place not in but]

    def _find_replica(self, number: int, replicas: list[Any]) -> Answer:
        one = next((one for one in self._inputs.here if one.id == number), None)
        if one is None:
            return _error(f"INPUT_ERR names the input {number}, which the task does not have")
        failed = _ids(replicas)
        self._failed.update((number, place) for place in failed)
        left = self._replicas(one, but=failed)
        if left:
            return Answer(Frame("RETRY", left))
        self.unreadable = one.urls
        return Answer(Frame("FAIL"))

    def _take_output(self, output: ProgramOutput) -> Answer:
        if output.path.startswith("/") or "://" in output.path:
            return _error(
                f"OUTPUT names {output.path!r}: it must be a file's path from the job home, the"
                " directory that the program is started in"
            )
        self.outputs.append(output)
        return _OK

    def _finish(self) -> Answer:
        if self._owes_more:
            return _fatal(
                "it said DONE before it had heard of all its inputs: after an answer with 'more' it"
                ' must ask again, with ["exclude", [ids that it has]]'
            )
        return Answer(ending=Ending.DONE)


_OK = Answer(Frame("OK", "ok"))
_SHOWN_CHARACTERS = 2_000  # of what a program says when it ends
_KNOWN = ("WORKER", "TASK", "INPUT", "INPUT_ERR", "MSG", "OUTPUT", "ERROR", "FATAL", "DONE")


def _ids(values: Iterable[Any]) -> set[int]:
    """Return those of *values* that can be ids at all."""
    return {value for value in values if isinstance(value, int)}


def _error(message: str) -> Answer:
    return Answer(ending=Ending.ERROR, message=message[:_SHOWN_CHARACTERS])


def _fatal(message: str) -> Answer:
    return Answer(ending=Ending.FATAL, message=message[:_SHOWN_CHARACTERS])

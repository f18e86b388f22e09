"""Where a job's functions spend their time: measured in the tasks, put together by the author.

Each task that is measured leaves its statistics beside its records, as what ``marshal`` makes of a
``pstats`` dictionary. They have the user's functions, and what those call; everything else is the
framework's and counts as one line, so that it can be compared, but hides nothing.

Of a stage with many tasks a sample is measured: the first tasks all, later ones ever more seldom.
50,000 tasks leave a thousand profiles, and each has no more than the functions that matter most, so
that profiles do not use up what a job may put.
"""

import cProfile
import marshal
import os
import pstats
import re
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

import disco
import disco_engine
from disco_engine.program import TaskContext

Function: TypeAlias = tuple[str, int, str]
"""File, line, name; a function in C has the file "~"."""
Calls: TypeAlias = tuple[int, int, float, float]
"""How often it was called and not by itself, how often at all, seconds without and with callees."""
Entry: TypeAlias = tuple[int, int, float, float, dict[Function, Calls]]
"""The same, and which part of it is due to which caller (there the first two are swapped)."""
Stats: TypeAlias = dict[Function, Entry]

PREFIX = "profile-"
FRAMEWORK: Function = ("disco", 0, "(what the framework does)")

_ALL_MEASURED = 128  # tasks of a stage; and then as many for each time that their number doubles
_MAX_BYTES = 16 * 1024
_MAX_STAGE_CHARACTERS = 120
_NO_KEY = re.compile(r"[^A-Za-z0-9_\-@:]")
_OURS = tuple(f"{Path(package.__path__[0])}{os.sep}" for package in (disco, disco_engine))
_LIBRARIES = tuple(
    f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@contextmanager
def measured(context: TaskContext) -> Iterator[None]:
    """Measure the block, which runs a task, if it is one of those that are."""
    if not is_measured(context.task):
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
    profile.create_stats()
    stats: Any = profile  # its stub does not know of what ``create_stats`` makes
    with suppress(ValueError):  # the task has put so much itself that there is no room
        context.values.put(_key_of(context), packed(users_part(stats.stats)))


def is_measured(task: int) -> bool:
    """Return whether the task of that number is one of those that are measured."""
    doubled = max(0, (task // _ALL_MEASURED).bit_length() - 1)
    return task % (1 << doubled) == 0


def prefix_of(mode: str) -> str:
    """Return how the keys begin of profiles of stages whose names begin with *mode*."""
    return PREFIX + _NO_KEY.sub("_", mode)[:_MAX_STAGE_CHARACTERS]


def _key_of(context: TaskContext) -> str:
    label = context.group.label or 0
    where = f"{label}-{context.task}-{context.attempt:x}-{os.getpid()}"
    return f"{prefix_of(context.stage_name)}:{where}"


def users_part(stats: Stats) -> Stats:
    """Return the statistics of the user's functions and what they call, the rest as one line.

    Of the framework's functions there are those that the user's call themselves.
    """
    kept = _called_by_users(stats)
    mine: Stats = {}
    for function in kept:
        calls, all_calls, own_s, with_callees_s, callers = stats[function]
        parts: dict[Function, Calls] = {}
        for caller, part in callers.items():
            name = caller if caller in kept else FRAMEWORK
            parts[name] = _sum(parts.get(name), part)
        if not _is_users(function) and FRAMEWORK in parts:  # it is called by the framework, too
            del parts[FRAMEWORK]
            all_calls = sum(part[0] for part in parts.values())
            calls = sum(part[1] for part in parts.values())
            own_s = sum(part[2] for part in parts.values())
            with_callees_s = sum(part[3] for part in parts.values())
        mine[function] = (calls, all_calls, own_s, with_callees_s, parts)
    return _with_rest(stats, mine)


def packed(stats: Stats) -> bytes:
    """Return what travels: of too many functions those with the longest cumulative time."""
    data = marshal.dumps(stats)
    while len(data) > _MAX_BYTES:
        kept = sorted(stats, key=lambda function: -stats[function][3])[: len(stats) // 2]
        stats = {function: stats[function] for function in kept}
        data = marshal.dumps(stats)
    return data


def merged(profiles: Iterable[bytes], stream: IO[str]) -> pstats.Stats:
    """Return several profiles as one, without directories, the longest cumulative time first.

    Args:
        profiles: At least one, as tasks left them.
        stream: Where the statistics print to.
    """
    total: pstats.Stats | None = None
    for profile in profiles:
        loaded: Any = _Loaded(marshal.loads(profile))
        one = pstats.Stats(loaded, stream=stream)
        total = one if total is None else total.add(one)
    assert total is not None
    return total.strip_dirs().sort_stats("cumulative")


class _Loaded:
    """Statistics as ``pstats.Stats`` takes them."""

    def __init__(self, stats: Stats) -> None:
        self.stats = stats

    def create_stats(self) -> None:
        """Do nothing: they are there."""


def _is_ours(function: Function) -> bool:
    return function[0].startswith(_OURS)


def _is_users(function: Function) -> bool:
    file = function[0]
    libraries = file == "~" or file.startswith(("<frozen ", "<string>", *_LIBRARIES))
    return not libraries and not _is_ours(function)


def _called_by_users(stats: Stats) -> set[Function]:
    """Return the user's functions and those that are called from them, but for ours within ours."""
    callees: dict[Function, list[Function]] = {}
    for function, entry in stats.items():
        for caller in entry[4]:
            callees.setdefault(caller, []).append(function)
    found = {function for function in stats if _is_users(function)}
    waiting = list(found)
    while waiting:
        function = waiting.pop()
        if _is_ours(function):
            continue
        for callee in callees.get(function, ()):
            if callee not in found:
                found.add(callee)
                waiting.append(callee)
    return found


def _sum(before: Calls | None, more: Calls) -> Calls:
    if before is None:
        return more
    return (
        before[0] + more[0],
        before[1] + more[1],
        before[2] + more[2],
        before[3] + more[3],
    )


def _with_rest(stats: Mapping[Function, Entry], mine: Stats) -> Stats:
    """Return *mine* with a line for all the time that is not in it."""
    whole_s = sum(entry[2] for entry in stats.values())
    rest_s = max(0.0, whole_s - sum(entry[2] for entry in mine.values()))
    nobody: dict[Function, Any] = {}
    return {**mine, FRAMEWORK: (1, 1, rest_s, whole_s, nobody)}

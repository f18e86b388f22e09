"""What user code may do to its process and to the machine: its task runs again, and nothing else.

One job does all of it, each thing when its task first runs; the second attempt does not.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from chaos.leftovers import processes_with

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_parts

MIB = 1024 * 1024
BEFORE, AFTER = "before", "after"

# --- what fails an attempt ------------------------------------------------------------------------


def exit_well() -> None:
    os._exit(0)


def exit_badly() -> None:
    os._exit(7)


def leave_well() -> None:
    sys.exit(0)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    ctypes.string_at(0)


def close_everything() -> None:
    os.closerange(0, 1000)


def interrupt() -> None:
    raise KeyboardInterrupt


def say_too_much() -> None:
    raise ValueError("x" * 10_000_000)


def recurse() -> None:
    recurse()


def give_what_cannot_be_pickled() -> Any:
    return (line for line in "")


def take_all_memory() -> None:
    kept = []
    while True:
        kept.append(bytearray(10_000_000))


FAILING: dict[Callable[[], Any], str] = {
    exit_well: "the slot running it exited with status 0: the code ended its own process",
    exit_badly: "the slot running it exited with status 7: the code ended its own process",
    leave_well: "SystemExit: 0",
    kill_itself: "was killed by signal 9 (SIGKILL): out of memory, or the code killed its own",
    crash: "was killed by signal 11 (SIGSEGV): native code crashed, or the code killed its own",
    close_everything: "was killed by signal 9 (SIGKILL)",
    interrupt: "KeyboardInterrupt",
    say_too_much: "ValueError: xxxx",
    recurse: "RecursionError: maximum recursion depth exceeded",
    give_what_cannot_be_pickled: "cannot be pickled (cannot pickle 'generator' object)",
    take_all_memory: "exceeded its memory limit of 500 MiB: keep less in memory at a time",
}

# --- what does not --------------------------------------------------------------------------------


def print_a_gigabyte() -> None:
    line = "x" * 999_999
    for _ in range(1_000):
        print(line)
    print("the end")


def start_threads() -> None:
    for _ in range(20):
        threading.Thread(target=time.sleep, args=(1000,)).start()


def start_processes() -> None:
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    os.system("setsid sleep 1000 > /dev/null &")  # whose parent is gone at once
    if os.fork() == 0:
        time.sleep(1000)


def fork_and_come_back() -> None:
    os.fork()


def close_its_output() -> None:
    os.close(1)
    sys.stderr.close()


GOING_ON = [
    print_a_gigabyte,
    start_threads,
    start_processes,
    fork_and_come_back,
    close_its_output,
]
ALL = {harm.__name__: harm for harm in (*FAILING, *GOING_ON)}


class Harm(Job):
    """Does what its inputs name."""

    partitions = 1

    @staticmethod
    def map(name: str, params: Any) -> Iterator[tuple[str, Any]]:
        yield name, BEFORE
        # Not what came first: an attempt may begin where it waits, just when it is put elsewhere.
        first = Task.context.attempt == 1  # type: ignore[name-defined]  # noqa: F821
        yield name, (first and ALL[name]()) or AFTER

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, list[str]]]:
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            found.setdefault(name, []).append(value)
        yield from found.items()


@dataclass(kw_only=True)
class Told:
    """What those heard who watched the job, by what its tasks did."""

    progress: coordinator_pb2.JobProgress
    failures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    outputs: dict[str, str] = field(default_factory=lambda: defaultdict(str))
    restarts: int = 0
    largest_event: int = 0
    most_memory_bytes: int = 0  # of the process of ours that had most
    log_bytes: int = 0


def test_whatever_user_code_does_its_task_runs_again_and_the_result_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCO_TEST_RUN", str(tmp_path))  # which what the job starts inherits
    names = list(ALL)
    spec = job_spec(
        Harm(),
        {
            "input": [f"raw://{name}" for name in names],
            "params": {"came": str(tmp_path)},
            "memory": 500 * MIB,
        },
        name="harm",
        settings={"exclude_after_failures": 0},
    )
    with LocalEngine(spec, workers=1, slots=2) as engine:
        engine.start()
        told = watched(engine, names)
        records = dict(records_of(engine))

    assert told.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED, told.progress.message
    assert records == {name: [BEFORE, AFTER] for name in names}
    for harm, message in FAILING.items():
        (failure,) = told.failures.pop(harm.__name__)
        assert message in failure
    assert not told.failures, "the others do no harm"
    printed = told.outputs[print_a_gigabyte.__name__]
    assert printed.startswith("[… 999,98")
    assert " bytes before this were cut …]\nxxx" in printed
    assert printed.endswith("xxx\nthe end\n")
    assert told.restarts == 0, "nothing reaches the worker"
    assert told.largest_event < 40_000
    assert told.most_memory_bytes < 200 * MIB
    assert told.log_bytes < 100_000
    assert processes_with(str(tmp_path)) == []


def watched(engine: LocalEngine, names: list[str]) -> Told:
    told = Told(progress=coordinator_pb2.JobProgress())
    for reply in engine.watch():
        told.progress = reply.progress
        for event in reply.events:
            told.largest_event = max(told.largest_event, event.ByteSize())
            told.restarts += event.kind == "process-restarted"
            if event.kind == "output" and event.attempt.stage == 1:
                told.outputs[names[event.attempt.task]] += event.text
            if event.kind == "task-failed":
                told.failures[names[event.attempt.task]].append(event.text)
        told.most_memory_bytes = max(
            told.most_memory_bytes, *(most_memory_of(child.pid) for child in engine.children())
        )
    told.log_bytes = sum(log.stat().st_size for log in (engine.run_dir / "logs").iterdir())
    return told


def records_of(engine: LocalEngine) -> Iterator[tuple[str, list[str]]]:
    assert engine.progress is not None
    uid = engine.progress.job_uid
    for part in engine.results():
        frames = read_parts(part.service.address, session_token(), uid, part.stage, [part.task])
        yield from pairs_of(frames)


def most_memory_of(pid: int | None) -> int:
    """Return the most bytes that a process ever had in memory; 0: it is not there."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        if found is not None:
            return int(found[1]) * 1024
    return 0

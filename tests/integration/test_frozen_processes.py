"""Processes that are there and do nothing: they are replaced, and no record is lost."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.local.supervisor import Role
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part

TASKS = 12
SILENCE_S = 2.0
PATIENCE_S = 90.0


class Count(Job):
    """Count words; slow enough for something to happen on the way."""

    partitions = 2

    @staticmethod
    def map(entry: str, params: Any) -> Iterator[tuple[str, int]]:
        import time

        for word in range(20):
            time.sleep(0.01)
            yield f"word-{word % 7}", int(entry)

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[str, int]]:
        totals: dict[str, int] = {}
        for word, number in pairs:
            totals[word] = totals.get(word, 0) + number
        yield from totals.items()


EXPECTED = Counter[str]()
for _entry in range(TASKS):
    for _word in range(20):
        EXPECTED[f"word-{_word % 7}"] += _entry


def engine_of() -> LocalEngine:
    spec = job_spec(Count(), {"input": [f"raw://{n}" for n in range(TASKS)]}, name="frozen")
    return LocalEngine(spec, workers=1, silence_s=SILENCE_S)


def freeze(engine: LocalEngine, role: Role) -> str:
    """Stop a process where it is; if it is not killed for that, it stays so. Return its name."""
    (child,) = (child for child in engine.children() if child.role is role)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    return child.id


def records_of(engine: LocalEngine) -> Counter[str]:
    assert engine.progress is not None
    records: Counter[str] = Counter()
    for part in engine.results():
        frames = read_part(
            part.service.address,
            session_token(),
            engine.progress.job_uid,
            part.stage,
            part.task,
            patience_s=PATIENCE_S,
        )
        for word, count in pairs_of(frames):
            assert word not in records, "a record came twice"
            records[word] = count
    return records


def test_whatever_process_is_frozen_is_replaced_and_no_record_is_lost() -> None:
    """There is one of each, so that nothing happens unless it is replaced."""
    with engine_of() as engine:
        engine.start()
        to_freeze = list(Role)
        last = told = ""
        for reply in engine.watch():
            told += "".join(e.text for e in reply.events if e.kind == "process-restarted")
            done = reply.progress.stages[0].tasks_done if reply.progress.stages else 0
            # The next one when the last one's successor has done something.
            frozen = len(Role) - len(to_freeze)
            # On a busy machine others may have been slow to react, too.
            if to_freeze and done > frozen and (not last or f"{last} did not react" in told):
                last = freeze(engine, to_freeze.pop(0))
        assert not to_freeze
        assert engine.wait().phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
        engine.stop_workers()
        freeze(engine, Role.PARTITION_SERVICE)
        assert records_of(engine) == EXPECTED
    for process in ("worker worker-0", "coordinator coordinator", "partition service ps-0"):
        assert f"the {process} did not react for 2 s; it is started again" in told

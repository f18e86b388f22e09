"""What a program does to its jobs on this machine while they run, and packs that it submits."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import eventually

from disco import Disco, Job, result_iterator, session
from disco.error import DiscoError, JobError
from disco.fileutils import DiscoZipFile
from disco.job import JobChain, JobPack
from disco.jobpack import JOBPACK_VERSION2

PROGRAM = f"""\
#!{sys.executable} -IS
import json, sys

def say(name, payload=""):
    text = json.dumps(payload)
    sys.stderr.write(f"{{name}} {{len(text)}} {{text}}\\n")
    sys.stderr.flush()
    return sys.stdin.readline()

say("WORKER", {{"version": "1.1", "pid": 1}})
words = json.loads(open("data/notes.txt").read())
with open("made", "wb") as made:
    for key, value in words.items():
        made.write(f"{{len(key)}} {{key}} {{len(value)}} {{value}}\\n".encode())
say("OUTPUT", [0, "made", 1])
say("DONE")
"""


class Endless(Job):
    """Waits for ever once it has said that it runs."""

    workers = 1
    partitions = 1

    @staticmethod
    def map(line: str, params: Any) -> Iterator[tuple[Any, Any]]:
        Path(line.strip()).touch()
        time.sleep(3600)
        yield line, 1


def test_a_job_that_is_killed_or_purged_is_dead_or_unknown_and_so_is_its_chain(
    tmp_path: Path,
) -> None:
    began = tmp_path / "began"
    job = Endless().run(input=[f"raw://{began}"])
    eventually(began.exists)
    assert job.results(timeout=0) == ("active", [])
    job.kill()
    status, _ = job.results(timeout=60_000)
    assert status == "dead"
    with pytest.raises(JobError, match="the job was killed by its author"):
        job.wait()
    job.purge()

    began.unlink()
    other = Endless().run(input=[f"raw://{began}"])
    eventually(began.exists)
    engine = session.get(other.name).engine
    other.purge()
    assert other.results(timeout=0)[0] == "unknown job"
    assert [child for child in engine.children() if child.pid] == []

    bad = Endless("bad")
    chain = JobChain({Endless("next"): bad, bad: [str(tmp_path / "none.txt")]})
    with pytest.raises(JobError, match="no such file"):
        chain.wait(poll_interval=0.05)
    chain.purge()


def pack(**changes: Any) -> bytes:
    home = DiscoZipFile()
    home.writestr("bin/words", PROGRAM)
    home.writestr("data/notes.txt", '{"one": "1", "two": "22"}')
    home.close()
    told = {
        "prefix": "packed",
        "worker": "bin/words",
        "owner": "me@here",
        "pipeline": [["map", "split", False]],
        "inputs": [[0, 0, ["raw://x"]]],
        **changes,
    }
    return JobPack(JOBPACK_VERSION2, told, {}, home.dumps(), b"").dumps()


def test_a_pack_is_run_by_its_program() -> None:
    disco = Disco()
    name = disco.submit(pack())
    assert name.startswith("packed@")
    assert sorted(result_iterator(disco.wait(name))) == [(b"one", b"1"), (b"two", b"22")]
    assert disco.jobinfo(name)["owner"] == "me@here"
    disco.purge(name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"owner": None}, "missing key 'owner'"),
        ({"prefix": "a.b"}, "invalid prefix"),
        ({"worker": "elsewhere"}, "its worker 'elsewhere' is none of its files"),
    ],
)
def test_a_pack_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DiscoError, match=f"Failed to submit jobpack: .*{message}"):
        Disco().submit(pack(**changes))

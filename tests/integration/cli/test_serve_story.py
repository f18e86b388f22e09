"""The whole story with real jobs on a real server: submit, follow, look, stop, try again."""

import re
import signal

import pytest

from .conftest import COUNT, Shell, eventually

PATIENT = """
import pathlib
import time
from disco import Job

class Patient(Job):
    @staticmethod
    def map(line, params):
        print("waiting", flush=True)
        while not pathlib.Path(params.gate).exists():
            time.sleep(0.02)
        if pathlib.Path(params.gate).read_text() == "fail":
            raise ValueError("the gate says fail")
        yield line, 1
"""


@pytest.fixture
def here(served: Shell) -> Shell:
    served.write(
        "count.py", "from texts import words\n" + COUNT.replace("line.split()", "words(line)")
    )
    served.write("texts.py", "def words(line):\n    return line.split()\n")
    served.write("text.txt", "a b a\nc a b\n")
    served.write("patient.py", PATIENT)
    return served


async def test_a_job_is_followed_and_its_results_are_those_of_a_run(here: Shell) -> None:
    there = await here.disco(
        "submit", "count.py", "text.txt", "--name", "one", "--param", "weight=10", "--follow"
    )
    run = await here.disco("run", "count.py", "text.txt", "--param", "weight=10", "--workers", "1")

    assert (there.status, run.status) == (0, 0), there.err + run.err
    assert (
        sorted(there.out.splitlines())
        == sorted(run.out.splitlines())
        == ["a\t30", "b\t20", "c\t10"]
    )
    assert "count.py" in there.err
    assert "texts.py" in there.err
    assert re.search(r"one succeeded in .*: 2 records read, 3 results\.", there.err)

    saved = await here.disco("results", "one", "--output", "out.jsonl")
    assert (saved.status, saved.err) == (0, "3 records written to out.jsonl, as jsonl.\n")
    told = await here.disco("status", "one")
    assert re.search(r"reduce +━+ +2/2", told.out)
    assert "stage-finished    reduce" in (await here.disco("events", "one")).out


async def test_a_job_is_looked_at_and_cancelled_while_it_runs(here: Shell) -> None:
    gate = here.directory / "gate"
    made = await here.disco("submit", "patient.py", "raw://x", "--param", f"gate={gate}", "--quiet")
    name = made.out.strip()
    assert made.status == 0, made.err

    following = await here.start("logs", name, "-f")
    assert following.stdout is not None
    watching = await here.start("watch", name)
    await eventually(lambda: here.disco("ls", "--phase", "running", "-o", "name"), f"{name}\n")
    told = (await here.disco("status", name)).out
    assert f"{name}  running for" in told
    assert (await here.disco("cancel", name, "--reason", "no need")).out.startswith(name)

    watched = await here.ended(watching)
    assert watched.status == 1
    assert f"Error: {name} was cancelled after" in watched.err
    assert "no need" in watched.err
    assert (await here.ended(following)).status == 0
    assert (await here.disco("results", name)).status == 1
    assert (await here.disco("wait", name)).status == 1


async def test_a_failed_job_is_retried_and_succeeds(here: Shell) -> None:
    gate = here.write("gate", "fail")
    failed = await here.disco(
        *("submit", "patient.py", "raw://x", "--name", "one", "--param", f"gate={gate}"),
        *("--max-attempts", "1", "--wait"),
    )
    assert failed.status == 1
    assert "ValueError: the gate says fail" in failed.err
    assert "ValueError: the gate says fail" in (await here.disco("status", "one")).out
    assert (await here.disco("logs", "one")).out == "map:0 | waiting\n"

    here.write("gate", "go")
    assert (await here.disco("retry", "one")).out == "one: runs again\n"
    waited = await here.disco("wait", "one")
    assert (waited.status, waited.out) == (0, "one succeeded\n"), waited.err
    assert (await here.disco("results", "one", "--quiet")).out == "x\t1\n"


async def test_ctrl_c_stops_the_following_and_the_job_ends_in_its_own_time(here: Shell) -> None:
    gate = here.directory / "gate"
    following = await here.start(
        "submit", "patient.py", "raw://x", "--name", "one", "--param", f"gate={gate}", "--follow"
    )
    assert following.stderr is not None
    while b"map: started" not in (line := await following.stderr.readline()):
        assert line, "it has ended"
    following.send_signal(signal.SIGINT)
    assert (await here.ended(following)).status == 130

    gate.write_text("go")
    assert (await here.disco("wait", "one")).status == 0


async def test_a_manifest_runs_there_as_here(here: Shell) -> None:
    here.write(
        "jobs/job.yaml",
        """\
        apiVersion: discoproject.org/v1alpha1
        kind: DiscoJob
        metadata: {name: counting}
        spec:
          job: count:Count
          image: example.org/count
          inputs: [text.txt]
          output: {url: out, format: csv}
        """,
    )
    for name in ("count.py", "texts.py", "text.txt"):
        here.write(f"jobs/{name}", (here.directory / name).read_text())

    done = await here.disco("submit", "jobs/job.yaml", "--follow")

    assert done.status == 0, done.err
    assert "spec.image" in done.err, "what this server does not do is told"
    assert f"They are in {here.directory}/jobs/out, as csv." in done.err
    assert (await here.disco("results", "counting", "--head", "all")).out.count("\n") == 3

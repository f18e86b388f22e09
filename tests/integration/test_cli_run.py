import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import IO

import pytest
from tests.integration.process_tree import processes_below, runs
from tests.waiting import eventually

COUNT = """
from disco import Job

class Count(Job):
    partitions = 2

    @staticmethod
    def map(line, params):
        for word in line.split():
            yield word.decode(), getattr(params, "weight", 1)

    @staticmethod
    def reduce(pairs, params):
        totals = {}
        for word, count in pairs:
            totals[word] = totals.get(word, 0) + count
        return totals.items()
"""
NUMBERS = """
from disco import Job

def parse(line):
    return int(line)

class Numbers(Job):
    @staticmethod
    def map(line, params):
        print("parsing", line)
        yield parse(line), 1
"""
SLEEPER = """
import time
from disco import Job

class Sleeper(Job):
    @staticmethod
    def map(line, params):
        print("asleep", flush=True)
        time.sleep(1000)
        yield line, 1
"""
MANIFEST = """\
apiVersion: discoproject.org/v1alpha1
kind: DiscoJob
metadata: {name: counting}
spec:
  job: count:Count
  image: example.org/count
  inputs: [text.txt]
  workers: {replicas: 1}
"""
PROGRESS_LINE = re.compile(r"\d\d:\d\d:\d\d  .+")


class Cli:
    """The command line in a directory of its own, as a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        self.environment = {**os.environ, "TMPDIR": str(self.temporary), "COLUMNS": "100"}

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(text))

    def start(
        self, *arguments: str, stdout: int | IO[str] = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "disco.cli.main", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        assert list(self.temporary.iterdir()) == [], "temporary files were left"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def job(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("run", "--workers", "1", *arguments)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path)
    cli.write("count.py", COUNT)
    cli.write("text.txt", "a b a\nc a b\n")
    return cli


# --- success ------------------------------------------------------------------------------------


def test_results_are_printed_as_lines_and_all_else_goes_to_the_log(cli: Cli) -> None:
    done = cli.job("count.py", "text.txt")

    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == ["a\t3", "b\t2", "c\t1"]
    *log, summary, where = done.stderr.splitlines()
    assert all(PROGRESS_LINE.fullmatch(line) for line in log)
    assert [line[10:].split(",")[0] for line in log if "started" in line] == [
        "map: started",
        "reduce: started",
    ]
    assert re.fullmatch(r"Count succeeded in [\d.]+ s: 2 records read, 3 results\.", summary)
    assert where == "All are shown. To keep them: --output DIRECTORY."


def test_many_results_are_cut_with_a_word_on_how_to_see_them_all(cli: Cli) -> None:
    cli.write("many.txt", " ".join(f"w{n}" for n in range(30)))

    done = cli.job("count.py", "many.txt")
    assert len(done.stdout.splitlines()) == 20
    assert (
        "Shown: 20 of 30. To see all: --head all. To keep them: --output DIRECTORY." in done.stderr
    )
    assert len(cli.job("count.py", "many.txt", "--head", "all").stdout.splitlines()) == 30


def test_a_reader_that_has_seen_enough_ends_the_run_quietly(cli: Cli) -> None:
    cli.write("many.txt", " ".join(f"word{n}" for n in range(30_000)))
    with cli.start("run", "count.py", "many.txt", "--head", "all", "--quiet") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""

    assert process.returncode == 128 + signal.SIGPIPE
    assert list(cli.temporary.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_results_that_standard_output_does_not_take_are_an_error_in_one_line(cli: Cli) -> None:
    with (
        open("/dev/full", "w") as full,
        cli.start("run", "count.py", "text.txt", "--quiet", stdout=full) as process,
    ):
        _, told = process.communicate()

    assert told == (
        "Error: cannot write all of it to standard output: No space left on device; make room"
        " there, or send it elsewhere\n"
    )
    assert process.returncode == 1
    assert list(cli.temporary.iterdir()) == []


def test_the_largest_values_can_be_asked_for(cli: Cli) -> None:
    assert cli.job("count.py", "text.txt", "--top", "2", "--quiet").stdout == "a\t3\nb\t2\n"


def test_quiet_means_results_only(cli: Cli) -> None:
    done = cli.job("count.py", "text.txt", "--quiet")

    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 3


def test_params_partitions_and_other_flags_reach_the_job(cli: Cli) -> None:
    done = cli.job(
        *("count.py:Count", "text.txt", "--param", "weight=10", "--partitions", "1"),
        *("--slots", "2", "--partition-services", "2", "--memory", "1Gi", "--name", "weighty"),
        *("--sort-memory", "1Mi", "--split-size", "1k", "--task-timeout", "1m"),
    )

    assert sorted(done.stdout.splitlines()) == ["a\t30", "b\t20", "c\t10"]
    assert "reduce: started, 1 task\n" in done.stderr
    assert "weighty succeeded" in done.stderr


def test_output_is_written_to_files_in_the_format_that_was_asked_for(cli: Cli) -> None:
    done = cli.job("count.py", "text.txt", "--output", "out", "--format", "csv")

    assert (done.returncode, done.stdout) == (0, "")
    files = sorted(path.name for path in (cli.directory / "out").iterdir())
    assert files == ["_SUCCESS", "part-00000.csv", "part-00001.csv"]
    assert f"They are in {cli.directory}/out, as csv." in done.stderr


def test_json_lines_are_for_programs(cli: Cli) -> None:
    done = cli.job("count.py", "text.txt", "--json")

    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["type"] for line in lines} == {"event", "progress", "result"}
    result = lines[-1]
    assert (result["type"], result["outcome"], result["results_total"]) == (
        "result",
        "succeeded",
        3,
    )
    assert {"key": "a", "value": 3} in result["results"]
    assert [stage["name"] for stage in result["stages"]] == ["map", "reduce"]


def test_a_manifest_is_run_from_anywhere(cli: Cli) -> None:
    (cli.directory / "elsewhere").mkdir()
    cli.write("job.yaml", MANIFEST)
    command = ["run", str(cli.directory / "job.yaml")]
    cli.directory = cli.directory / "elsewhere"

    done = cli.run(*command)

    assert done.returncode == 0
    assert "only for clusters, ignored here: spec.image" in done.stderr
    assert "counting succeeded" in done.stderr
    assert "a\t3" in done.stdout.splitlines()


def test_a_manifest_may_have_the_code_in_it(cli: Cli) -> None:
    inline = "".join(f"      {line}\n" for line in COUNT.splitlines())
    cli.write(
        "job.yaml", MANIFEST.replace("count:", "inside:") + f"  code:\n    inline: |\n{inline}"
    )

    done = cli.run("run", "job.yaml")

    assert done.returncode == 0, done.stderr
    assert "a\t3" in done.stdout.splitlines()


# --- failure ------------------------------------------------------------------------------------


def test_a_failed_job_tells_the_users_line_the_record_and_what_to_do(cli: Cli) -> None:
    cli.write("parsing.py", NUMBERS)
    cli.write("numbers.txt", "1\ntwo\n3\n")

    done = cli.job("parsing.py", "numbers.txt", "--max-attempts", "2")

    assert (done.returncode, done.stdout) == (1, "")
    assert f'File "{cli.directory}/parsing.py", line 5, in parse' in done.stderr
    assert "ValueError: invalid literal for int() with base 10: b'two\\n'" in done.stderr
    assert "  record   b'two\\n'\n" in done.stderr
    assert "  attempt  2, by worker-0 on node-0\n" in done.stderr
    assert "map:0 | parsing b'two\\n'" in done.stderr
    assert done.stderr.endswith("or have it skip such records, and run it again.\n")
    assert "disco_engine/" not in done.stderr


def test_a_failed_job_in_json_has_the_failure_in_the_last_line(cli: Cli) -> None:
    cli.write("parsing.py", NUMBERS)
    cli.write("numbers.txt", "one\n")

    done = cli.job("parsing.py", "numbers.txt", "--max-attempts", "1", "--json")

    assert done.returncode == 1
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["outcome"] == "failed"
    assert result["failure"]["failure"]["kind"] == "user"
    assert result["failure"]["failure"]["record"] == "b'one\\n'"
    assert result["failure"]["attempt"]["attempt"] == 1


def test_quiet_still_tells_why_a_job_failed(cli: Cli) -> None:
    done = cli.job("count.py", "missing.txt", "--quiet")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: Count failed after ")
    assert "missing.txt" in done.stderr


# --- wrong use ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nothere.py",), "Error: there is no file nothere.py"),
        (("nothere.yaml",), "nothere.yaml: cannot be read: No such file or directory"),
        (("count.py:Cuont",), "Error: count.py has no attribute Cuont; did you mean Count?"),
        (("count:parse",), "Error: module count has no attribute parse; its jobs are Count"),
        (("count",), "Error: count: expected a manifest (job.yaml), file.py[:attribute] or"),
        (("broken.py",), "broken.py:2: "),
        (("crashes.py",), 'crashes.py", line 1, in <module>'),
        (("count.py", "--workers", "0"), "expected an integer of at least 1, found \"0\""),
        (("count.py", "--memory", "lots"), "expected a size such as 512Mi, 2Gi or 1000000"),
        (("count.py", "--task-timeout", "soon"), "expected a duration such as 90s, 10m"),
        (("count.py", "--param", "x"), 'expected NAME=VALUE, found "x"'),
        (("count.py", "--format", "csv"), "--format says how to write files: it needs --output"),
        (("count.py", "--format", "xml"), "'xml' is not one of 'text', 'jsonl', 'csv'"),
        (("count.py", "--colour"), "No such option"),
        (("count.py",), "Error: no input: give INPUT arguments, or the job an input of its own"),
        (("count.py", "text.txt", ""), "Error: INPUT 2 is empty: expected a path or URL"),
        (("count.py", "text.txt", "--output", ""), "Error: --output is empty: expected a"),
        (("count.py", "text.txt", "--workers", "100000"), "this machine takes at most"),
        (("", "text.txt"), "Error: JOB is empty; expected a manifest"),
        (("empty.py",), "Error: input 1 is empty: it must be a URL or path"),
        (("pipeline.py", "--partitions", "3"), "unknown parameter 'partitions'"),
    ],
)  # fmt: skip
def test_wrong_use_has_status_2_and_a_message_without_our_traceback(
    cli: Cli, arguments: tuple[str, ...], expected: str
) -> None:
    cli.write("broken.py", "\ndef map(e params): pass\n")
    cli.write("crashes.py", "1 / 0\n")
    cli.write(
        "empty.py", "from disco import Job\nclass E(Job):\n    input = ['']\n    map = print\n"
    )
    cli.write(
        "pipeline.py",
        """\
        from disco import Job, Stage, split
        class Pipes(Job):
            pipeline = [(split, Stage("one", process=lambda i, s, l, x: None))]
        """,
    )

    done = cli.run("run", *arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    assert expected in done.stderr
    assert "disco/cli/" not in done.stderr


def test_a_wrong_manifest_is_answered_with_all_its_mistakes(cli: Cli) -> None:
    cli.write("job.yaml", MANIFEST.replace("replicas: 1", "replica: 1") + "  partitions: none\n")

    done = cli.run("run", "job.yaml")

    assert done.returncode == 2
    assert "job.yaml:8: spec.workers.replica: unknown field; did you mean replicas?" in done.stderr
    assert 'job.yaml:9: spec.partitions: expected an integer of at least 1, found "none"' in (
        done.stderr
    )


# --- being stopped ------------------------------------------------------------------------------


@pytest.fixture
def asleep(cli: Cli) -> Iterator[tuple[Cli, "subprocess.Popen[str]", list[int]]]:
    """Give a run whose task sleeps, and its processes."""
    cli.write("sleeper.py", SLEEPER)
    with cli.start("run", "sleeper.py", "raw://x", "--workers", "1") as process:
        # service, coordinator, worker, slot; the slot has started its task once it was assigned
        eventually(lambda: len(processes_below(process.pid)) == 5)
        assert process.stderr is not None
        assert "map: started, 1 task" in process.stderr.readline()
        pids = processes_below(process.pid)
        try:
            yield cli, process, pids
        finally:
            if process.poll() is None:
                process.kill()


def test_ctrl_c_cancels_the_job_and_leaves_nothing(
    asleep: tuple[Cli, "subprocess.Popen[str]", list[int]],
) -> None:
    cli, process, pids = asleep

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "SIGINT: cancelling the job; once more to end at once" in err
    assert "Error: Sleeper was cancelled after" in err
    assert "Traceback" not in err
    assert not any(map(runs, pids))
    assert list(cli.temporary.iterdir()) == []


def test_a_second_ctrl_c_ends_everything_at_once(
    asleep: tuple[Cli, "subprocess.Popen[str]", list[int]],
) -> None:
    cli, process, pids = asleep
    coordinator = next(
        pid for pid in pids if b"coordinator" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(coordinator, signal.SIGSTOP)  # so that cancelling takes long

    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "once more to end at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "everything was ended at once" in err
    assert "Traceback" not in err
    eventually(lambda: not any(map(runs, pids)))
    assert list(cli.temporary.iterdir()) == []


def test_sigterm_ends_a_run_as_cleanly_as_ctrl_c(
    asleep: tuple[Cli, "subprocess.Popen[str]", list[int]],
) -> None:
    cli, process, pids = asleep

    process.terminate()
    process.communicate(timeout=60)

    assert process.returncode == 128 + signal.SIGTERM
    assert not any(map(runs, pids))
    assert list(cli.temporary.iterdir()) == []


def test_a_run_that_is_killed_takes_its_processes_with_it(
    asleep: tuple[Cli, "subprocess.Popen[str]", list[int]],
) -> None:
    _, process, pids = asleep

    process.kill()
    process.communicate(timeout=60)

    eventually(lambda: not any(map(runs, pids)))


def test_help_and_version_answer_without_importing_what_is_slow(cli: Cli) -> None:
    assert cli.run("--version").stdout.startswith("disco, version ")
    assert re.search(r"run +Run JOB over the INPUTs", cli.run("--help").stdout)
    assert "disco run job.yaml --workers 4" in cli.run("run", "--help").stdout

    program = "import sys, disco.cli.main; print({'grpc', 'pydantic', 'rich'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert loaded.stdout.decode().strip() == "set()"


def test_a_temporary_directory_that_cannot_be_written_is_an_error_and_no_traceback(
    cli: Cli,
) -> None:
    cli.environment["TMPDIR"] = "/proc"
    cli.environment.update(TEMP="/proc", TMP="/proc")
    cli.environment["PYTHONPATH"] = str(cli.directory)
    cli.write("sitecustomize.py", "import tempfile; tempfile.tempdir = '/proc'")

    done = cli.job("count.py", "text.txt")

    assert done.returncode == 1
    assert done.stderr.startswith("Error: the local engine cannot be started: ")
    assert "Traceback" not in done.stderr

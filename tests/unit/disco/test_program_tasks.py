"""Tasks that a program runs: a real one, in C, in Go or a script, started for each task."""

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import eventually

from disco import Job, group_all, group_label, split
from disco.error import DiscoError
from disco.jobpack import JobPack
from disco.worker import throttling
from disco.worker.executable import Executable
from disco.worker.executable.conversation import Patience
from disco.worker.executable.inputs import TaskInputs
from disco.worker.task_io import disco_input_stream
from disco_engine.core.model import FailureKind
from disco_engine.program import ProgramError
from disco_engine.records.blocks import Frame, encode

Text = Callable[..., str]
Compiled = Callable[[str], Path]

HASTY = Patience(greeting_s=0.5, message_s=0.2, last_words_s=0.2)
LINES = ["the cat the dog's bone\n", "The end, the\n", "two two\n"]
WORDS = Counter(re.findall("[a-z']+", "".join(LINES).lower()))

# What scripts of these tests begin with; ask() returns the answer's name and payload.
SPEAKING = """\
import json, os, pickle, struct, subprocess, sys, time, zlib
def say(name, payload=""):
    text = json.dumps(payload)
    sys.stderr.write(f"{name} {len(text)} {text}\\n")
    sys.stderr.flush()
def ask(name, payload=""):
    say(name, payload)
    name, _, payload = sys.stdin.readline().split(" ", 2)
    return name, json.loads(payload)
def hunk(data):
    stored = zlib.compress(data)
    return struct.pack("<BBIQ", 129, 1, zlib.crc32(data), len(stored)) + stored
def write(label, pairs):
    data = b"".join(pickle.dumps(pair, 1) for pair in pairs)
    with open(f"part-{label}", "wb") as file:
        file.write(hunk(data) + hunk(b""))
    ask("OUTPUT", [label, f"part-{label}", os.path.getsize(f"part-{label}")])
"""
GREETING = """\
ask("WORKER", {"version": "1.1", "pid": os.getpid()})
task = ask("TASK")[1]
"""


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Give a function that writes a program, which has greeted, and returns its path."""

    def write(code: str, *, greets: bool = True) -> str:
        path = tmp_path / f"program-{len(list(tmp_path.iterdir()))}"
        greeting = GREETING if greets else ""
        path.write_text(f"#!{sys.executable} -IS\n{SPEAKING}{greeting}{code}\n")
        path.chmod(0o755)
        return str(path)

    return write


def job_of(program: str | Path, *stages: tuple[str, str], **parameters: Any) -> Job:
    job = Job(name="Programs", worker=Executable(program=str(program), **parameters))
    job.pipeline = list(stages or [(split, "map")])  # type: ignore[attr-defined]
    return job


def failure(engine: Any, job: Job, url: str = "raw://x") -> Any:
    with pytest.raises(ProgramError) as raised:
        engine.run(job, input=[url])
    return raised.value.failure


# --- programs that do their work ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "form"), [("wordcount.c", "netstring"), ("wordcount.go", "pickle")]
)
def test_a_compiled_program_counts_words_over_two_stages(
    engine: Any, compiled: Compiled, text: Text, source: str, form: str
) -> None:
    job = job_of(compiled(source), (split, "map"), (group_label, "reduce"), input_format=form)
    pairs = engine.run(job, input=[text(line) for line in LINES]).pairs
    counts = {key.decode() if isinstance(key, bytes) else key: int(value) for key, value in pairs}
    assert counts == WORDS
    assert len(pairs) == len(WORDS)


def test_a_program_is_told_its_task_but_no_address(
    engine: Any, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    program = script(
        "here = [task, sys.argv[1:], os.environ['COLOUR'], os.getcwd()]\n"
        "print(json.dumps(here), flush=True); say('DONE')"
    )
    job = job_of(program, (split, "only"), arguments=["-x", "y"], env={"COLOUR": "blue"})
    (context,) = engine.run(job, input=["raw://x"]).contexts["only"]
    task, arguments, colour, home = json.loads(capsys.readouterr().out)
    assert (arguments, colour, home) == (["-x", "y"], "blue", str(context.scratch / "home"))
    assert task == {
        "taskid": 0,
        "jobname": context.job_name,
        "jobfile": f"{home}/jobfile",
        "stage": "only",
        "grouping": "split",
        "group": [0, ""],
        "host": context.node,
        "master": "",
        "disco_port": 0,
        "put_port": 0,
        "disco_data": home,
        "ddfs_data": home,
    }


def test_the_job_file_has_what_the_author_gave_the_program(engine: Any, script: Any) -> None:
    program = script("os.link(task['jobfile'], '../kept'); say('DONE')")
    job = job_of(program, jobdata=b"\0data", env={"A": "b"})
    (context,) = engine.run(job, input=["raw://x"]).contexts["map"]
    with (context.scratch / "kept").open("rb") as file:
        pack = JobPack.load(file)
        assert (pack.jobdata, pack.jobenvs) == (b"\0data", {"A": "b"})
        assert pack.jobdict["pipeline"] == [["map", "split", False]]


def test_inputs_of_a_first_stage_are_urls_as_they_are_and_messages_are_shown(
    engine: Any, script: Any, capsys: pytest.CaptureFixture[str], text: Text
) -> None:
    program = script("ask('MSG', 'got ' + json.dumps(ask('INPUT')[1])); say('DONE')")
    path = text("a\n")
    ran = engine.run(job_of(program, (group_all, "map")), input=["raw://x y", [path, path]])
    told = ["done", [[0, "ok", 0, [[0, "raw://x y"]]], [1, "ok", 0, [[0, path], [1, path]]]]]
    assert ran.contexts["map"][0].statuses == [f"got {json.dumps(told)}"]
    assert f"got {json.dumps(told)}" in capsys.readouterr().out


def test_requests_may_be_sent_before_earlier_ones_are_answered(engine: Any, script: Any) -> None:
    """Some 2 MB of answers wait for a program that reads them only after its last request."""
    program = script(
        "for i in range(2000): say('PING', i); say('INPUT')\n"
        "for i in range(2000): assert sys.stdin.readline().startswith('OK 6 \"pong\"'); "
        "assert json.loads(sys.stdin.readline().split(' ', 2)[2])[0] == 'done'\n"
        "write(0, [('all', 2000)]); say('DONE')"
    )
    ran = engine.run(job_of(program), input=["raw://" + "x" * 1000])
    assert ran.pairs == [("all", 2000)]


def test_results_of_another_job_come_in_files_as_those_of_earlier_stages_do(
    engine: Any, script: Any
) -> None:
    url = "disco://127.0.0.1:1/job-1/2/0"
    engine.results[url] = [Frame(encode(["a", b"b"], [1, None]))]
    program = script(
        "(_, _, label, [[_, url]]), = ask('INPUT')[1][1]\n"
        "data = open(url.removeprefix('file://'), 'rb').read()\n"
        "write(label, [('length', len(data) > 0)]); say('DONE')"
    )
    assert engine.run(job_of(program), input=[url]).pairs == [("length", True)]


# --- what they read and write -------------------------------------------------------------------


def pairs_in(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        yield from disco_input_stream(file, None, str(path))


def test_what_an_earlier_stage_wrote_comes_in_files_a_few_at_a_time(
    engine: Any, script: Any, tmp_path: Path
) -> None:
    dull = random.Random(1)
    pairs = [(f"key-{number}", dull.randbytes(1000)) for number in range(4500)]
    url = "disco://127.0.0.1:1/job-1/2/0"
    engine.results[url] = [Frame(encode(*map(list, zip(*pairs, strict=True))))]
    program = script("ask('INPUT'); say('DONE')")
    (context,) = engine.run(job_of(program), input=[url, "raw://last"]).contexts["map"][:1]
    inputs = TaskInputs(context, tmp_path, batch_bytes=1, chunk_bytes=1)
    seen: list[Any] = []
    while not inputs.are_complete:
        before = len(inputs.here)
        inputs.bring_more()
        (one,) = inputs.here[before:]
        path = Path(one.urls[0].removeprefix("file://"))
        seen += pairs_in(path)
        path.unlink()  # what a program removes when it has read it
    assert len(inputs.here) == 5
    assert seen == pairs


def test_a_program_reads_the_old_text_format_if_its_job_asks_for_it(
    engine: Any, script: Any
) -> None:
    url = "disco://127.0.0.1:1/job-1/2/0"
    engine.results[url] = [Frame(encode(["é", b"\n"], [12, 1.5]))]
    program = script(
        "(_, _, label, [[_, url]]), = ask('INPUT')[1][1]\n"
        "write(0, [(open(url.removeprefix('file://'), 'rb').read(), None)]); say('DONE')"
    )
    (pair,) = engine.run(job_of(program, input_format="netstring"), input=[url]).pairs
    assert pair == ("2 é 2 12\n1 \n 3 1.5\n".encode(), None)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("open('out', 'w').write('hello\\n'); size = 6", "chunk format"),
        ("open('out', 'wb').write(hunk(b'no pickle') + hunk(b'')); size = 9", "chunk format"),
        ("open('out', 'wb').write(hunk(b'')[:5]); size = 5", "middle of a header"),
        ("open('out', 'wb').write(hunk(b'')); size = 1000", "was to have 1,000"),
        ("size = 0", "No such file"),
        ("os.symlink('/etc/hostname', 'out'); size = 0", "not in the job home"),
        ("os.mkfifo('out'); size = 0", "it is no file"),
        ("open('out', 'wb').write(b'\\xff' * 99); size = 99", "middle of a block"),
        ("open('out', 'wb').write(hunk(b'K') + hunk(b'')); size = 9", "chunk format"),
    ],
)
def test_an_output_that_cannot_be_read_is_named_with_the_reason(
    engine: Any, script: Any, code: str, reason: str
) -> None:
    found = failure(engine, job_of(script(f"{code}\nask('OUTPUT', [3, 'out', size]); say('DONE')")))
    assert found.kind is FailureKind.USER
    assert "'out' (label 3)" in found.message
    assert reason in found.message


def test_records_that_are_no_pairs_are_refused(engine: Any, script: Any) -> None:
    program = script("write(0, [('a', 1), 'b']); say('DONE')")
    with pytest.raises(Exception, match=r"the program program-.*'b'"):
        engine.run(job_of(program), input=["raw://x"])


# --- and how they fail --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "kind", "message", "words"),
    [
        ("exit", FailureKind.USER, "it exited with status 3 before it had said DONE", ""),
        ("crash", FailureKind.USER, "it was killed by signal 6 (Aborted)", ""),
        ("garbage", FailureKind.USER, "it exited with status 0", "Segmentation fault (core"),
        ("fatal", FailureKind.FATAL, "wordcount-c: this can never work", ""),
        ("error", FailureKind.USER, "wordcount-c: better luck next time", ""),
        ("silence", FailureKind.USER, "it did not say WORKER within 0.5 s", ""),
        ("half", FailureKind.USER, "it took more than 0.2 s over one message", 'MSG 100 "th'),
    ],
)
def test_each_way_to_fail_is_told_with_the_last_words(
    engine: Any, compiled: Compiled, how: str, kind: FailureKind, message: str, words: str
) -> None:
    job = job_of(compiled("wordcount.c"), arguments=[how], patience=HASTY)
    found = failure(engine, job)
    assert found.kind is kind
    assert message in found.message
    assert words in found.traceback
    assert bool(found.traceback) == bool(words)


@pytest.mark.parametrize("code", ["ask('MSG', 'so')", "say('MSG', 'so')"])
def test_a_program_that_says_too_much_ends_the_job_if_that_is_limited(
    engine: Any,
    script: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    monkeypatch.setattr(throttling, "WINDOW_S", 600.0)  # however slow this machine is
    program = script(f"print('*' * 50, flush=True)\nfor _ in range(50): {code}\nsay('DONE')")
    engine.run(job_of(program), input=["raw://x"])
    assert capsys.readouterr().out.count("so\n") == 50
    found = failure(engine, job_of(program, limit_messages=True))
    assert found.kind is FailureKind.FATAL
    assert "Worker is behaving badly: 10 messages" in found.message
    assert capsys.readouterr().out.count("so\n") == 10


def test_an_error_after_an_input_that_nobody_could_read_is_one_of_data(
    engine: Any, script: Any
) -> None:
    program = script(
        "assert ask('INPUT_ERR', [ask('INPUT')[1][1][0][0], [0]]) == ('FAIL', '')\n"
        "say('ERROR', 'cannot read it'); time.sleep(600)"
    )
    found = failure(engine, job_of(program), "raw://gone")
    assert (found.kind, found.input) == (FailureKind.DATA, "raw://gone")
    assert found.message.endswith("cannot read it")


def test_a_program_dies_with_the_slot_that_started_it(script: Any, tmp_path: Path) -> None:
    program = script("open('pid', 'w').write(str(os.getpid())); time.sleep(600)", greets=False)
    code = (
        "import pathlib, sys, time; from disco.worker.children import Child;"
        " child = Child([sys.argv[1]], home=pathlib.Path(sys.argv[2])); time.sleep(600)"
    )
    slot = subprocess.Popen([sys.executable, "-c", code, program, str(tmp_path)])
    told = tmp_path / "pid"
    pid = int(eventually(lambda: told.exists() and told.read_text(), 30))
    slot.kill()
    slot.wait()
    assert eventually(lambda: not Path(f"/proc/{pid}").exists(), 30)


def test_a_program_that_babbles_is_ended_and_its_last_hundred_kilobytes_are_logged(
    engine: Any, script: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    program = script("while True: sys.stderr.write('x' * 1000 + '\\n')")
    found = failure(engine, job_of(program, patience=replace(HASTY, greeting_s=60.0)))
    assert "no message" in found.message
    assert len(found.traceback) < 5_000
    assert len(capsys.readouterr().out) in range(99_000, 101_000)


def test_a_program_that_hangs_in_silence_is_not_ended_while_it_may_be_working(
    engine: Any, script: Any
) -> None:
    program = script("ask('INPUT'); time.sleep(1.5); write(0, [('late', 1)]); say('DONE')")
    job = job_of(program, patience=replace(HASTY, greeting_s=60.0))
    assert engine.run(job, input=["raw://x"]).pairs == [("late", 1)]


def test_nothing_that_a_program_has_started_outlives_it(engine: Any, script: Any) -> None:
    """A grandchild in a session of its own, whose parent has ended, is neither's child any more."""
    program = script(
        "child = subprocess.check_output('setsid sleep 600 > /dev/null & echo $!', shell=True)\n"
        "write(0, [('pid', int(child))]); say('DONE')"
    )
    ((_, pid),) = engine.run(job_of(program), input=["raw://x"]).pairs
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_program_that_travelled_is_meant_though_another_is_installed(
    engine: Any, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    Path(script("write(0, [('mine', 1)]); say('DONE')")).rename(tmp_path / "lib" / "sort")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert engine.run(job_of("sort"), input=["raw://x"]).pairs == [("mine", 1)]


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program"])
def test_a_program_that_is_not_there_ends_the_job(engine: Any, program: str) -> None:
    found = failure(engine, job_of(program))
    assert found.kind is FailureKind.FATAL
    assert program in found.message


def test_a_file_that_is_no_program_ends_the_job(engine: Any, text: Text) -> None:
    found = failure(engine, job_of(text("not a program\n")))
    assert found.kind is FailureKind.FATAL
    assert "cannot be started: Permission denied" in found.message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x7fELF" + bytes(60), "Exec format error; build it for the workers' system (Linux, "),
        (b"#!/no/such/interpreter\n", "No such file or directory; if it is there, the interpreter"),
    ],
)
def test_a_program_for_another_system_is_told_with_what_to_do(
    engine: Any, tmp_path: Path, content: bytes, said: str
) -> None:
    program = tmp_path / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    found = failure(engine, job_of(str(program)))
    assert found.kind is FailureKind.FATAL
    assert f"cannot be started: {said}" in found.message


# --- parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"program": None}, "program must be the path of an executable, got None"),
        ({"arguments": "-x"}, "arguments must be a list of texts"),
        ({"env": {"A": 1}}, "env must be a dict of texts"),
        ({"input_format": "xml"}, "unknown input_format 'xml'; there are pickle, netstring"),
        ({"params": {"a": 1}}, "params are for functions in Python"),
        ({"pipeline": []}, "pipeline must be a list of"),
        ({"pipeline": [(split, "")]}, "Bad Stage: item 0"),
        ({"pipeline": [("by_colour", "map")]}, "Unknown grouping 'by_colour' of stage 'map'"),
        ({"pipeline": [(split, "map"), (split, "map")]}, "Repeated stage 'map'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    parameters: dict[str, Any], message: str
) -> None:
    worker = Executable(**{"program": "x", "pipeline": [(split, "map")], **parameters})
    with pytest.raises(DiscoError, match=re.escape(message)):
        worker.planned_stages(Job(), {})

"""Workers that are programs of any language, brought by kubectl as docs/other-languages.md says."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.guide import Guide, Reader
from harness.jobs import RunningJob, results
from harness.namespaces import Namespace
from harness.volumes import CLAIM, Volume

TESTS = Path(__file__).parents[1]
GUIDE = Guide("other-languages.md", "On a cluster")
BOOKS = ("the cat the dog\nThe end\n" * 500, "the dog's end\n" * 300)
SCRIPT = '''\
#!/usr/bin/env python3
"""Counts words, as a worker of a job with the stages "map" and "reduce"."""

import collections, json, os, re, sys

def ask(name, payload=""):
    text = json.dumps(payload)
    sys.stderr.write(f"{name} {len(text)} {text}\\n")
    sys.stderr.flush()
    return json.loads(sys.stdin.readline().split(" ", 2)[2])

ask("WORKER", {"version": "1.1", "pid": os.getpid()})
stage, flag, counts, known = ask("TASK")["stage"], "more", collections.Counter(), []
while flag == "more":
    flag, inputs = ask("INPUT", ["exclude", known])
    for number, _, _, replicas in inputs:
        known.append(number)
        text = open(replicas[0][1].removeprefix("file://")).read()
        if stage == "map":
            counts.update(re.findall("[a-z\']+", text.lower()))
        else:
            for _, word, _, count in map(str.split, text.splitlines()):
                counts[word] += int(count)
for label in range(3):
    words = [word for word in counts if sum(map(ord, word)) % 3 == label]
    lines = [f"{len(w)} {w} {len(str(counts[w]))} {counts[w]}\\n" for w in words]
    with open(f"out-{label}", "w") as file:
        file.write("".join(lines))
    ask("OUTPUT", [label, f"out-{label}", len("".join(lines))])
ask("DONE")
'''


@pytest.fixture
def reader(namespace: Namespace, shared_volume: Volume, tmp_path: Path) -> Reader:
    """Give a reader of the guide who has its files, and books to count the words of."""
    for number, book in enumerate(BOOKS):
        shared_volume.write(f"books/{number}.txt", book)
    shutil.copyfile(TESTS / "programs" / "wordcount.c", tmp_path / "wordcount.c")
    (tmp_path / "words.py").write_text(GUIDE.block("python", "class WordCount"))
    manifest = GUIDE.block("yaml", "kind: DiscoJob")
    (tmp_path / "words.yaml").write_text(
        manifest.replace("claimName: texts", f"claimName: {CLAIM}")
    )
    return Reader(tmp_path, namespace)


def check_counts(volume: Volume) -> None:
    """Check that each word was counted once, however often it occurs."""
    counts = Counter(re.findall("[a-z']+", "".join(BOOKS).lower()))
    assert results(volume, "counts") == {word: str(count) for word, count in counts.items()}


def test_a_compiled_worker_comes_with_the_guides_commands(
    reader: Reader, shared_volume: Volume, compiled: Callable[[str], Path]
) -> None:
    compiled("wordcount.c")  # says so if there is no compiler
    reader.types(*GUIDE.commands())

    check_counts(shared_volume)


def test_a_script_comes_the_same_way(reader: Reader, shared_volume: Volume) -> None:
    (reader.folder / "wordcount").write_text(SCRIPT)
    reader.types(*(command for command in GUIDE.commands() if not command.startswith("gcc")))

    check_counts(shared_volume)


def test_a_program_for_another_system_fails_the_job_and_says_what_to_build(
    reader: Reader, namespace: Namespace
) -> None:
    """The header of an ELF program for a processor that no node has."""
    program = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00"
    (reader.folder / "wordcount").write_bytes(program)
    _, create, apply, _ = GUIDE.commands()
    reader.types(create, apply)

    failed = RunningJob(namespace.api, namespace.name, "words").wait_until_failed(timeout=240)

    assert "wordcount cannot be started: Exec format error" in failed["message"]
    assert "build it for the workers' system" in failed["message"]

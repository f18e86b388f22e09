"""Workers that are programs of any language, brought by kubectl as docs/other-languages.md says."""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.jobs import RunningJob, results
from harness.namespaces import Namespace
from harness.volumes import CLAIM, Volume

TESTS = Path(__file__).parents[1]
GUIDE = TESTS.parent / "docs" / "other-languages.md"
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
def reader(namespace: Namespace, shared_volume: Volume, tmp_path: Path) -> Path:
    """Give the folder of a reader of the guide: its files, and a kubectl for the namespace."""
    for number, book in enumerate(BOOKS):
        shared_volume.write(f"books/{number}.txt", book)
    shutil.copyfile(TESTS / "programs" / "wordcount.c", tmp_path / "wordcount.c")
    (tmp_path / "words.py").write_text(block("python", "class WordCount"))
    manifest = block("yaml", "kind: DiscoJob").replace("claimName: texts", f"claimName: {CLAIM}")
    (tmp_path / "words.yaml").write_text(manifest)
    shutil.copyfile(os.environ["KUBECONFIG"], tmp_path / "config")
    typed(tmp_path, f"kubectl config set-context --current --namespace {namespace.name}")
    return tmp_path


def block(language: str, content: str) -> str:
    """Return the last of the guide's blocks in a language that has this content."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", on_a_cluster(), re.M | re.S)
    (found,) = [text for text in blocks if content in text]
    return str(found)


def on_a_cluster() -> str:
    """Return the guide's section about clusters."""
    (section,) = re.findall(r"^### On a cluster\n(.*?)^## ", GUIDE.read_text(), re.M | re.S)
    return str(section)


def commands() -> Iterator[str]:
    """Yield that section's commands."""
    yield from re.findall(r"^\$ (.*)", on_a_cluster(), re.M)


def typed(folder: Path, command: str) -> None:
    """Run a command as the reader types it."""
    environment = {**os.environ, "KUBECONFIG": str(folder / "config")}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def check_counts(volume: Volume) -> None:
    """Check that each word was counted once, however often it occurs."""
    counts = Counter(re.findall("[a-z']+", "".join(BOOKS).lower()))
    assert results(volume, "counts") == {word: str(count) for word, count in counts.items()}


def test_a_compiled_worker_comes_with_the_guides_commands(
    reader: Path, shared_volume: Volume, compiled: Callable[[str], Path]
) -> None:
    compiled("wordcount.c")  # says what is missing, if there is no compiler
    for command in commands():
        typed(reader, command)

    check_counts(shared_volume)


def test_a_script_comes_the_same_way(
    reader: Path, namespace: Namespace, shared_volume: Volume
) -> None:
    (reader / "wordcount").write_text(SCRIPT)
    for command in commands():
        if command.startswith("kubectl"):
            typed(reader, command)

    check_counts(shared_volume)


def test_a_program_for_another_system_fails_the_job_and_says_what_to_build(
    reader: Path, namespace: Namespace
) -> None:
    """The header of an ELF program for a processor that no node has."""
    (reader / "wordcount").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xf3\x00")
    for command in commands():
        if command.startswith(("kubectl create", "kubectl apply")):
            typed(reader, command)

    failed = RunningJob(namespace.api, namespace.name, "words").wait_until_failed(timeout=240)

    assert "wordcount cannot be started: Exec format error" in failed["message"]
    assert "build it for the workers' system" in failed["message"]

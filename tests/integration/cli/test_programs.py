"""disco job: programs as workers, here and on a server."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from disco.jobpack import JobPack

from .conftest import Shell

Compiled = Callable[[str], Path]
WORDS = """
from disco import Job, group_label, split
from disco.worker.executable import Executable

class Words(Job):
    Worker = Executable
    program = "wordcount"
    pipeline = [(split, "map"), (group_label, "reduce")]
"""
COUNTS = ["and\t1", "cat\t1", "the\t3", "two\t1"]


@pytest.fixture
def here(shell: Shell, compiled: Compiled) -> Shell:
    """Give a shell whose directory has a program, and texts to count the words of."""
    (shell.directory / "wordcount").write_bytes(compiled("wordcount.go").read_bytes())
    shell.write("a.txt", "the cat\n")
    shell.write("b.txt", "The two and the\n")
    return shell


async def test_a_program_runs_here_over_what_lines_name(here: Shell) -> None:
    done = await here.disco("job", "-m", "-r", "-n", "3", "./wordcount", stdin="a.txt\nb.txt\n")
    assert done.status == 0, done.err
    assert sorted(done.out.splitlines()) == COUNTS
    assert "map:0 | counting for the stage map" in done.err


async def test_a_server_runs_it_as_well(served: Shell, here: Shell) -> None:
    settings = yaml.safe_load((served.directory / "config.yaml").read_text())
    there = ("-M", settings["current_context"])
    started = await here.disco("job", *there, "-mr", "-p", "words", "wordcount", "a.txt", "b.txt")
    assert (started.status, started.err) == (0, "")
    name = started.out.strip()
    assert name.startswith("words-")
    assert (await here.disco("wait", name)).status == 0
    assert sorted((await here.disco("results", name)).out.splitlines()) == COUNTS

    # A job in a file travels as files, and is imported on the workers: so does its program.
    here.write("words.py", WORDS)
    submitted = await here.disco("submit", "words.py", "a.txt", "b.txt", "--follow")
    assert submitted.status == 0, submitted.err
    assert sorted(submitted.out.splitlines()) == COUNTS
    assert "lib/wordcount" in submitted.err


async def test_the_job_pack_has_all_that_the_program_needs(here: Shell) -> None:
    here.write("stop.txt", "the\n")
    flags = ("-m", "-r", "-o", "me", "-e", "COLOUR", "blue", "-f", "stop.txt", "-d", "@a.txt")
    process = await here.start("job", "-D", "-S", "max_cores", "3", *flags, "wordcount", "b.txt")
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    pack = JobPack.load(io.BytesIO(out))
    assert pack.jobdict == {
        "prefix": "wordcount",
        "owner": "me",
        "worker": "lib/wordcount",
        "pipeline": [["map", "split"], ["reduce", "group_all"]],
        "inputs": [[0, 0, ["b.txt"]]],
        "save_results": False,
        "save_info": "ddfs",
        "scheduler": {"max_cores": 3},
    }
    assert pack.jobenvs == {"COLOUR": "blue"}
    assert pack.jobdata == b"the cat\n"
    with zipfile.ZipFile(io.BytesIO(pack.jobhome)) as home:
        assert sorted(home.namelist()) == ["lib/stop.txt", "lib/wordcount"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("wordcount", "a.txt"), "say which stages there are: -m, -r or both"),
        (("-m", "wordcount"), "no input: give INPUT arguments"),
        (("-m", "missing", "a.txt"), "'missing' does not exist"),
        (("-m", "-d", "@missing", "wordcount", "a.txt"), "missing: No such file or directory"),
        (("-m", "-M", "nowhere", "wordcount", "a.txt"), "master 'nowhere'"),
    ],
)
async def test_wrong_use_is_told_before_anything_starts(
    here: Shell, arguments: tuple[str, ...], message: str
) -> None:
    done = await here.disco("job", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err

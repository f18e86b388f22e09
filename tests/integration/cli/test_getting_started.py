"""The guide's commands for a laptop, as a reader types them, with a real server."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Ended, Shell

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "getting-started.md"


def section(title: str) -> str:
    """Return the guide's section of that title."""
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", GUIDE.read_text(), re.M | re.S)
    assert match is not None, f"the guide has no section {title!r}"
    return match.group(1)


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a text, each as the reader types it."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.M | re.S):
        yield from re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)", block, re.M)


@pytest.fixture
def reader(served: Shell) -> Shell:
    """Give a reader who has saved the job and started the server."""
    (code,) = re.findall(r"^```python\n(.*?)^```", section("The job"), re.M | re.S)
    served.write("wordcount.py", code)
    served.environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), served.environment["PATH"]]
    )
    return served


async def typed(reader: Shell, command: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=reader.directory,
        env=reader.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    done = await reader.ended(process)
    assert done.status == 0, f"{command}\n{done.err}"
    return done


async def test_a_reader_with_a_laptop_gets_what_the_guide_promises(reader: Shell) -> None:
    out: dict[str, str] = {}
    for command in commands(section("On your laptop")):
        if command != "disco serve":
            out[command] = (await typed(reader, command)).out

    counted = ["be\t2", "not\t1", "or\t1", "to\t2"]
    assert sorted(out["disco run wordcount.py hamlet.txt"].splitlines()) == counted
    followed = out["disco submit wordcount.py hamlet.txt --name hamlet --follow"]
    assert sorted(followed.splitlines()) == counted
    assert "hamlet" in out["disco ls"]
    assert "succeeded" in out["disco status hamlet"]
    assert sorted(out["disco results hamlet --top 2"].splitlines()) == ["be\t2", "to\t2"]
    assert (reader.directory / "counts.csv").read_text().startswith("key,value\n")
    assert out["disco delete hamlet"] == "hamlet: deleted\n"


async def test_scripts_work_as_the_guide_says(reader: Shell) -> None:
    (block,) = re.findall(r"### In scripts\n(.*?)^The name", GUIDE.read_text(), re.M | re.S)

    await typed(reader, "\n".join(commands(block)))

    lines = (reader.directory / "counts.jsonl").read_text().splitlines()
    assert sorted(lines)[0] == '{"key": "be", "value": 2}'


def test_every_command_of_the_guide_is_one_that_there_is() -> None:
    from disco.cli.commands import SECTIONS

    known = {name for names in SECTIONS.values() for name in names}
    used = set(re.findall(r"(?:^\$ |\| |&& |\(|`)disco ([a-z]+)", GUIDE.read_text(), re.M))

    assert used <= known
    assert {"submit", "config", "results", "cancel", "render"} <= used

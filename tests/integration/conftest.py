"""The command line as a user has it: in a directory of their own, in a process of its own."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

import pytest
from chaos.leftovers import processes_with

import disco
import disco_engine

_OURS = tuple(str(Path(package.__path__[0])) for package in (disco, disco_engine))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended.

    Attributes:
        made: What it left in the user's directory, as relative paths.
    """

    status: int
    out: str
    err: str
    made: list[str]


@dataclass(kw_only=True)
class User:
    """A user with a directory; relative paths on the command line are in it.

    Attributes:
        temporary: Where the run's own directory is made (TMPDIR).
    """

    directory: Path
    temporary: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file, a text without its common indentation, and return its path."""
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
        return path

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start ``disco run --workers 1`` with more arguments."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "disco.cli.main", "run", "--workers", "1", *arguments],
            cwd=self.directory,
            env={**os.environ, "TMPDIR": str(self.temporary), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Ended:
        """Run ``disco run --workers 1`` to its end, after which nothing of it may be left."""
        before = self.files()
        mark = uuid.uuid4().hex
        self.environment["DISCO_TEST_RUN"] = mark  # which all of its processes inherit
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=150)
        assert processes_with(mark) == [], "processes were left"
        assert list(self.temporary.iterdir()) == [], "temporary files were left"
        return Ended(
            status=process.returncode, out=out, err=err, made=sorted(self.files() - before)
        )

    def fail(self, *arguments: str) -> str:
        """Run what must fail, and return the message.

        The status is that of a failed job, nothing is printed or left, and the message does not
        speak of our own code.
        """
        ended = self.run("--quiet", *arguments)
        assert (ended.status, ended.out, ended.made) == (1, "", []), ended
        assert not any(path in ended.err for path in _OURS), ended.err
        return ended.err

    def files(self) -> set[str]:
        """Return what is in the directory."""
        return {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}


@pytest.fixture
def user(tmp_path: Path) -> User:
    directory, temporary = tmp_path / "work", tmp_path / "tmp"
    directory.mkdir()
    temporary.mkdir()
    user = User(directory=directory, temporary=temporary)
    user.environment = {"COLUMNS": "100", "PYTHONDONTWRITEBYTECODE": "1"}
    return user


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of a given size ("20m") somewhere, and return where."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"only who may mount a file system can have a disk that is full: {error}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)

"""What every test needs."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
SOURCES = {
    "wordcount.c": TESTS / "programs" / "wordcount.c",
    "external.c": TESTS / "programs" / "external.c",
    "wordcount.go": TESTS.parent / "examples" / "14-in-go" / "wordcount.go",
}

# Else pytest-asyncio asks for the main thread's loop before the first asynchronous test, which
# makes one that nobody closes; that is an error here as soon as it is collected.
asyncio.set_event_loop(None)

# No test asserts a time: an example may take as long as a busy machine needs for it.
settings.register_profile(
    "patient", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a function that compiles one of ``SOURCES`` and returns the program.

    A test that needs a compiler that is not there is skipped, unless CI must run it.
    """
    directory = tmp_path_factory.mktemp("programs")

    def compile_program(source: str) -> Path:
        program = directory / source.replace(".", "-")
        if program.exists():
            return program
        c = source.endswith(".c")
        compiler = shutil.which("gcc" if c else "go")
        if compiler is None:
            if os.environ.get("CI"):
                pytest.fail(f"there is no compiler for {source}")
            pytest.skip(f"needs a compiler for {source}")
        options = ["-Wall", "-Werror", "-O1"] if c else ["build"]
        subprocess.run(
            [compiler, *options, "-o", str(program), str(SOURCES[source])],
            check=True,
            env={**os.environ, "CGO_ENABLED": "0"},
        )
        return program

    return compile_program

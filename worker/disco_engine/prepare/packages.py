"""Installs the packages a job needs beside those of the image, which stay as they are."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from disco_engine.inputs.urls import reason_of
from disco_engine.prepare.telling import PrepareError, without_secrets
from disco_engine.rpc import TLS_VARIABLE, TOKEN_VARIABLE

_DISTRIBUTION = "disco-k8s"
_LAST_LINES = 20
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def install(requirements: Sequence[str], target: Path) -> None:
    """Make *target* the home of what *requirements* name; what was there before is removed.

    The environment may say where to look: ``PIP_INDEX_URL`` and all others that pip knows.

    Args:
        requirements: Lines of a requirements file.
        target: A directory for PYTHONPATH; made if missing, like those above it.

    Raises:
        PrepareError: pip could not do it; the message ends with what pip said last.
    """
    try:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="disco-pip-") as directory:
            wanted = _file(directory, "requirements.txt", requirements)
            status, last = _run_pip(
                *("install", "--requirement", wanted, "--target", str(target)),
                # The engine runs in the same interpreter: another protobuf would break it.
                *("--constraint", _file(directory, "engine.txt", _own_versions())),
                *("--no-input", "--no-cache-dir", "--disable-pip-version-check"),
                *("--progress-bar", "off", "--root-user-action", "ignore"),
            )
    except OSError as error:
        raise PrepareError(f"packages cannot be installed: {reason_of(error)}") from error
    if status:
        listed = without_secrets(", ".join(requirements))
        said = "\n".join(last) or "nothing"
        raise PrepareError(
            f"pip ended with status {status} when it should install {listed}; it said:\n{said}"
        )


def _run_pip(*arguments: str) -> tuple[int, Sequence[str]]:
    """Run pip, show what it says, and return its status and the last of that."""
    # Builds run other people's code, which has no business with the job's processes.
    ours = (TOKEN_VARIABLE, TLS_VARIABLE)
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "pip", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            told = without_secrets(line.rstrip())
            print(told, flush=True)
            if told:
                last.append(told)
    return pip.returncode, last


def _file(directory: str, name: str, lines: Sequence[str] | Iterator[str]) -> str:
    path = Path(directory, name)
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def _own_versions() -> Iterator[str]:
    """Yield "name==version" of the installed packages that the engine itself needs."""
    try:
        needed = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return
    for requirement in needed:
        name = _NAME.match(requirement)
        if name is not None and "extra ==" not in requirement:
            yield f"{name.group()}=={metadata.version(name.group())}"

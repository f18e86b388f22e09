"""The job home: the directory that a program is started in, with its files; one per attempt."""

import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from disco_engine.program import fatal

LIBRARY = "lib"
"""Where files that travel with a job are, below the directory of its modules."""


def travelled(name: str) -> Path | None:
    """Return where a file is that travelled with the job; None: it did not.

    It is in ``lib/`` beside the job's modules, or in these modules' own directory: there is what a
    ConfigMap, an archive or an image has beside the job's module.

    Args:
        name: Its place in the job home.
    """
    for place in map(Path, sys.path):
        for path in (place / LIBRARY / name, place / name):
            if path.is_file():
                return path
    return None


def required(names: Iterable[str]) -> dict[str, Path]:
    """Return where files are that travelled with the job, by their places in the job home.

    Raises:
        ProgramError: FATAL: one of them is nowhere.
    """
    files = {name: travelled(name) for name in names}
    there = {name: path for name, path in files.items() if path is not None}
    if len(there) < len(files):
        missing = ", ".join(files.keys() - there.keys())
        raise fatal(
            f"no file {missing} has travelled with the job, nor is it beside its module; name it in"
            " required_files"
        )
    return there


def make_home(directory: Path, files: Mapping[str, Path | bytes]) -> Path:
    """Make the job home of an attempt.

    ``lib`` is another name of the directory, since Disco's programs look for their files there,
    too.

    Args:
        directory: Where to make it.
        files: What to put there, by place. What the program changes, it changes for itself.
    """
    home = directory / "home"
    home.mkdir()
    (home / LIBRARY).symlink_to(".")
    for name, content in files.items():
        target = home / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            shutil.copyfile(content, target)
        target.chmod(0o755)  # neither ZIPs nor ConfigMaps tell what is a program
    return home

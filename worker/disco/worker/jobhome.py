"""The job home: the directory that a program is started in, with its files; one per attempt."""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from disco_engine.program import fatal

LIBRARY = "lib"
"""Where files that travel with a job are, below the directory of its modules."""


def found(name: str) -> Path:
    """Return where the file called *name* is that travelled with the job.

    That is ``lib/`` beside the job's modules, or these modules' own directory: there is what a
    ConfigMap, an archive or an image has beside the job's module.

    Raises:
        ProgramError: FATAL: it is nowhere.
    """
    for place in map(Path, sys.path):
        for path in (place / LIBRARY / name, place / name):
            if path.is_file():
                return path
    raise fatal(
        f"there is no file {name} among those that travelled with the job, nor beside its module;"
        " name it in required_files"
    )


def program_path(program: str) -> Path | None:
    """Return the path of a program that is installed where the workers run; None: it travels."""
    if os.path.isabs(program):
        return Path(program)
    installed = None if os.sep in program else shutil.which(program)
    return None if installed is None else Path(installed)


def make_home(directory: Path, files: Mapping[str, Path | bytes]) -> Path:
    """Make the job home of an attempt.

    Files are beside each other; ``lib`` is another name of the directory, since Disco's programs
    look for their files there, too.

    Args:
        directory: Where to make it.
        files: What to put there, by name. What the program changes, it changes for itself.
    """
    home = directory / "home"
    home.mkdir()
    (home / LIBRARY).symlink_to(".")
    for name, content in files.items():
        target = home / name
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            shutil.copyfile(content, target)
        target.chmod(0o755)  # neither ZIPs nor ConfigMaps tell what is a program
    return home

"""Reads ``requirements.txt``: what pip installs on the workers, and nothing else.

The requirements stand in the job's spec, which everybody may read who may see the job.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from disco.client.errors import CannotTravelError

_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDE = re.compile(r"(?:-r|--requirement)(?:\s+|=)?(.+)")
_PASSWORD = re.compile(r"://[^/\s]*@")
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")
_PATH = re.compile(r"\.{0,2}/|[A-Za-z]:\\|file:")


def requirements_from(path: Path) -> list[str]:
    """Return the requirements of a ``requirements.txt``, for ``spec.requirements``.

    Comments and empty lines are left out, ``-r`` is followed.

    Raises:
        CannotTravelError: A line is an option, a path, or has a password in it; every such line is
            named with its number.
    """
    found: list[str] = []
    problems: list[str] = []
    for file, number, line in _lines(path, ()):
        problem = _problem(line)
        if problem:
            problems.append(f"{file}:{number}: {problem}")
        else:
            found.append(line)
    if problems:
        raise CannotTravelError("\n".join(problems))
    return found


def _lines(path: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, int, str]]:
    """Yield file, number and text of each requirement; lines that go on are one."""
    if path.resolve() in above:
        return
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CannotTravelError(f"{path} cannot be read: {error}") from error
    pending = ""
    for number, line in enumerate(text.splitlines(), start=1):
        pending += line
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        requirement, pending = _COMMENT.sub("", pending).strip(), ""
        if match := _INCLUDE.fullmatch(requirement):
            yield from _lines(path.parent / match.group(1).strip(), (*above, path.resolve()))
        elif requirement:
            yield path, number, requirement


def _problem(line: str) -> str:
    """Return why a requirement cannot be installed on the workers; "" if it can."""
    name = line.split()[0].partition("=")[0]
    if name in ("-e", "--editable"):
        return (
            f"{name}: an editable package is a directory of this machine; let its modules travel"
            " (required_modules), or publish it"
        )
    if name.startswith("-"):
        return (
            f"{name}: options of pip do not travel; set them on the workers, for instance"
            " PIP_INDEX_URL in spec.workers.env, from a Secret if it has a password"
        )
    if _PASSWORD.search(line):
        return (
            "it has a user or a password in a URL, which everybody could read in the job; let the"
            " workers' pip have it, in an environment variable from a Secret"
        )
    if _VARIABLE.search(line):
        return "it has an environment variable, which the workers' pip would not replace"
    if " --hash" in line:
        return "hashes cannot be checked there; name the version, or build an image"
    if _PATH.match(line) or _PATH.match(line.partition(" @ ")[2]):
        return "it is a path on this machine; let the modules travel, or publish the package"
    return ""

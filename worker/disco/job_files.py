"""Which files travel with a job, and where they are in the ZIP."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from disco.error import DiscoError
from disco.fileutils import DiscoZipFile
from disco.ignoring import IGNORE_FILE
from disco.sources import ModuleFiles, is_installed
from disco.worker.jobhome import LIBRARY
from disco.worker.modutil import unimported

if TYPE_CHECKING:
    from disco.job import Job
    from disco.worker.hooks import JobHooks


def job_zip(job: "Job", jobargs: Mapping[str, Any], worker: "JobHooks") -> DiscoZipFile:
    """Return the files that travel with a job, in a ZIP that is still open."""
    modules = ModuleFiles(allow_secrets=worker.getitem("allow_secrets", job, jobargs))
    add_modules(modules, job, jobargs, worker.getitem("required_modules", job, jobargs))
    return _archive(modules, worker.getitem("required_files", job, jobargs))


def _archive(modules: ModuleFiles, required_files: Any) -> DiscoZipFile:
    archive = DiscoZipFile()
    for name, path in modules.files.items():
        archive.write(path, name)
    for place, content in _required(required_files, modules):
        archive.writestr(place, content)
    return archive


def zipped(modules: ModuleFiles, required_files: Any) -> bytes:
    """Return a ZIP of all that travels; empty if nothing does."""
    with _archive(modules, required_files) as archive:
        empty = not archive.namelist()
    return b"" if empty else archive.dumps()


def add_modules(
    modules: ModuleFiles, job: "Job", jobargs: Mapping[str, Any], required_modules: Any
) -> None:
    """Note the modules that a job's functions need, and those that it asks for."""
    for module in modules_of(job, jobargs):
        modules.add_loaded(module)
    modules.add_named(required_modules or ())
    for function in job.worker_for(jobargs).functions(job, jobargs):
        modules.add_named(unimported(function))


def _required(files: Any, modules: ModuleFiles) -> Iterator[tuple[str, bytes]]:
    """Yield (place in the ZIP, content) of the files that the job asked for."""
    given: dict[str, Path] = {}
    for name, place, content in _placed(files):
        path = Path(name)
        before = given.setdefault(place, path)
        if before is not path:
            if before == path and content is None:
                continue
            raise DiscoError(
                f"required files {before} and {path}: both would be {place}; rename one of them"
            )
        if place in modules.files:
            raise DiscoError(
                f"required file {name}: the job's module {modules.files[place]} would be there as"
                " well; rename one of them"
            )
        if not modules.may_travel(path.name):
            raise DiscoError(
                f"required file {name}: it looks like a secret, which never travels with a job;"
                " give it to the workers as a file or an environment variable of theirs, or, if it"
                f" is none, allow it: allow_secrets=[{path.name!r}]"
            )
        if content is None and modules.excludes(path):
            raise DiscoError(
                f"required file {name}: {path.parent / IGNORE_FILE} excludes it; remove it from one"
                " of the two"
            )
        try:
            yield place, path.read_bytes() if content is None else bytes(content)
        except OSError as error:
            raise DiscoError(f"required file {name}: {error.strerror or error}") from error


def _placed(files: Any) -> Iterator[tuple[Any, str, Any]]:
    """Yield name, place in the ZIP, and content (None: to be read) of each file.

    As in Disco, files that are given by their paths are in ``lib``, and those that are given with
    their content are where their names say.
    """
    if not isinstance(files, Mapping):
        for path in files:
            yield path, f"{LIBRARY}/{Path(path).name}", None
        return
    for name, content in files.items():
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or not place.name:
            raise DiscoError(
                f"required file {name!r}: name its place below the directory that tasks run in,"
                " such as 'lib/words.txt'"
            )
        yield name, str(place), content


def modules_of(job: object, jobargs: Mapping[str, Any]) -> list[ModuleType]:
    """Return the modules that define the job, its worker and the functions it was given."""
    worker = getattr(job, "worker", None)
    things: list[Any] = [type(job), type(worker), *jobargs.values()]
    if isinstance(worker, Mapping):
        things.extend(worker.values())
    things.extend(vars(job).values() if hasattr(job, "__dict__") else ())
    found: dict[str, ModuleType] = {}
    for thing in things:
        names = [getattr(thing, "__module__", None), getattr(type(thing), "__module__", None)]
        for name in names:
            module = sys.modules.get(name) if isinstance(name, str) else None
            if module is not None and not is_installed(module):
                found[name] = module  # type: ignore[index]
    return list(found.values())

"""Packs a job so that worker slots can run it: the pickled job, its modules, its source lines.

``disco.program`` unpacks.

What travels how:

- what is defined in ``__main__`` (a script, a notebook) travels inside the pickle, by value;
- modules beside the script that the job imports travel as files, in a ZIP;
- installed packages do not travel: the workers must have them.
"""

import inspect
import json
import linecache
import pickle
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from disco.error import DiscoError
from disco.fileutils import DiscoZipFile
from disco.ignoring import IGNORE_FILE
from disco.payload import LOADER, Header, join_payload
from disco.sources import ModuleFiles, is_installed
from disco.v1 import job_pb2
from disco.worker.hooks import JobHooks, overrides
from disco.worker.jobhome import LIBRARY
from disco.worker.modutil import unimported

if TYPE_CHECKING:
    from disco.job import Job


def pack_job(
    job: "Job",
    jobargs: Mapping[str, Any],
    *,
    required_files: Any = (),
    required_modules: Any = None,
    modules: ModuleFiles | None = None,
) -> job_pb2.JobCode:
    """Return the code of a job that exists as an object in this process.

    Args:
        job: The job.
        jobargs: Arguments of ``Job.run``.
        required_files: Paths of files that travel, to ``lib/NAME``; or a dict of bytes by place.
        required_modules: Names of modules that travel although nothing imports them.
        modules: Where the files are noted that travel, and those that do not; None: nobody asks.

    Raises:
        DiscoError: Something cannot be pickled or read; the message says what.
    """
    by_value = [module for module in _modules_of(job, jobargs) if not _is_importable(module)]
    modules = modules or ModuleFiles()
    _add_modules(modules, job, jobargs, required_modules)
    with _pickled_by_value(by_value):
        try:
            body = cloudpickle.dumps((job, dict(jobargs)), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever the user's own objects raise
            raise DiscoError(
                f"cannot pickle job {type(job).__name__}: {type(error).__name__}: {error};"
                " keep what cannot travel (open files, locks, connections) out of its attributes,"
                " arguments and globals, and make it in map_init or in a stage's init"
            ) from error
    sources: dict[str, str] = {}
    for module in by_value:
        sources.update(_sources_of(module))
    worker = job.worker_for(jobargs)
    environment = worker.jobenvs(job, **jobargs) if overrides(worker, "jobenvs") else {}
    header = Header(sources=sources, files=modules.origins(), environment=environment)
    if overrides(worker, "jobhome") or overrides(worker, "jobzip"):
        return _code(header, body, worker.jobhome(job, **jobargs))
    return _code(header, body, _zipped(modules, required_files))


def job_zip(job: "Job", jobargs: Mapping[str, Any], worker: JobHooks) -> DiscoZipFile:
    """Return the files that travel with a job, in a ZIP that is still open."""
    modules = ModuleFiles(allow_secrets=worker.getitem("allow_secrets", job, jobargs))
    _add_modules(modules, job, jobargs, worker.getitem("required_modules", job, jobargs))
    return _archive(modules, worker.getitem("required_files", job, jobargs))


def pack_reference(
    reference: str,
    jobargs: Mapping[str, Any],
    *,
    directory: Path | None = None,
    required_files: Any = (),
    required_modules: Any = None,
    modules: ModuleFiles | None = None,
) -> job_pb2.JobCode:
    """Return the code of a job that only the workers import.

    Args:
        reference: ``path/to/file.py[:attribute]`` or ``module[:attribute]``; without an attribute,
            the only job that the module defines.
        jobargs: Arguments of ``Job.run``; they travel as JSON.
        directory: Where ``file.py`` and modules are looked for; None: the working directory. A
            module that is not there must be installed where the workers run.
        required_files: As in ``pack_job``, as the next two.
        required_modules: Names of modules that travel although nothing imports them.
        modules: Where the files are noted that travel, and those that do not.

    Raises:
        DiscoError: There is no such file, or an argument is not JSON.
    """
    place = directory or Path.cwd()
    name, _, attribute = reference.partition(":")
    modules = modules or ModuleFiles()
    modules.add_named(required_modules or ())
    if name.endswith(".py"):
        path = (place / name).resolve()
        if not path.is_file():
            raise DiscoError(f"there is no file {name} in {place}")
        modules.add_script(path)
        name = path.name
    else:
        modules.add_from(place.resolve(), name)
    try:
        json.dumps(jobargs)
    except (TypeError, ValueError) as error:
        raise DiscoError(f"arguments of {reference} must be JSON: {error}") from error
    header = Header(
        reference=f"{name}:{attribute}" if attribute else name,
        jobargs=jobargs,
        files=modules.origins(),
    )
    return _code(header, b"", _zipped(modules, required_files))


def _code(header: Header, body: bytes, modules_zip: bytes) -> job_pb2.JobCode:
    return job_pb2.JobCode(
        loader=LOADER, payload=join_payload(header, body), modules_zip=modules_zip
    )


def _archive(modules: ModuleFiles, required_files: Any) -> DiscoZipFile:
    archive = DiscoZipFile()
    for name, path in modules.files.items():
        archive.write(path, name)
    for place, content in _required(required_files, modules):
        archive.writestr(place, content)
    return archive


def _zipped(modules: ModuleFiles, required_files: Any) -> bytes:
    with _archive(modules, required_files) as archive:
        empty = not archive.namelist()
    return b"" if empty else archive.dumps()


def _add_modules(
    modules: ModuleFiles, job: "Job", jobargs: Mapping[str, Any], required_modules: Any
) -> None:
    for module in _modules_of(job, jobargs):
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


def _modules_of(job: object, jobargs: Mapping[str, Any]) -> list[ModuleType]:
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


def _is_importable(module: ModuleType) -> bool:
    """Return whether a fresh process with this one's ``sys.path`` would import the same file."""
    name = module.__name__
    file = getattr(module, "__file__", None)
    if name == "__main__" or file is None:
        return False
    search: Any = None
    for depth in range(1, name.count(".") + 2):
        try:
            spec = PathFinder.find_spec(".".join(name.split(".")[:depth]), search)
        except (ImportError, ValueError):
            return False
        if spec is None:
            return False
        search = spec.submodule_search_locations
    return spec is not None and spec.origin is not None and Path(spec.origin).samefile(file)


@contextmanager
def _pickled_by_value(modules: list[ModuleType]) -> Iterator[None]:
    registered = cloudpickle.list_registry_pickle_by_value()
    mine = [
        module
        for module in modules
        if module.__name__ != "__main__" and module.__name__ not in registered
    ]
    for module in mine:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in mine:
            cloudpickle.unregister_pickle_by_value(module)


def _sources_of(module: ModuleType) -> dict[str, str]:
    """Return the text of every file that code of *module* says it comes from.

    A script is one file; each cell of a notebook is one, known to ``linecache`` only.
    """
    names = {str(module.__file__)} if getattr(module, "__file__", None) else set()
    for thing in list(vars(module).values()):
        members = list(vars(thing).values()) if inspect.isclass(thing) else [thing]
        for member in members:
            function = inspect.unwrap(getattr(member, "__func__", member))
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                names.add(function.__code__.co_filename)
    texts = {name: "".join(linecache.getlines(name)) for name in names}
    return {name: text for name, text in texts.items() if text}

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import cloudpickle

from disco.error import DiscoError
from disco.job_files import add_modules, modules_of, zipped
from disco.payload import LOADER, Header, join_payload
from disco.sources import ModuleFiles
from disco.v1 import job_pb2
from disco.worker.hooks import overrides

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
    by_value = [module for module in modules_of(job, jobargs) if not _is_importable(module)]
    modules = modules or ModuleFiles()
    add_modules(modules, job, jobargs, required_modules)
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
    return _code(header, body, zipped(modules, required_files))


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
    return _code(header, b"", zipped(modules, required_files))


def _code(header: Header, body: bytes, modules_zip: bytes) -> job_pb2.JobCode:
    return job_pb2.JobCode(
        loader=LOADER, payload=join_payload(header, body), modules_zip=modules_zip
    )


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

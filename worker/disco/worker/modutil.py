"""Which modules functions need: what Disco's ``required_modules`` is filled with.

Jobs need none of this: modules that the job's own modules import travel with it, and installed ones
need not.
"""

import builtins
import dis
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from disco.error import DiscoError
from disco.sources import OURS, ModuleFiles, is_below_installed

Module = str | tuple[str, str]
"""A module by its name, or as (name, path of its file), as ``required_modules`` takes them."""


class ModUtilImportError(DiscoError, ImportError):
    """A function uses a module that cannot be found.

    Attributes:
        error: What was raised when it was looked for.
        function: That uses it.
    """

    def __init__(self, error: object, function: Callable[..., Any]) -> None:
        super().__init__(error, function)
        self.error = error
        self.function = function

    def __str__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function))
        return f"{self.error}: {name} uses a module that is not here; name it in required_modules"


def user_paths() -> set[str]:
    """Return the directories that the user added to where modules are looked for."""
    return {str(Path(place).resolve()) for place in sys.path if not is_below_installed(Path(place))}


def parse_function(function: Callable[..., Any]) -> list[str]:
    """Return the names of the modules that *function* uses, imported in it, outside of it or not.

    One that nobody has imported is seen where an attribute of it is used: ``random.choice``.
    """
    code = _code_of(function)
    scope = _scope_of(function)
    found = dict.fromkeys(unimported(function))
    for part in _parts_of(code) if code else ():
        for step in dis.get_instructions(part):
            if step.opname == "IMPORT_NAME":
                found[str(step.argval)] = None
            elif step.opname == "LOAD_GLOBAL" and isinstance(scope.get(step.argval), ModuleType):
                found[scope[step.argval].__name__] = None
    return list(found)


def unimported(function: Callable[..., Any]) -> list[str]:
    """Return the names of modules that *function* uses although nobody has imported them.

    Disco's workers import those for it.
    """
    code = _code_of(function)
    scope = _scope_of(function)
    found: dict[str, None] = {}
    for part in _parts_of(code) if code else ():
        for step, after in pairwise(dis.get_instructions(part)):
            name = step.argval
            if (
                step.opname == "LOAD_GLOBAL"
                and after.opname in ("LOAD_ATTR", "LOAD_METHOD")
                and name not in scope
                and not hasattr(builtins, name)
                and _is_there(name)
            ):
                found[name] = None
    return list(found)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:  # one that has been made at run time
        return False


def _code_of(function: Any) -> CodeType | None:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__code__", None)  # callable objects have none


def _scope_of(function: Any) -> Mapping[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__globals__", {})


def _parts_of(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function, and of those that are defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts_of(constant)


def recurse_module(module: str, path: str) -> dict[str, str]:
    """Return the file of each module that travels because *module*, at *path*, imports it."""
    files = ModuleFiles()
    files.add_script(Path(path).resolve())
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): str(file)
        for name, file in files.files.items()
        if file != Path(path).resolve()
    }


def locate_modules(
    modules: Iterable[str], recurse: bool = True, include_sys: bool = False
) -> list[tuple[str, str | None]]:
    """Return (name, path) of the modules that are the user's own.

    Args:
        modules: Names.
        recurse: Also of what they import.
        include_sys: Also (name, None) of those that are installed.

    Raises:
        ImportError: There is no such module.
    """
    found: dict[str, str | None] = {}
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ImportError(f"no module named {name!r}")
        path = spec.origin
        if name.partition(".")[0] in OURS:
            continue  # every worker has them
        if path is not None and os.path.isfile(path) and not is_below_installed(Path(path)):
            found[name] = path
            if recurse:
                found.update(recurse_module(name, path))
        elif include_sys:
            found[name] = None
    return list(found.items())


def find_modules(
    functions: Iterable[Callable[..., Any]],
    send_modules: bool = True,
    job_path: str | None = None,
    recurse: bool = True,
    exclude: Collection[str] = (),
) -> list[Module]:
    """Return what ``required_modules`` may be for *functions*.

    Args:
        functions: Of a job.
        send_modules: Give the user's own modules with their path, so that they travel.
        job_path: File of the job's own module, which travels anyway.
        recurse: Also what those modules import.
        exclude: Names to leave out.

    Raises:
        ModUtilImportError: A module is not there.
    """
    found: dict[Module, None] = {}
    for function in functions:
        names = [name for name in parse_function(function) if name not in exclude]
        try:
            located = locate_modules(names, recurse, include_sys=True) if send_modules else []
        except ImportError as error:
            raise ModUtilImportError(error, function) from error
        for name in names if not send_modules else ():
            found[name] = None
        for name, path in located:
            if path is None:
                found[name] = None
            elif job_path is None or not os.path.samefile(path, job_path):
                found[name, path] = None
    return list(found)

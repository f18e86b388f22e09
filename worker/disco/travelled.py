"""Makes code that travelled to a worker look, in tracebacks, as it does in the author's editor.

Names of files are those on the author's machine, and source lines are shown although the files may
not exist here.
"""

import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import decode_source, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType

from disco.error import DiscoError


def show_sources(sources: Mapping[str, str]) -> None:
    """Let tracebacks show lines of these texts, by file name, whatever the disk has."""
    for name, text in sources.items():
        # Without a time of change, linecache never looks whether the file has changed.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)


def set_environment(variables: Mapping[str, str]) -> None:
    """Set environment variables; modules are found in the places that PYTHONPATH names, too.

    Those are below the directory that the modules were extracted to, unless they are absolute.
    """
    os.environ.update(variables)
    places = [place for place in variables.get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.path[1:1] = [os.path.join(sys.path[0], place) for place in places]


def use_original_names(files: Mapping[str, str]) -> None:
    """Give modules that travelled the file names they have on the author's machine.

    Args:
        files: Those names, by name below the directory that the modules were extracted to.
    """
    _originals.update(files)
    if files and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def import_script(name: str) -> ModuleType:
    """Run the script *name*, one of the files that travelled, as a module of its own.

    Raises:
        DiscoError: It did not travel.
    """
    path = next((path for place in sys.path if (path := Path(place, name)).is_file()), None)
    if path is None:
        raise DiscoError(f"there is no {name} among the job's files")
    # A script may be called like a module that has been imported here before.
    module_name = path.stem if path.stem not in sys.modules else f"_disco_job_{path.stem}"
    loader = _Loader(module_name, str(path), _originals.get(name, str(path)))
    spec = spec_from_file_location(module_name, path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[module_name] = module
    loader.exec_module(module)
    return module


_originals: dict[str, str] = {}


class _Finder:
    """Finds what ``sys.path`` has, and gives modules that travelled a loader of ours."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        stem = fullname.replace(".", "/")
        for name in (f"{stem}/__init__.py", f"{stem}.py"):
            if name in _originals:
                break
        else:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and spec.origin.endswith(name):
            spec.loader = _Loader(fullname, spec.origin, _originals[name])
        return spec


class _Loader(SourceFileLoader):
    """Compiles a file under the name it has elsewhere."""

    def __init__(self, fullname: str, path: str, original: str) -> None:
        super().__init__(fullname, path)
        self._original = original

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        show_sources({self._original: decode_source(source)})
        code: CodeType = compile(source, self._original, "exec", dont_inherit=True)
        return code


_finder = _Finder()

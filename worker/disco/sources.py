"""Finds the Python files that must travel with a job: the modules beside its script.

Files are read, never imported, except for those that the author's process has imported itself.
"""

import ast
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

from disco.ignoring import IgnoreFiles

_SECRETS = (
    ".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keytab",
    "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", ".pgpass", ".git-credentials",
    "credentials", "credentials.*", "kubeconfig", ".kubeconfig",
)  # fmt: skip


OURS = ("disco", "disco_engine", "disco_gateway", "disco_operator")  # every worker has them


def looks_secret(name: str) -> bool:
    """Return whether a file of this name would usually hold a password or a key."""
    return any(fnmatch(name.lower(), pattern) for pattern in _SECRETS)


def is_installed(module: ModuleType) -> bool:
    """Return whether *module* comes with Python or from an installed package."""
    if module.__name__ == "__main__":
        return False
    if module.__name__.partition(".")[0] in OURS:
        return True
    file = getattr(module, "__file__", None)
    return module.__name__ in sys.builtin_module_names or (
        file is not None and is_below_installed(Path(file))
    )


class ModuleFiles:
    """The files that travel, by the name they have below the root of the modules.

    Args:
        allow_secrets: Names of files that travel although they look like secrets.

    Attributes:
        files: Path by name, such as ``package/module.py``.
        ignored: Files that an ignore file excludes, although the job imports them.
        secrets: Files that look like secrets, and so do not travel, although the job imports them.
    """

    def __init__(self, *, allow_secrets: Iterable[str] = ()) -> None:
        self.files: dict[str, Path] = {}
        self.ignored: list[Path] = []
        self.secrets: list[Path] = []
        self._allowed = frozenset(allow_secrets)
        self._ignore_files = IgnoreFiles()

    def may_travel(self, name: str) -> bool:
        """Return whether a file of this name may travel: it looks like no secret, or is allowed."""
        return name in self._allowed or not looks_secret(name)

    def excludes(self, path: Path) -> bool:
        """Return whether the ignore file beside *path* excludes it."""
        return self._ignore_files.exclude(path.parent, path.name)

    def origins(self) -> dict[str, str]:
        """Return where each file comes from, for tracebacks."""
        return {name: str(path) for name, path in self.files.items()}

    def add_loaded(self, module: ModuleType) -> None:
        """Add what *module* imports from beside it, and itself unless it is ``__main__``."""
        if is_installed(module):
            return
        spec = getattr(module, "__spec__", None)
        name = spec.name if spec is not None and module.__name__ == "__main__" else module.__name__
        file = getattr(module, "__file__", None)
        if file is None:
            self._add_notebook(Path.cwd())
        elif name == "__main__":
            path = Path(file).resolve()
            self._walk(path.parent, path, "")
        else:
            root = Path(file).resolve().parent
            depth = name.count(".") + (Path(file).name == "__init__.py")
            for _ in range(depth):
                root = root.parent
            self.add_from(root, name)

    def add_script(self, path: Path) -> None:
        """Add a script and what it imports from beside it."""
        self.files[path.name] = path
        self._walk(path.parent, path, "")

    def add_named(self, modules: Iterable[Any]) -> None:
        """Add modules by name, or as (name, path), found through ``sys.path``.

        Those that are installed stay where they are.
        """
        for entry in modules:
            if isinstance(entry, str):
                for directory in sys.path:
                    if self.add_from(Path(directory or ".").resolve(), entry):
                        break
            else:
                name, path = entry
                self._add_as(f"{name.replace('.', '/')}.py", Path(path).resolve())

    def add_from(self, root: Path, dotted: str) -> bool:
        """Add the module *dotted*, if it is a file or package below *root*, and its imports.

        Returns:
            Whether it is there.
        """
        if dotted.partition(".")[0] in OURS or is_below_installed(root):
            return False
        place = root
        found = False
        for part in dotted.split("."):
            package = place / part / "__init__.py"
            if package.is_file():
                self._add_tree(root, package.parent)
                found = True
            elif (place / f"{part}.py").is_file():
                self._add(root, place / f"{part}.py")
                return True
            elif not (place / part).is_dir():
                return found
            place = place / part
        return found

    def _add_tree(self, root: Path, package: Path) -> None:
        for path in sorted(package.rglob("*.py")):
            inside = path.relative_to(package).parts
            if not any(part.startswith(".") or part == "__pycache__" for part in inside):
                self._add(root, path)

    def _add_as(self, name: str, path: Path) -> None:
        if self.may_travel(path.name):
            self.files[name] = path
        else:
            self.secrets.append(path)

    def _add(self, root: Path, path: Path) -> None:
        name = path.relative_to(root).as_posix()
        if name not in self.files and not is_below_installed(path):
            if self._ignore_files.exclude(root, name):
                self.ignored.append(path)
                return
            if not self.may_travel(path.name):
                self.secrets.append(path)
                return
            self.files[name] = path
            package = name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
            if path.name != "__init__.py":
                package = package.rpartition(".")[0]
            self._walk(root, path, package)

    def _walk(self, root: Path, path: Path, package: str) -> None:
        for name in _imports(path, package):
            self.add_from(root, name)

    def _add_notebook(self, directory: Path) -> None:
        """Add what a session without a file has imported from its directory."""
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None)
            if file and Path(file).is_relative_to(directory) and not is_installed(module):
                self.add_loaded(module)


def _imports(path: Path, package: str) -> Iterator[str]:
    """Yield the absolute names of everything that the file at *path* may import."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # importing it will fail, and say where
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".") if package else []
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)


def is_below_installed(path: Path) -> bool:
    """Return whether *path* is where Python or its package installers keep modules."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(directory) for directory in _STANDARD)


_STANDARD = tuple(
    Path(place).resolve()
    for place in (
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        *site.getsitepackages(),
        site.getusersitepackages(),
    )
)

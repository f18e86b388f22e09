"""The old name of ``disco.worker.modutil``."""

from disco.worker.modutil import (
    ModUtilImportError,
    find_modules,
    locate_modules,
    parse_function,
    recurse_module,
    user_paths,
)

__all__ = [
    "ModUtilImportError",
    "find_modules",
    "locate_modules",
    "parse_function",
    "recurse_module",
    "user_paths",
]

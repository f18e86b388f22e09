"""Lets this process decode whatever JSON an API server accepts."""

import json
import resource
import sys
from json import scanner
from typing import Any

_STACK_BYTES = 120 * 1024 * 1024
_RECURSION_LIMIT = 50_000


def bear_deep_json() -> None:
    """Let JSON be decoded that is nested as deep as an API server accepts: 10,000 levels.

    Python gives up at 1,000, and one DiscoJob with such params would end every replica, whoever
    made it. Decoding goes down the C stack, too, which is 8 MiB unless somebody asks for more; more
    than 128 MiB would need a new process. From Python 3.12 on, C code has a limit of its own that
    nobody can raise; what goes beyond it is decoded by the same library's code in Python.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
    sys.setrecursionlimit(_RECURSION_LIMIT)
    decoder: Any = json._default_decoder  # type: ignore[attr-defined]  # that of json.loads
    in_c, in_python = decoder.scan_once, scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]

    def scan_once(text: str, start: int) -> tuple[Any, int]:
        try:
            found: tuple[Any, int] = in_c(text, start)
        except RecursionError:
            found = in_python(text, start)
        return found

    decoder.scan_once = scan_once

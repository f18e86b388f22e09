"""Lets this process decode whatever JSON an API server accepts."""

import resource
import sys

_STACK_BYTES = 120 * 1024 * 1024
_RECURSION_LIMIT = 50_000


def bear_deep_json() -> None:
    """Let JSON be decoded that is nested as deep as an API server accepts: 10,000 levels.

    Python gives up at 1,000, and one DiscoJob with such params would end every replica, whoever
    made it. Decoding goes down the C stack, too, which is 8 MiB unless somebody asks for more; more
    than 128 MiB would need a new process.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = _STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
    sys.setrecursionlimit(_RECURSION_LIMIT)

"""Limits of this process."""

import os
import resource

from disco.error import DiscoError


def available_memory() -> int:
    """Return how many bytes of memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def set_mem_limit(mem: str) -> None:
    """Limit the address space of this process, as jobs do with their parameter ``memory``.

    Args:
        mem: "80%" of the machine's memory, or a number of bytes; empty: no limit.

    Raises:
        DiscoError: It is neither.
    """
    if not mem:
        return
    share = mem.endswith("%")
    try:
        limit = int(float(mem[:-1]) / 100 * available_memory()) if share else int(mem)
    except ValueError:
        raise DiscoError(f"a limit of memory is '80%' or a number of bytes, not {mem!r}") from None
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))

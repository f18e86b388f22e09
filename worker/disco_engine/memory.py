"""Make the C allocator keep what it was given back, for processes that pass large messages on."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 64 * 1024 * 1024
_LARGEST_BYTES = 32 * 1024 * 1024  # the most that glibc accepts


def keep_freed_memory() -> None:
    """Reuse freed megabytes instead of returning each of them to the operating system.

    By default glibc gets every large buffer as fresh pages, which the kernel must clear first: of
    the time to pass 1 GiB on over gRPC in messages of 1 MiB that was two thirds (2.2 s of CPU
    instead of 0.4 s to send, 1.2 s instead of 0.4 s to receive). The price is up to 64 MiB that
    are free and not returned. Without glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)

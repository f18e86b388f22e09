"""Knows whether a module is being imported for the sake of a job in it, and nothing else.

Workers import the modules of a job, and so does the command line. A job that such a module runs by
itself would be run by each of them, whose workers would run it again, and so on without an end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from disco.error import DiscoError

_imports = 0


@contextmanager
def importing_a_job() -> Iterator[None]:
    """Let ``refuse_while_importing`` refuse in the block."""
    global _imports
    _imports += 1
    try:
        yield
    finally:
        _imports -= 1


def refuse_while_importing(job: str) -> None:
    """Raise if the module that runs a job is imported by those who are to run it.

    Args:
        job: What the job is called.

    Raises:
        DiscoError: It is.
    """
    if _imports:
        raise DiscoError(
            f"the job {job} would be run again by each worker, which imports the module that runs"
            ' it: write if __name__ == "__main__": above what runs jobs'
        )

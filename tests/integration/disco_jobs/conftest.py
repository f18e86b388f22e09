"""Jobs of Disco's names on real engines of this process, which are gone after each module."""

from collections.abc import Iterator

import pytest

from disco import session


@pytest.fixture(autouse=True, scope="module")
def _purged() -> Iterator[None]:
    """Let go of all results."""
    yield
    for run in session.all_runs():
        session.remove(run.name)

"""A job that travels to the cluster from here, with as much ballast as a test wants."""

from collections.abc import Iterator
from typing import Any

from disco import Job


class Doubled(Job):
    """Doubles numbers, and tells how much ballast came along."""

    partitions = 1

    @staticmethod
    def map(line: bytes, params: Any) -> Iterator[tuple[int, int]]:
        """Yield a number's double, and the size of the ballast."""
        yield int(line) * 2, len(params.ballast)

    @staticmethod
    def reduce(pairs: Iterator[tuple[int, int]], params: Any) -> Iterator[tuple[int, int]]:
        """Return the pairs."""
        return pairs

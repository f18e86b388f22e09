"""How long attempts at the tasks of one stage usually take, and how fast they read.

Nothing here grows with the number of tasks: durations go into buckets, each 5 % wide, so that a
median is known to 2.5 % from some hundred numbers at most, whether a stage has ten tasks or a
million.
"""

import math
from collections import Counter

_GROWTH = 1.05
_LEAST_S = 0.001
"""Durations below it are all alike."""


class Yardstick:
    """What other attempts of a stage are measured by.

    Attributes:
        count: How many attempts have finished.

    Source:
        Buckets of equal ratio: DDSketch, Masson, Rim and Lee, PVLDB 12 (2019).
    """

    def __init__(self) -> None:
        self.count = 0
        self._buckets: Counter[int] = Counter()
        self._seconds = 0.0
        self._records = 0

    @property
    def records_per_s(self) -> float:
        """Records that they read in a second, on average; 0.0: none has told of any."""
        return self._records / self._seconds if self._seconds > 0.0 else 0.0

    @property
    def records_each(self) -> float:
        """Records that one of them has read, on average; 0.0: none has told of any."""
        return self._records / self.count if self.count else 0.0

    def add(self, seconds: float, records: int) -> None:
        """Take note that an attempt has finished.

        Args:
            seconds: How long it took.
            records: How many it has read.
        """
        self.count += 1
        self._seconds += seconds
        self._records += records
        self._buckets[round(math.log(max(seconds, _LEAST_S), _GROWTH))] += 1

    def median_s(self) -> float | None:
        """Return how long half of them took at most; None: none has finished."""
        left = (self.count + 1) // 2
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return float(_GROWTH**bucket)
        return None

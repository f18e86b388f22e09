"""Counts, over the headers in a stage's log, what each attempt wrote."""

from collections import defaultdict

from disco_engine.core.model import AttemptId, Totals
from disco_engine.partition.segment import BlockHeader


class Tally:
    """How much of one stage was found of each attempt."""

    def __init__(self) -> None:
        # Lists of plain numbers under plain keys: there are millions of blocks, and few attempts.
        self._sums = defaultdict[tuple[int, int, int], list[int]](lambda: [0, 0, 0])

    def add(self, header: BlockHeader) -> None:
        """Count the block that *header* stands before."""
        task, epoch, attempt, _, records, length = header
        sums = self._sums[task, epoch, attempt]
        sums[0] += 1
        sums[1] += records
        sums[2] += length

    def of(self, stage: int) -> dict[AttemptId, Totals]:
        """Return what was counted, by attempt, of the stage whose number is *stage*."""
        return {AttemptId(stage, *key): Totals(*sums) for key, sums in self._sums.items()}

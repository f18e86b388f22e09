"""What to do when a reader does not find all that is sealed: find out whose blocks are missing.

Exactly those attempts are dropped. The coordinator sees that when it attaches again, and has them
made again; the reader's task is run again too.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence

from disco.v1 import partition_pb2
from disco_engine import wire
from disco_engine.core import label_table
from disco_engine.core.ledger import AttemptState
from disco_engine.core.model import NOTHING, AttemptId, Layout, Totals
from disco_engine.partition.lanes import Span
from disco_engine.partition.reader import Selection
from disco_engine.partition.space import DiskFullError
from disco_engine.partition.stage import Stage, sum_of
from disco_engine.partition.store import Store
from disco_engine.partition.tally import Tally

_log = logging.getLogger(__name__)


async def drop_damaged(store: Store, selection: Selection) -> list[AttemptId]:
    """Drop the sealed attempts of which *selection* lacks blocks, and return them."""
    stage = store.stages.get(selection.stage)
    if stage is None:
        return []
    lanes = [stage.lanes[key] for key in selection.keys if key in stage.lanes]
    spans = [span for lane in lanes for span in lane.spans(0)]
    sealed = store.journal.sealed()  # with the spans, as of this moment
    if stage.log is None:
        found = _found(stage, spans)
    else:
        with stage.log.in_use():
            found = await asyncio.to_thread(_found, stage, spans)
    expected = await asyncio.to_thread(_expected, selection, sealed)
    damaged = [
        attempt
        for attempt, totals in expected.items()
        if found.get(attempt, NOTHING) != totals
        and store.ledger.state(attempt) is AttemptState.SEALED
    ]
    for attempt in damaged:
        _log.error(
            "a sealed attempt is damaged on disk",
            extra={
                "attempt": str(attempt),
                "found": str(found.get(attempt, NOTHING)),
                "expected": str(expected[attempt]),
            },
        )
    try:
        await store.drop(damaged)
    except DiskFullError as error:  # they are dropped, and found again if this process is killed
        _log.warning("the loss is not on disk yet", extra={"error": str(error)})
    return damaged


def _found(stage: Stage, spans: Sequence[Span]) -> dict[AttemptId, Totals]:
    """Count what each attempt has in *spans*, passing over what is damaged."""
    tally = Tally()
    log_end = stage.log.size_on_disk() if stage.log is not None else 0
    for span in spans:
        for block in span.blocks(stage.log):
            if span.data is not None or block.end <= log_end:
                tally.add(block.header)
    return tally.of(stage.number)


def _expected(
    selection: Selection, sealed: Iterable[partition_pb2.SealedAttempt]
) -> dict[AttemptId, Totals]:
    """Return what each attempt should have in the selected lanes."""
    keys: Collection[int] = frozenset(selection.keys)
    expected = {}
    for message in sealed:
        if message.attempt.stage != selection.stage:
            continue
        table = message.label_table
        if selection.by is Layout.BY_LABEL:
            rows = label_table.rows(table)
            totals = sum_of(Totals(*counts) for label, *counts in rows if label in keys)
        elif message.attempt.task in keys:
            totals = label_table.total(table)
        else:
            continue
        expected[wire.attempt_from_wire(message.attempt)] = totals
    return expected

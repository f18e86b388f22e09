"""Copies of other services' outputs in a partition service, over a real socket in this process."""

from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.integration.partition_service import (
    DISCARDED,
    SEALED,
    A,
    B,
    C,
    Client,
    attempt,
    discard,
    seal,
    serving,
    totals,
)

from disco.v1 import partition_pb2
from disco_engine import wire
from disco_engine.core.model import AttemptId, Layout, Totals

KEPT = partition_pb2.DECISION_RESULT_KEPT


def keep(who: AttemptId, expected: Totals) -> partition_pb2.Decision:
    decision = seal(who, expected)
    decision.seal.copy = True
    return decision


async def told(client: Client, epoch: int = 1) -> tuple[list[int], list[int]]:
    """Return the tasks of what the service says is sealed, and of its copies."""
    replies = await client.attach(epoch)
    sealed = [one.attempt.task for reply in replies for one in reply.sealed]
    return sealed, [one.attempt.task for reply in replies for one in reply.copies]


@pytest.mark.parametrize("layout", list(Layout))
async def test_a_copy_is_read_when_it_has_been_sealed_and_not_before(
    tmp_path: Path, layout: Layout
) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, layout=layout)
        await client.write(attempt(1), B, C, layout=layout)
        assert await client.decide(keep(attempt(1), totals([B, C]))) == [KEPT]
        assert await told(client) == ([0], [1])
        by_label = layout is Layout.BY_LABEL
        if by_label:
            assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
        assert await client.seal(attempt(1), totals([B, C])) == SEALED
        assert await told(client) == ([0, 1], [])
        found, total = await client.fetch(0) if by_label else await client.fetch(tasks=[1])
        assert total == totals([A, C]) if by_label else totals([B, C])
        assert (attempt(1), C) in found


async def test_what_is_kept_and_sealed_in_one_call_is_sealed(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        whole = totals([A])
        decisions = keep(attempt(0), whole), seal(attempt(0), whole), keep(attempt(0), whole)
        assert await client.decide(*decisions) == [KEPT, SEALED, SEALED]
        assert await client.fetch(0) == ([(attempt(0), A)], whole)


async def test_copies_outlive_the_process_and_its_coordinator(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        for task, block in enumerate((A, B, C)):
            await client.write(attempt(task), block)
            assert await client.decide(keep(attempt(task), totals([block]))) == [KEPT]
        assert await client.decide(discard(attempt(1))) == [DISCARDED]
        assert await client.seal(attempt(2), totals([C])) == SEALED
    for _ in range(2):  # what is sealed then, is so in the next process, too
        async with serving(tmp_path, attach=False) as client:
            assert await told(client, epoch=2) in (([2], [0]), ([2, 0], []))
            assert await client.seal(attempt(0), totals([A]), epoch=2) == SEALED
            assert (await client.fetch(0))[1] == totals([A, C])


async def test_who_reads_results_is_told_of_copies_only_if_he_asks(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        await client.decide(keep(attempt(0), totals([A])))
        replies = await client.attach(0, tell_sealed=True)
        assert not any(reply.sealed or reply.copies for reply in replies)
        replies = await client.attach(0, tell_sealed=True, tell_copies=True)
        assert [one.attempt.task for reply in replies for one in reply.copies] == [0]


async def test_copies_are_read_unsealed_by_who_asks_for_them(tmp_path: Path) -> None:
    """Of two at a task the newest, and nothing of what is sealed."""
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, layout=Layout.BY_TASK)
        for number, blocks in ((1, [A]), (2, [B, C])):
            await client.write(attempt(1, number), *blocks, layout=Layout.BY_TASK)
            assert await client.decide(keep(attempt(1, number), totals(blocks))) == [KEPT]
    for _ in range(2):  # also in another process
        async with serving(tmp_path) as client:
            newest = attempt(1, 2)
            assert await client.fetch(tasks=[1], copies=True) == (
                [(newest, B), (newest, C)],
                totals([B, C]),
            )
            assert await client.fetch(B[0], tasks=[1], copies=True) == ([(newest, B)], totals([B]))
            assert await told(client) == ([0], [1, 1])  # nothing has changed
            for tasks in ([0], [0, 1]):
                with pytest.raises(grpc.aio.AioRpcError, match="there is no copy here"):
                    await client.fetch(tasks=tasks, copies=True)
            with pytest.raises(grpc.aio.AioRpcError, match="is not sealed here"):
                await client.fetch(tasks=[1])
            with pytest.raises(grpc.aio.AioRpcError, match="laid out by task"):
                await client.fetch(0, copies=True)


async def test_a_damaged_copy_is_never_a_short_result(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A, B, layout=Layout.BY_TASK)
        await client.decide(keep(attempt(0), totals([A, B])))
    async with serving(tmp_path) as client:
        path = tmp_path / "stage-1.by-task.log"
        with path.open("r+b") as log:
            log.truncate(path.stat().st_size - 1)
        with pytest.raises(grpc.aio.AioRpcError, match="a copy is damaged") as caught:
            await client.fetch(tasks=[0], copies=True)
        assert caught.value.code() is grpc.StatusCode.DATA_LOSS


async def test_a_copy_whose_blocks_are_gone_is_not_believed_by_a_new_process(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(0), A)
        await client.decide(keep(attempt(0), totals([A])))
    path = tmp_path / "stage-1.by-label.log"
    with path.open("r+b") as log:
        log.truncate(path.stat().st_size - 1)
    for _ in range(2):
        async with serving(tmp_path) as client:
            assert await told(client) == ([], [])
            assert await client.seal(attempt(0), totals([A])) == DISCARDED


async def test_a_copy_says_what_its_seal_will_say(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write(attempt(3), A)
        decision = keep(attempt(3), totals([A]))
        decision.seal.output_file = "part"
        value = decision.seal.values.add()
        value.key, value.value = "a", b"b"
        await client.decide(decision)
        replies = await client.attach()
        (copy,) = [wire.sealed_from_wire(one) for reply in replies for one in reply.copies]
        assert (copy.id, copy.output_file, copy.values) == (attempt(3), "part", (("a", b"b"),))

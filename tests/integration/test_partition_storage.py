"""What a partition service keeps in memory and on disk, and what a new process finds of it."""

import asyncio
import os
from pathlib import Path

import grpc
import grpc.aio
import pytest
from tests.integration.partition_service import (
    COMPLETE,
    DISCARDED,
    DISK_FULL,
    JOB,
    REFUSED,
    SEALED,
    UNKNOWN,
    A,
    B,
    C,
    attempt,
    output,
    serving,
    status_of,
    totals,
)

from disco.v1 import partition_pb2
from disco_engine import wire
from disco_engine.core.model import NOTHING, Layout, Totals
from disco_engine.partition.store import Limits

# --- bounds -----------------------------------------------------------------------------------


async def test_a_pusher_waits_while_the_memory_is_full(tmp_path: Path) -> None:
    first = output(attempt(0), (0, 1, bytes(1000)))
    second = output(attempt(1), (0, 1, bytes(1000)), complete=Totals(1, 1, 1000))
    async with serving(tmp_path, Limits(memory_bytes=1500)) as client, asyncio.TaskGroup() as tasks:
        await client.store.writer.idle.acquire()  # nothing reaches the disk meanwhile
        await client.push(first)
        pushing = tasks.create_task(client.push(second))
        done, _ = await asyncio.wait([pushing], timeout=0.1)
        assert not done
        assert client.store.budget.used == 1044
        client.store.writer.idle.release()
        assert await pushing == [(attempt(1), COMPLETE, "")]


async def test_pushes_are_refused_above_the_watermark_and_what_was_accepted_stays(
    tmp_path: Path,
) -> None:
    limits = Limits(storage_bytes=20_000, high_watermark=0.5)
    frame = bytes(4000)
    async with serving(tmp_path, limits) as client:
        await client.write_and_seal(attempt(0), (0, 1, frame))
        await client.write(attempt(1), (0, 1, frame))
        (refused, other) = await client.push(
            output(attempt(2), (0, 1, frame)),
            output(attempt(2), (0, 1, frame), complete=Totals(2, 2, 8000)),
            output(attempt(3), complete=NOTHING),
        )
        who, status, message = refused
        assert (who, status) == (attempt(2), DISK_FULL)
        assert str(tmp_path) in message
        assert "of 20,000 bytes" in message
        assert other == (attempt(3), COMPLETE, "")  # it needs no room
        stat = await client.stub.Stat(partition_pb2.StatRequest(), metadata=client.metadata)
        assert stat.disk_limit_bytes == 20_000
        assert stat.full  # although a smaller push may still find room
        assert f"{tmp_path} has " in stat.full_reason
        assert await client.seal(attempt(1), Totals(1, 1, 4000)) == SEALED
        await client.store.writer.commit()
        found, total = await client.fetch(0)
        assert [who.task for who, _ in found] == [0, 1]
        assert total == Totals(2, 2, 8000)


async def test_5000_tiny_blocks_of_500_labels_make_one_file_and_few_extents(tmp_path: Path) -> None:
    labels, tasks = 500, 10
    limits = Limits(memory_bytes=100_000)
    async with serving(tmp_path, limits) as client:
        for task in range(tasks):
            blocks = [(label, 1, b"%d of %d" % (label, task)) for label in range(labels)]
            await client.write_and_seal(attempt(task), *blocks)
        await client.store.writer.commit()
        assert sorted(os.listdir(tmp_path)) == ["journal", "stage-1.by-label.log"]
        for label in (0, 250, 499):
            found, _ = await client.fetch(label)
            assert [spec for _, spec in found] == [
                (label, 1, b"%d of %d" % (label, task)) for task in range(tasks)
            ]


# --- dropping ---------------------------------------------------------------------------------


async def test_dropped_attempts_are_gone_and_their_numbers_are_never_accepted_again(
    tmp_path: Path,
) -> None:
    request = partition_pb2.DropRequest(
        job_uid=JOB, epoch=1, attempts=[wire.attempt_to_wire(attempt(0))]
    )
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, B)
        await client.write_and_seal(attempt(1), C)
        await client.stub.Drop(request, metadata=client.metadata)
        assert await client.fetch(0) == ([(attempt(1), C)], totals([C]))
        ((_, status, _),) = await client.push(output(attempt(0), A, complete=totals([A])))
        assert status == REFUSED
    async with serving(tmp_path) as client:
        assert await client.fetch(0) == ([(attempt(1), C)], totals([C]))
        assert await client.fetch(1) == ([], NOTHING)


async def test_after_dropping_everything_files_are_gone_and_nothing_is_accepted(
    tmp_path: Path,
) -> None:
    request = partition_pb2.DropRequest(job_uid=JOB, epoch=1, all=True)
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        await client.store.writer.commit()
        await client.write(attempt(1), A)
        await client.stub.Drop(request, metadata=client.metadata)
        assert os.listdir(tmp_path) == ["journal"]
        assert client.store.budget.used == 0
    for _ in range(2):
        async with serving(tmp_path) as client:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await client.fetch(0)
            assert status_of(error)[0] is grpc.StatusCode.NOT_FOUND
            ((_, status, _),) = await client.push(output(attempt(2), A))
            assert status == REFUSED


# --- damage -----------------------------------------------------------------------------------


async def test_a_flipped_byte_in_a_header_costs_exactly_the_attempt_it_belongs_to(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as client:
        for task, block in enumerate((A, C, (0, 2, b"third"))):
            await client.write_and_seal(attempt(task), block)
        await client.store.writer.commit()
        with (tmp_path / "stage-1.by-label.log").open("r+b") as log:
            log.seek(44 + len(A[2]) + 30)  # in the second block's header
            log.write(b"\xff")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(0)
        code, message = status_of(error)
        assert code is grpc.StatusCode.DATA_LOSS
        assert str(attempt(1)) in message
        assert str(attempt(0)) not in message
        _, reply = await client.attach()
        assert [s.attempt.task for s in reply.sealed] == [0, 2]
        await client.write_and_seal(attempt(1, 2), C)
        found, total = await client.fetch(0)
        assert [who.task for who, _ in found] == [0, 2, 1]
        assert total.blocks == 3


async def test_a_log_that_lost_its_end_costs_the_attempts_that_were_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, layout=Layout.BY_TASK)
        await client.write_and_seal(attempt(1), C, layout=Layout.BY_TASK)
        await client.store.writer.commit()
        path = tmp_path / "stage-1.by-task.log"
        with path.open("r+b") as log:
            log.truncate(path.stat().st_size - 1)
        assert (await client.fetch(tasks=[0]))[1] == totals([A])
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.fetch(tasks=[0, 1])
        code, message = status_of(error)
        assert code is grpc.StatusCode.DATA_LOSS
        assert str(attempt(1)) in message
        assert (await client.fetch(tasks=[0]))[1] == totals([A])


# --- a new process ----------------------------------------------------------------------------


async def test_a_new_process_goes_on_with_all_that_reached_the_disk(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A, B)
        await client.write_and_seal(attempt(0, stage=2), C, layout=Layout.BY_TASK)
        await client.seal(attempt(1), NOTHING)
        await client.write(attempt(2), A)
    async with serving(tmp_path, attach=False) as client:
        first, reply = await client.attach()
        assert first.state.epoch == 1
        assert [(s.attempt.stage, s.attempt.task) for s in reply.sealed] == [(1, 0), (2, 0), (1, 1)]
        assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
        assert (await client.fetch(tasks=[0], stage=2))[1] == totals([C])
        await client.write_and_seal(attempt(3), C)
        assert (await client.fetch(0))[1] == totals([A, C])


async def test_an_attempt_that_a_new_process_finds_in_part_is_never_accepted_again(
    tmp_path: Path,
) -> None:
    """Else blocks that are pushed again would be there twice."""
    async with serving(tmp_path) as client:
        await client.push(output(attempt(0), A))
    async with serving(tmp_path) as client:
        ((_, status, _),) = await client.push(output(attempt(0), A, complete=totals([A])))
        assert status == REFUSED


async def test_seals_that_did_not_reach_the_disk_are_forgotten_by_a_new_process(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, forget=True) as client:
        await client.write_and_seal(attempt(0), A)
        await client.store.writer.commit()
        async with client.store.writer.idle:
            await client.write_and_seal(attempt(1), C)
            client.store.writer.stop()
    async with serving(tmp_path) as client:
        assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
        assert await client.seal(attempt(1), totals([C])) == UNKNOWN


async def test_a_new_process_does_not_believe_a_seal_whose_blocks_are_gone(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        await client.write_and_seal(attempt(1), C)
    path = tmp_path / "stage-1.by-label.log"
    with path.open("r+b") as log:
        log.truncate(path.stat().st_size - 1)
    for _ in range(2):
        async with serving(tmp_path) as client:
            _, reply = await client.attach()
            assert [s.attempt.task for s in reply.sealed] == [0]
            assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
            assert await client.seal(attempt(1), totals([C])) == DISCARDED


async def test_a_torn_end_of_the_journal_costs_what_it_said(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.write_and_seal(attempt(0), A)
        await client.store.writer.commit()
        await client.write_and_seal(attempt(1), C)
    journal = tmp_path / "journal"
    with journal.open("r+b") as file:
        file.truncate(journal.stat().st_size - 3)
    for _ in range(2):
        async with serving(tmp_path) as client:
            assert await client.fetch(0) == ([(attempt(0), A)], totals([A]))
            assert await client.seal(attempt(1), totals([C])) == DISCARDED

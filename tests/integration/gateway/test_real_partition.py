"""Results out of real partition services, which are killed while they are read."""

import os
from pathlib import Path
from typing import Any

from disco.v1 import jobs_pb2, partition_pb2
from disco_engine import rpc
from disco_gateway.backend import Part, ResultSource
from disco_gateway.fake import FakeBackend

from ..test_partition_process import (  # noqa: TID252  (tests are in no package)
    COMPLETE,
    JOB,
    STAGE,
    TOKEN,
    attempt,
    running,
    totals,
)
from .conftest import ALICE, gateway_over

KEPT = partition_pb2.DECISION_RESULT_KEPT
FRAME_BYTES = 256 * 1024


async def test_a_service_that_is_killed_and_started_again_is_read_on(
    backend: FakeBackend, tmp_path: Path
) -> None:
    """25 MB in three parts, over two incarnations: nothing is lost, and nothing comes twice."""
    written = [[os.urandom(FRAME_BYTES) for _ in range(count)] for count in (20, 60, 20)]
    address = ""

    def connect(_: str) -> rpc.Line:
        return rpc.Line(channel=rpc.aio_channel(address), metadata=rpc.credentials_of(TOKEN))

    async with gateway_over(backend) as gateway:
        with running(tmp_path) as service:
            service.attach()
            # In another order than they are read in, and than they have in the next incarnation.
            for task in (2, 0, 1):
                service.write_and_seal(attempt(task), written[task])
            service.record_plan(b"the plan")  # returns when all that is on disk
            address = service.address
            backend.add("team", "count")
            parts = [Part("ps-0", STAGE, task, totals(written[task])) for task in range(3)]
            source = ResultSource(job_uid=JOB, parts=parts, connect=connect)
            backend.finish("team", "count", source=source)
            request = jobs_pb2.ResultsRequest(namespace="team", name="count")
            replies = aiter(gateway.stub.Results(request, metadata=ALICE))
            heard = [await anext(replies) for _ in range(7)]
            service.kill()
        with running(tmp_path) as again:
            address = again.address
            heard += [reply async for reply in replies]
    found: list[tuple[int, Any]] = [(b.part, b.frame) for reply in heard for b in reply.blocks]
    assert found == [(part, frame) for part, frames in enumerate(written) for frame in frames]
    assert heard[-1].total.bytes == 100 * FRAME_BYTES


async def test_copies_are_read_where_they_are(backend: FakeBackend, tmp_path: Path) -> None:
    """Part 1 was sealed by a service that is gone: its copy is between what is sealed here."""
    written = [[bytes([task]) * 1000] * 3 for task in range(3)]
    async with gateway_over(backend) as gateway:
        with running(tmp_path) as service:
            service.attach()
            for task in (0, 2):
                service.write_and_seal(attempt(task), written[task])
            assert service.push(attempt(1), written[1]).status == COMPLETE
            assert service.seal(attempt(1), written[1], copy=True) == KEPT

            def connect(_: str) -> rpc.Line:
                channel = rpc.aio_channel(service.address)
                return rpc.Line(channel=channel, metadata=rpc.credentials_of(TOKEN))

            backend.add("team", "count")
            parts = [
                Part("ps-0", STAGE, task, totals(written[task]), copy=task == 1)
                for task in range(3)
            ]
            source = ResultSource(job_uid=JOB, parts=parts, connect=connect)
            backend.finish("team", "count", source=source)
            request = jobs_pb2.ResultsRequest(namespace="team", name="count")
            heard = [reply async for reply in gateway.stub.Results(request, metadata=ALICE)]
    found = [(b.part, b.frame) for reply in heard for b in reply.blocks]
    assert found == [(part, frame) for part, frames in enumerate(written) for frame in frames]

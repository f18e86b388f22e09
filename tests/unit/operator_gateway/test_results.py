"""Where results are: from partition services themselves, and never less than the job wrote."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from disco.v1 import common_pb2, job_pb2, partition_pb2, partition_pb2_grpc
from disco_engine.core import label_table
from disco_engine.core.model import Totals
from disco_engine.rpc import Line, aio_channel, aio_server, credentials_of, listen
from disco_gateway.errors import NotPossibleError, UnavailableError

TOKEN = "t0ken"
PLAN = job_pb2.Plan(stages=[job_pb2.Stage(name="map"), job_pb2.Stage(name="reduce")])


def sealed(
    task: int, records: int, *, stage: int = 2, epoch: int = 1, attempt: int = 1
) -> partition_pb2.SealedAttempt:
    """Return an attempt that is sealed, with its records under two labels."""
    parts = [records // 2, records - records // 2] if records else []
    return partition_pb2.SealedAttempt(
        attempt=common_pb2.AttemptRef(stage=stage, task=task, epoch=epoch, attempt=attempt),
        label_table=label_table.pack(
            {label: Totals(1, part, 10 * part) for label, part in enumerate(parts)}
        ),
    )


class Service(partition_pb2_grpc.PartitionServicer):
    """A partition service that has what it is given."""

    def __init__(self, *has: partition_pb2.SealedAttempt) -> None:
        self.has = has
        self.copies: tuple[partition_pb2.SealedAttempt, ...] = ()
        self.asked: list[partition_pb2.AttachRequest] = []
        self.server = aio_server(TOKEN)
        partition_pb2_grpc.add_PartitionServicer_to_server(self, self.server)
        self.port = listen(self.server, "127.0.0.1", 0)

    def line(self) -> Line:
        return Line(channel=aio_channel(f"127.0.0.1:{self.port}"), metadata=credentials_of(TOKEN))

    async def Attach(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked.append(request)
        state = partition_pb2.ServiceState(epoch=1, plan=PLAN.SerializeToString())
        yield partition_pb2.AttachReply(state=state)
        for attempt in self.has:
            yield partition_pb2.AttachReply(sealed=[attempt])
        yield partition_pb2.AttachReply(copies=self.copies)


@pytest.fixture
async def has(world: Any) -> AsyncIterator[Any]:
    """Give a way to say what each partition service of job ns/j has."""
    async with AsyncExitStack() as stack:

        async def say(*services: tuple[partition_pb2.SealedAttempt, ...]) -> list[Service]:
            made = []
            for index, content in enumerate(services):
                service = Service(*content)  # type: ignore[abstract]  # the others are not called
                await service.server.start()
                stack.push_async_callback(service.server.stop, None)
                world.network.lines[f"j-ps-{index}.j-ps.ns.svc:7072"] = service.line
                made.append(service)
            return made

        yield say


def _succeeded(build: Any, services: int, parts: int, records: int, **results: Any) -> Any:
    body = build.discojob(
        phase="Succeeded",
        completionTime="2026-01-02T03:05:05Z",
        results={"parts": parts, "records": records, "stage": "reduce", **results},
    )
    body["spec"]["partitionService"] = {"replicas": services}
    return body


async def test_parts_are_found_in_order_wherever_they_are(world: Any, build: Any, has: Any) -> None:
    services = await has(
        (sealed(2, 5), sealed(0, 3), sealed(7, 100, stage=1)), (sealed(1, 4), sealed(3, 0))
    )
    world.api_server.put("discojobs", _succeeded(build, 2, 3, 12))
    job, source = await world.backend.results("ns", "j")
    assert [(part.service, part.task, part.totals) for part in source.parts] == [
        ("j-ps-0", 0, Totals(2, 3, 30)),
        ("j-ps-1", 1, Totals(2, 4, 40)),
        ("j-ps-0", 2, Totals(2, 5, 50)),
    ]
    assert source.job_uid == job.uid
    assert services[0].asked[0].epoch == 0  # nothing is fenced
    line = source.connect("j-ps-1")
    await line.channel.close()


async def test_of_two_attempts_at_a_task_the_newest_counts(
    world: Any, build: Any, has: Any
) -> None:
    """A service that was lost and came back may have what was made again elsewhere."""
    await has((sealed(0, 3), sealed(1, 9, epoch=2)), (sealed(0, 3, attempt=2), sealed(1, 9)))
    world.api_server.put("discojobs", _succeeded(build, 2, 2, 12))
    _, source = await world.backend.results("ns", "j")
    assert [part.service for part in source.parts] == ["j-ps-1", "j-ps-0"]


async def test_copies_take_the_place_of_what_was_lost_since(
    world: Any, build: Any, has: Any
) -> None:
    """The pod of j-ps-0 went with its node, and the new one has nothing; an old attempt is left."""
    empty, other = await has((), (sealed(1, 4), sealed(0, 3)))
    other.copies = (sealed(0, 3, attempt=2), sealed(2, 5), sealed(3, 100, stage=1))
    world.api_server.put("discojobs", _succeeded(build, 2, 3, 12))
    _, source = await world.backend.results("ns", "j")
    assert [(part.service, part.task, part.copy) for part in source.parts] == [
        ("j-ps-1", 0, True),
        ("j-ps-1", 1, False),
        ("j-ps-1", 2, True),
    ]
    assert empty.asked[0].tell_copies


async def test_copies_are_left_alone_while_all_is_there(world: Any, build: Any, has: Any) -> None:
    first, second = await has((sealed(0, 3),), (sealed(1, 4),))
    first.copies, second.copies = (sealed(1, 4), sealed(9, 1, epoch=2)), (sealed(0, 3),)
    world.api_server.put("discojobs", _succeeded(build, 2, 2, 7))
    _, source = await world.backend.results("ns", "j")
    assert [(part.service, part.copy) for part in source.parts] == [
        ("j-ps-0", False),
        ("j-ps-1", False),
    ]


@pytest.mark.parametrize(("parts", "records"), [(3, 12), (2, 8), (2, 6)])
async def test_less_or_more_than_the_job_wrote_is_not_given(
    world: Any, build: Any, has: Any, parts: int, records: int
) -> None:
    await has((sealed(0, 3), sealed(1, 4)))
    world.api_server.put("discojobs", _succeeded(build, 1, parts, records))
    with pytest.raises(NotPossibleError, match="are lost: its partition services have 7 records"):
        await world.backend.results("ns", "j")


async def test_a_job_without_records_has_none(world: Any, build: Any, has: Any) -> None:
    await has(())
    world.api_server.put("discojobs", _succeeded(build, 1, 0, 0))
    _, source = await world.backend.results("ns", "j")
    assert source.parts == ()


async def test_a_service_that_is_away_may_come_back(world: Any, build: Any, has: Any) -> None:
    first, _ = await has((sealed(0, 3),), (sealed(1, 4),))
    await first.server.stop(None)
    world.api_server.put("discojobs", _succeeded(build, 2, 2, 7))
    with pytest.raises(UnavailableError, match="j-ps-0 does not answer"):
        await world.backend.results("ns", "j")


async def test_what_went_to_an_output_is_there(world: Any, build: Any) -> None:
    body = _succeeded(build, 1, 0, 7, url="s3://bucket/out", format="csv")
    world.api_server.put("discojobs", body)
    job, source = await world.backend.results("ns", "j")
    assert (job.results.output_url, source) == ("s3://bucket/out", None)


@pytest.mark.parametrize("phase", ["Running", "Failed"])
async def test_a_job_that_has_not_succeeded_has_no_results(
    world: Any, build: Any, phase: str
) -> None:
    world.api_server.put("discojobs", build.discojob(phase=phase))
    with pytest.raises(NotPossibleError, match=f"it is {phase}"):
        await world.backend.results("ns", "j")


async def test_results_that_are_known_to_be_lost_are_not_looked_for(world: Any, build: Any) -> None:
    body = _succeeded(build, 1, 1, 7)
    body["status"]["conditions"] = [
        {"type": "ResultsAvailable", "status": "False", "message": "j-ps-0 was lost with them"}
    ]
    world.api_server.put("discojobs", body)
    with pytest.raises(NotPossibleError, match="j-ps-0 was lost"):
        await world.backend.results("ns", "j")

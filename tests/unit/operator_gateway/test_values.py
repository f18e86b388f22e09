"""Where values are that tasks put: with the coordinator, then with the partition services."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from disco.v1 import common_pb2, coordinator_pb2, coordinator_pb2_grpc
from disco_engine.rpc import Line, aio_channel, aio_server, credentials_of, listen
from disco_gateway.errors import NotPossibleError, UnavailableError

from .test_results import TOKEN, _succeeded, has, sealed

__all__ = ["has"]  # a fixture

ADDRESS = "j-coordinator.ns.svc:7071"


class Coordinator(coordinator_pb2_grpc.CoordinatorServicer):
    """Tells the same values, whatever is asked for."""

    def __init__(self) -> None:
        self.asked: list[coordinator_pb2.ValuesRequest] = []
        self.server = aio_server(TOKEN)
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(self, self.server)
        self.port = listen(self.server, "127.0.0.1", 0)

    def line(self) -> Line:
        return Line(channel=aio_channel(f"127.0.0.1:{self.port}"), metadata=credentials_of(TOKEN))

    async def Values(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked.append(request)
        for key in ("a", "b"):
            yield coordinator_pb2.ValuesReply(values=[common_pb2.NamedValue(key=key, value=b"1")])


def putting(attempt: Any, **values: bytes) -> Any:
    attempt.values.extend(common_pb2.NamedValue(key=k, value=v) for k, v in values.items())
    return attempt


async def told(world: Any, **wanted: Any) -> dict[str, bytes]:
    portions = world.backend.values("ns", "j", coordinator_pb2.ValuesRequest(**wanted))
    return {value.key: value.value async for portion in portions for value in portion}


async def test_while_a_job_runs_its_coordinator_is_asked(world: Any, build: Any) -> None:
    coordinator = Coordinator()  # type: ignore[abstract]  # the others are not called
    await coordinator.server.start()
    world.network.lines[ADDRESS] = coordinator.line
    world.api_server.put("discojobs", build.discojob(phase="Running", startTime="2026-01-02"))
    assert await told(world, prefix="x", keys_only=True) == {"a": b"1", "b": b"1"}
    assert coordinator.asked == [coordinator_pb2.ValuesRequest(prefix="x", keys_only=True)]
    await coordinator.server.stop(None)
    with pytest.raises(UnavailableError, match="the coordinator of ns/j does not answer"):
        await told(world)


async def test_after_its_end_the_newest_sealed_attempts_have_them(
    world: Any, build: Any, has: Any
) -> None:
    services = await has(
        (putting(sealed(0, 3, stage=1), k=b"map"), putting(sealed(1, 9), old=b"x", k=b"x")),
        (putting(sealed(0, 3), k=b"reduce"), putting(sealed(1, 9, epoch=2), new=b"n")),
    )
    world.api_server.put("discojobs", _succeeded(build, 2, 2, 12))
    assert await told(world) == {"k": b"reduce", "new": b"n"}
    assert await told(world, key="k", keys_only=True) == {"k": b""}
    assert services[0].asked[0].tell_values


async def test_copies_have_those_of_attempts_whose_service_was_lost(
    world: Any, build: Any, has: Any
) -> None:
    _, other = await has((), (putting(sealed(1, 4), b=b"2"),))
    other.copies = (putting(sealed(0, 3), a=b"1"),)
    world.api_server.put("discojobs", _succeeded(build, 2, 2, 7))
    assert await told(world) == {"a": b"1", "b": b"2"}


async def test_a_job_whose_services_are_gone_says_how_long_they_are_kept(
    world: Any, build: Any
) -> None:
    for body in (
        _succeeded(build, 1, 0, 7, url="s3://bucket/out", format="csv"),
        build.discojob(phase="Failed", completionTime="2026-01-02T03:05:05Z"),
    ):
        world.api_server.put("discojobs", body)
        with pytest.raises(NotPossibleError, match=r"it is while the job runs, and then for as lo"):
            await told(world)


async def test_a_job_that_has_not_begun_has_none(world: Any, build: Any) -> None:
    world.api_server.put("discojobs", build.discojob(phase="Pending"))
    assert await told(world) == {}

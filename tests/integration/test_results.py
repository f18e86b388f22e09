"""Reading results from a service that misbehaves: a scripted one, over a real socket."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from disco.v1 import common_pb2, partition_pb2
from disco_engine import results
from disco_engine.core.model import AttemptId
from disco_engine.records.blocks import Frame

WHO = AttemptId(2, 0, 1, 1)
OTHER = AttemptId(2, 1, 1, 1)


def reply(cursor: bytes, *frames: bytes, who: AttemptId = WHO) -> partition_pb2.FetchReply:
    origin = common_pb2.AttemptRef(stage=who[0], task=who[1], epoch=who[2], attempt=who[3])
    return partition_pb2.FetchReply(
        blocks=[
            partition_pb2.FetchedBlock(
                attempt=origin, block=common_pb2.Block(label=0, records=2, frame=frame)
            )
            for frame in frames
        ],
        cursor=cursor,
    )


def end(*frames: bytes) -> partition_pb2.FetchReply:
    total = common_pb2.Totals(
        blocks=len(frames), records=2 * len(frames), bytes=sum(map(len, frames))
    )
    return partition_pb2.FetchReply(total=total)


Step = partition_pb2.FetchReply | grpc.StatusCode


class Scripted:
    """Answers each Fetch with the next script: replies, then the status it breaks with."""

    def __init__(self, *scripts: list[Step]) -> None:
        self.scripts = list(scripts)
        self.cursors: list[bytes] = []

    def fetch(
        self, request: partition_pb2.FetchRequest, context: grpc.ServicerContext
    ) -> Iterator[partition_pb2.FetchReply]:
        self.cursors.append(request.cursor)
        for step in self.scripts.pop(0):
            if isinstance(step, grpc.StatusCode):
                context.abort(step, "as the script says")
            else:
                yield step


@contextmanager
def serving(service: Scripted) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    fetch = grpc.unary_stream_rpc_method_handler(
        service.fetch,
        request_deserializer=partition_pb2.FetchRequest.FromString,
        response_serializer=partition_pb2.FetchReply.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("disco.v1.Partition", {"Fetch": fetch}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def read(service: Scripted, *, patience_s: float = 30.0) -> list[Frame]:
    with serving(service) as address:
        return list(results.read_part(address, "token", "job", 2, 0, patience_s=patience_s))


def test_a_stream_that_breaks_is_taken_up_at_its_cursor() -> None:
    service = Scripted(
        [reply(b"first", b"a", b"b"), grpc.StatusCode.UNAVAILABLE],
        [grpc.StatusCode.UNAVAILABLE],
        [reply(b"second", b"c"), end(b"a", b"b", b"c")],
    )
    assert read(service) == [Frame(b"a", WHO), Frame(b"b", WHO), Frame(b"c", WHO)]
    assert service.cursors == [b"", b"first", b"first"]


def test_after_a_restart_of_the_service_nothing_is_read_twice() -> None:
    """The new process may have the attempts in another order."""
    service = Scripted(
        [reply(b"first", b"a", b"b"), grpc.StatusCode.UNAVAILABLE],
        [grpc.StatusCode.ABORTED],
        [
            reply(b"x", b"d", who=OTHER),
            reply(b"y", b"a", b"b", b"c"),
            end(b"a", b"b", b"c", b"d"),
        ],
    )
    assert [frame.data for frame in read(service)] == [b"a", b"b", b"d", b"c"]
    assert service.cursors == [b"", b"first", b""]


def test_a_result_that_is_not_all_there_is_an_error() -> None:
    service = Scripted([reply(b"", b"a"), end(b"a", b"b")])
    with pytest.raises(results.ResultLostError, match="run the job again"):
        read(service)


def test_a_stream_without_totals_is_not_a_result() -> None:
    with pytest.raises(results.ResultLostError, match="without its totals"):
        read(Scripted([reply(b"", b"a")]))


@pytest.mark.parametrize("code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS])
def test_a_result_that_the_service_does_not_have_is_lost(code: grpc.StatusCode) -> None:
    with pytest.raises(results.ResultLostError, match="as the script says"):
        read(Scripted([code]))


def test_a_wrong_token_is_named_as_such() -> None:
    with pytest.raises(results.ResultDeniedError, match="session that ran the job"):
        read(Scripted([grpc.StatusCode.UNAUTHENTICATED]))


def test_a_service_that_stays_away_is_waited_for_no_longer_than_asked() -> None:
    service = Scripted([reply(b"first", b"a"), grpc.StatusCode.UNAVAILABLE])
    with pytest.raises(results.ResultUnreachableError, match="see that it runs"):
        read(service, patience_s=0)


def test_no_parts_are_read_without_a_call() -> None:
    assert list(results.read_parts("127.0.0.1:1", "token", "job", 2, [])) == []

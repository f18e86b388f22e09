"""Who gets the workers when several jobs and users want them."""

import grpc
import pytest

from disco.v1 import coordinator_pb2
from disco_gateway.local.sharing import Policy

from .conftest import Gates, Serve, eventually, gated

PENDING = coordinator_pb2.JOB_PHASE_PENDING


async def test_users_share_the_workers_and_leftovers_go_round(serve: Serve, gates: Gates) -> None:
    server = await serve(workers=4)
    ann, bob = next(gates), next(gates)

    await server.ann.submit("ann", gated(ann, tasks=8))
    await eventually(lambda: ann.began == 4)  # she is alone, and has all
    await server.bob.submit("bob", gated(bob, tasks=8))

    # Two of ann's are told to end. What they run does not end, so they hand it back.
    await server.ann.until_it_has("ann", workers=2)
    await server.bob.until_it_has("bob", workers=2)
    await eventually(lambda: bob.began == 2)
    bob.open()
    done = await server.bob.until("bob", "SUCCEEDED")
    await server.ann.until_it_has("ann", workers=4)
    ann.open()
    hers = await server.ann.until("ann", "SUCCEEDED")

    assert done.tasks_done == 9
    assert not hers.failures
    assert (await server.ann.results("ann"))[1] == 8


async def test_jobs_wait_in_line_say_so_and_start_when_there_is_a_worker(
    serve: Serve, gates: Gates
) -> None:
    server = await serve(workers=2)
    ones = [next(gates) for _ in range(4)]
    for number, gate in enumerate(ones):
        await server.ann.submit(f"job-{number}", gated(gate))
    await eventually(lambda: ones[0].began and ones[1].began)

    third, fourth = await server.ann.get("job-2"), await server.ann.get("job-3")
    assert (third.phase, third.reason, fourth.phase) == (PENDING, "Queued", PENDING)
    assert third.message == ("number 1 of 2 in line for a worker: 2 jobs have the 2 that there are")
    assert fourth.message.startswith("number 2 of 2 in line")

    # Somebody else's job comes last, and is the next: he has no worker yet.
    his = next(gates)
    await server.bob.submit("his", gated(his))
    assert (await server.bob.get("his")).message.startswith("number 1 of 3")
    ones[1].open()
    await eventually(lambda: his.began)
    assert (await server.ann.get("job-2")).message.startswith("number 1 of 2")
    for gate in (*ones, his):
        gate.open()
    for name in ("job-0", "job-1", "job-2", "job-3", "his"):
        await server.ann.until(name, "SUCCEEDED")


async def test_first_come_first_served(serve: Serve, gates: Gates) -> None:
    server = await serve(workers=2, policy=Policy.FIFO)
    first, second = next(gates), next(gates)
    await server.ann.submit("first", gated(first, tasks=2))
    await server.bob.submit("second", gated(second))
    await eventually(lambda: first.began == 2)

    assert (await server.bob.get("second")).phase == PENDING
    first.open()
    await eventually(lambda: second.began)
    second.open()
    await server.bob.until("second", "SUCCEEDED")


async def test_a_job_never_gets_more_workers_than_it_asks_for_or_may_have(
    serve: Serve, gates: Gates
) -> None:
    server = await serve(workers=4, per_job=2)
    asks, takes = next(gates), next(gates)
    await server.ann.submit("asks", gated(asks, tasks=3, workers={"replicas": 1}))
    told = await server.ann.submit("takes", gated(takes, tasks=3, workers={"max": 3}))

    assert told.warnings == ["spec.workers asks for 3, and a job gets at most 2 here"]
    await server.ann.until_it_has("asks", workers=1)
    await server.ann.until_it_has("takes", workers=2)
    await eventually(lambda: (asks.began, takes.began) == (1, 2))
    for gate in (asks, takes):
        gate.open()
    for name in ("asks", "takes"):
        await server.ann.until(name, "SUCCEEDED")


async def test_a_job_that_waits_is_cancelled_at_once(serve: Serve, gates: Gates) -> None:
    server = await serve(workers=1)
    running, waiting = next(gates), next(gates)
    await server.ann.submit("running", gated(running))
    await server.ann.submit("waiting", gated(waiting))

    job = await server.ann.cancel("waiting")

    assert job.phase == coordinator_pb2.JOB_PHASE_CANCELLED
    running.open()
    await server.ann.until("running", "SUCCEEDED")
    assert not waiting.began


async def test_more_jobs_than_may_wait_are_refused(serve: Serve, gates: Gates) -> None:
    server = await serve(workers=1, max_queued=1)
    gate = next(gates)
    await server.ann.submit("running", gated(gate))
    await server.ann.submit("waiting", gated(gate))

    with pytest.raises(grpc.aio.AioRpcError, match="1 jobs wait already") as told:
        await server.ann.submit("refused", gated(gate))

    assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    gate.open()
    await server.ann.until("waiting", "SUCCEEDED")

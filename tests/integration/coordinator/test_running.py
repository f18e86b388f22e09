"""A coordinator that runs a job, whoever leaves and comes back, and one that takes over."""

import json
import signal

from disco.v1 import coordinator_pb2

from .process import INPUTS, Child, Job


async def test_a_job_runs_to_its_end_and_can_still_be_watched(running: Job) -> None:
    worker = await running.worker("w1")
    assert (await worker.hello()).epoch > 1_700_000_000  # seconds since 1970: of its start
    await worker.work()
    (reply,) = await running.watch()
    progress = reply.progress
    assert progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert [(s.name, s.tasks_total, s.tasks_done) for s in progress.stages] == [
        ("map", INPUTS, INPUTS),
        ("reduce", 1, 1),
    ]
    assert progress.stages[1].records_in == INPUTS
    assert [part.totals.records for part in progress.results] == [1]
    running.coordinator.signal(signal.SIGTERM)
    status, logged = await running.coordinator.ended()
    assert status == 0
    assert all(json.loads(line)["event"] for line in logged.splitlines())


async def test_no_more_tasks_are_assigned_than_there_is_credit_for(running: Job) -> None:
    worker = await running.worker("w1")
    await worker.hello(slots=5)
    await worker.work(reports=1)  # the plan
    assert await worker.assigned_for(credit=3) == 3
    assert await worker.assigned_for(credit=2) == 2


async def test_a_cancelled_job_tells_its_workers_and_its_watchers(running: Job) -> None:
    worker = await running.worker("w1")
    await worker.hello(slots=5)
    await worker.work(reports=1)
    await worker.assigned_for(credit=3)
    assert not (await running.cancel("enough")).already_over
    kinds = [(await worker.read()).WhichOneof("body") for _ in range(2)]
    assert kinds == ["cancel", "finish"]
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_CANCELLED
    assert reply.progress.message == "enough"
    assert (await running.cancel("again")).already_over


async def test_a_worker_that_comes_back_is_given_again_what_it_no_longer_has(
    running: Job,
) -> None:
    worker = await running.worker("w1")
    await worker.hello(slots=5)
    await worker.work(reports=1)
    await worker.assigned_for(credit=3)
    worker.die()
    again = await running.worker("w1")
    await again.hello()
    await again.work()
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert sorted(again.ran) == [*((1, t) for t in range(INPUTS)), (2, 0)]


async def test_a_new_coordinator_goes_on_from_what_is_sealed(running: Job) -> None:
    first = await running.worker("w1")
    before = (await first.hello()).epoch
    await first.work(reports=1 + INPUTS // 2)
    # The next assignment follows the seal of the one before, or both are in flight: a snapshot
    # with all of them done says that the services have them.
    await running.until_done(INPUTS // 2)
    running.coordinator.signal(signal.SIGKILL)
    await running.coordinator.ended()
    await running.coordinator.serve(*running.coordinator_flags())
    second = await running.worker("w1")
    assert (await second.hello()).epoch > before
    await second.work()
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert (0, 0) not in second.ran
    assert sorted(first.ran[1:] + second.ran) == [*((1, t) for t in range(INPUTS)), (2, 0)]


async def test_a_partition_service_that_is_killed_and_restarted_costs_no_result(
    running: Job,
) -> None:
    worker = await running.worker("w1")
    await worker.hello()
    await worker.work(reports=1 + INPUTS // 2)
    running.services[0].signal(signal.SIGKILL)
    await running.services[0].ended()
    await running.serve_partition(0)
    await worker.work()
    (reply,) = await running.watch()
    assert reply.progress.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED
    assert reply.progress.stages[1].records_in == INPUTS


async def test_two_coordinators_of_one_job_end_with_the_older_one_fenced(running: Job) -> None:
    newer = Child("disco_engine.coordinator", "newer", running.directory)
    try:
        await newer.serve(*running.coordinator_flags())
        status, logged = await running.coordinator.ended()
        assert status == 4
        assert "this coordinator has been replaced" in logged
    finally:
        await newer.close()

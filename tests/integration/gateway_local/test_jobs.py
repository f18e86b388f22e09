"""What becomes of jobs that are submitted to a server on this machine."""

from .conftest import Gate, Serve, gated


async def test_a_job_is_submitted_runs_and_can_be_read_after_its_end(
    serve: Serve, gate: Gate
) -> None:
    server = await serve()
    gate.open()

    job = await server.ann.submit("count", gated(gate, tasks=3))
    done = await server.bob.until("count", "SUCCEEDED")
    info, records = await server.bob.results("count")

    assert (job.namespace, job.name, job.submitted_by) == ("default", "count", "ann")
    assert done.uid == job.uid
    assert (done.tasks_done, done.tasks_total, done.retries) == (4, 4, 0)
    assert (info.records, info.parts, records) == (3, 1, 3)
    assert sorted((await server.ann.logs("count")).split("\n"))[-3:] == [
        "this is 0", "this is 1", "this is 2",
    ]  # fmt: skip

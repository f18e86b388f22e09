"""The plan task runs in a slot, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from disco.v1 import common_pb2, coordinator_pb2

if TYPE_CHECKING:
    from tests.integration.worker.conftest import Bench, Do, FakeCoordinator


async def _plan(coordinator: FakeCoordinator) -> coordinator_pb2.AttemptReport:
    ref = common_pb2.AttemptRef(stage=0, task=0, epoch=1, attempt=1)
    task = coordinator_pb2.TaskAssignment(
        attempt=ref, stage_name="plan", plan=coordinator_pb2.PlanTask()
    )
    coordinator.assign(task)
    return await coordinator.report_of(task)


async def test_the_plan_task_answers_with_the_programs_plan(bench: Bench) -> None:
    coordinator = await bench.begin(
        """
        from disco_engine.core.model import Grouping, Plan, Stage, TaskInput

        def plan(request):
            (urls,) = request.inputs
            return Plan(
                stages=(Stage(name="map", grouping=Grouping.SPLIT),),
                inputs=tuple(TaskInput(urls=(url,)) for url in urls),
            )
        """
    )
    coordinator.job.inputs.add(urls=["a", "b"])
    await bench.worker()
    plan = (await _plan(coordinator)).finished.plan
    assert [stage.name for stage in plan.stages] == ["map"]
    assert [list(item.urls) for item in plan.inputs] == [["a"], ["b"]]


async def test_an_exception_in_the_plan_is_fatal(bench: Bench) -> None:
    coordinator = await bench.begin(
        """
        def plan(request):
            raise LookupError("no such stage")
        """
    )
    await bench.worker()
    failure = (await _plan(coordinator)).failed
    assert failure.kind == common_pb2.FAILURE_KIND_FATAL
    assert failure.message == "LookupError: no such stage"


async def test_modules_that_travel_with_the_job_come_first_on_the_path(
    bench: Bench, do: Do
) -> None:
    import io
    import zipfile

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as modules:
        modules.writestr("travelling.py", "NAME = 'from the archive'")
    coordinator = await bench.begin(
        """
        import travelling
        def show(context):
            print(travelling.NAME)
        """
    )
    coordinator.job.code.modules_zip = archive.getvalue()
    await bench.worker()
    assert (await coordinator.run(inputs=do("show"))).output == "from the archive\n"

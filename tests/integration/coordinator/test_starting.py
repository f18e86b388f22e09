"""What a coordinator is started with: flags, code, services that it waits for."""

import hashlib
import os
import signal

import pytest

from disco.v1 import job_pb2
from disco_engine.core.settings import JobSettings
from disco_engine.local.ports import ReservedPort
from disco_engine.rpc import TOKEN_VARIABLE

from .process import UID, Child, Job


async def test_a_taken_port_is_said_in_one_line(running: Job) -> None:
    second = Child("disco_engine.coordinator", "second", running.directory)
    second.port = running.coordinator.port
    try:
        await second.start(*running.coordinator_flags())
        status, logged = await second.ended()
        assert status == 3
        assert f"cannot listen on 127.0.0.1:{second.port}" in logged
        assert "Traceback" not in logged
    finally:
        await second.close()


async def test_it_stops_while_it_still_waits_for_its_services(job: Job) -> None:
    for service in job.services:
        service.port = 1  # nobody listens there
    await job.coordinator.start(*job.coordinator_flags())
    await job.coordinator.first_line()
    job.coordinator.signal(signal.SIGTERM)
    status, _ = await job.coordinator.ended()
    assert status == 0


async def test_it_waits_for_services_as_long_as_it_is_told(job: Job) -> None:
    job.settings = JobSettings(service_lease_s=0.2)
    ports = [ReservedPort() for _ in job.services]
    for service, port in zip(job.services, ports, strict=True):
        service.port = port.port
    await job.coordinator.start(*job.coordinator_flags(), "--wait-for-services", "1000")
    for number in range(len(job.services)):
        await job.serve_partition(number)
    await job.coordinator.serving()
    assert (await (await job.worker("w1")).hello()).epoch
    for port in ports:
        port.release()


@pytest.mark.parametrize("whole", [True, False])
async def test_code_that_comes_in_a_file_takes_the_place_of_the_job_s(
    job: Job, whole: bool
) -> None:
    job.code = job_pb2.JobCode(
        loader="a:b", payload=b"old", modules_zip=b"old zip", python_path=["/old"]
    )
    code = job_pb2.JobCode(loader="c:d", payload=b"new")
    if whole:
        code.modules_zip = b"new zip"
        code.python_path.append("/new")
    file = job.directory / "code"
    file.write_bytes(code.SerializeToString())
    for number in range(len(job.services)):
        await job.serve_partition(number)
    await job.coordinator.serve(*job.coordinator_flags(), "--code-file", str(file))
    welcome = await (await job.worker("w1")).hello()
    assert welcome.job.uid == UID
    got = welcome.job.code
    assert (got.loader, got.payload) == ("c:d", b"new")
    assert got.modules_zip == (b"new zip" if whole else b"old zip")
    assert got.python_path == (["/new"] if whole else ["/old"])


async def test_code_in_several_files_is_put_together_and_checked(job: Job) -> None:
    content = job_pb2.JobCode(loader="c:d", payload=b"new" * 1000).SerializeToString()
    files = [job.directory / f"code.{number}" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(content[number * 1000 : (number + 1) * 1000 if number < 2 else None])
    for number in range(len(job.services)):
        await job.serve_partition(number)
    flags = [f"--code-file={file}" for file in files]
    digest = hashlib.sha256(content).hexdigest()
    await job.coordinator.serve(*job.coordinator_flags(), *flags, f"--code-sha256={digest}")
    welcome = await (await job.worker("w1")).hello()
    assert welcome.job.code.payload == b"new" * 1000


async def test_code_that_is_not_what_was_submitted_is_not_run(job: Job) -> None:
    file = job.directory / "code"
    file.write_bytes(job_pb2.JobCode(loader="evil:load", payload=b"x").SerializeToString())
    await job.coordinator.start(
        *job.coordinator_flags(), f"--code-file={file}", f"--code-sha256={'ab' * 32}"
    )
    status, logged = await job.coordinator.ended()
    assert status == 2
    assert "is not what was submitted" in logged


async def test_it_ends_when_its_supervisor_is_gone(running: Job) -> None:
    await running.coordinator.close()
    await running.coordinator.serve(*running.coordinator_flags(), "--exit-on-stdin-eof")
    running.coordinator.close_stdin()
    status, _ = await running.coordinator.ended()
    assert status == 0


async def test_services_that_do_not_answer_are_named(job: Job) -> None:
    job.settings = JobSettings(service_lease_s=0.5)
    for service in job.services:
        service.port = 1
    await job.coordinator.start(*job.coordinator_flags())
    status, logged = await job.coordinator.ended()
    assert status == 1
    assert "ps-0 at 127.0.0.1:1, ps-1 at 127.0.0.1:1" in logged
    assert "Traceback" not in logged


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--partition-service", "ps-0"), "'ps-0' is not of the form ps-0=HOST:PORT"),
        (("--job-file", "/nowhere"), "/nowhere is not a readable job"),
        (("--code-file", "/nowhere"), "/nowhere is not readable code"),
        (("--code-file", "/dev/null"), "the code in /dev/null names no loader"),
    ],
)
async def test_wrong_flags_are_explained(job: Job, flags: tuple[str, ...], message: str) -> None:
    await job.coordinator.start(*job.coordinator_flags(), *flags)
    status, logged = await job.coordinator.ended()
    assert status == 2
    assert message in logged


async def test_a_missing_token_is_explained(job: Job) -> None:
    env = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    await job.coordinator.start(*job.coordinator_flags(), env=env)
    status, logged = await job.coordinator.ended()
    assert status == 2
    assert f"{TOKEN_VARIABLE} is not set" in logged

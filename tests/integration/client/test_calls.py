"""What a client is answered, and how it behaves when it is not."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from disco.client import submitted
from disco.client.aio import AsyncClient
from disco.client.errors import (
    ClientError,
    DeniedError,
    ExistsError,
    InternalError,
    InvalidError,
    NotFoundError,
    NotPossibleError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from disco.client.submission import Submission
from disco.v1 import coordinator_pb2
from disco_gateway import errors
from disco_gateway.fake import FakeBackend, FakeCodeStore

from .conftest import CODE, Replicas, submission

FAILED = coordinator_pb2.JOB_PHASE_FAILED
RUNNING = coordinator_pb2.JOB_PHASE_RUNNING
SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED


async def test_a_server_tells_what_it_is(client: AsyncClient) -> None:
    about = await client.about()
    assert (about.kind, about.user, about.default_namespace) == ("kubernetes", "alice", "default")


async def test_a_submission_brings_its_code_and_is_remembered(
    client: AsyncClient, backend: FakeBackend
) -> None:
    job = await client.submit(submission())
    assert job.name.startswith("words-")
    (entry,) = backend.jobs.values()
    assert entry.new is not None
    assert entry.new.code == CODE
    assert submitted.is_ours(job.uid)
    assert not submitted.is_ours("another")


async def test_code_that_is_there_is_not_sent_again(
    client: AsyncClient, backend: FakeBackend
) -> None:
    code = CODE + b"\x22\x00" * 3_000_000  # many chunks, of which the server wants none
    first = await client.upload_code(code)
    assert await client.upload_code(code) == first
    assert list(backend.code.kept) == [("default", first)]


async def test_a_submission_with_one_request_id_makes_one_job(client: AsyncClient) -> None:
    first = await client.submit(submission(), request_id="mine")
    again = await client.submit(submission(), request_id="mine")
    other = await client.submit(submission())
    assert first.uid == again.uid != other.uid


async def test_a_submission_goes_on_where_the_server_breaks_off(
    client: AsyncClient, backend: FakeBackend
) -> None:
    backend.failures["create"] = [
        errors.UnavailableError("not now", retry_after_s=0.01),
        errors.OverloadedError("too much", retry_after_s=0.01),
    ]
    await client.submit(submission())
    assert len(backend.jobs) == 1
    assert backend.failures == {"create": []}


async def test_a_dry_run_makes_nothing(client: AsyncClient, backend: FakeBackend) -> None:
    job = await client.submit(submission(), dry_run=True)
    assert job.spec["job"] == "jobs:Words"
    assert backend.jobs == {}


async def test_all_mistakes_of_a_spec_are_told_at_once(client: AsyncClient) -> None:
    with pytest.raises(InvalidError) as caught:
        await client.submit(
            Submission(spec={"jbo": "jobs:Words", "partitions": 0, "workers": {"slots": "x"}})
        )
    fields = {violation.field for violation in caught.value.violations}
    assert {"spec.job", "spec.jbo", "spec.partitions", "spec.workers.slots"} <= fields
    assert "spec.jbo: unknown field; did you mean job?" in str(caught.value).splitlines()


async def test_a_name_that_is_taken_is_refused(client: AsyncClient) -> None:
    await client.submit(submission(), name="words")
    with pytest.raises(ExistsError, match=r"another job 'words' .* choose another name"):
        await client.submit(submission(), name="words")


@pytest.mark.parametrize("call", ["get", "cancel", "retry", "delete", "wait"])
async def test_an_unknown_job_is_not_found(client: AsyncClient, call: str) -> None:
    with pytest.raises(NotFoundError, match="no job 'none' in namespace 'default'"):
        await getattr(client, call)("none")


async def test_an_unknown_job_has_no_streams(client: AsyncClient) -> None:
    for stream in (client.watch("none"), client.logs("none"), client.results("none")):
        with pytest.raises(NotFoundError):
            await anext(stream)


async def test_jobs_are_listed_over_all_pages(client: AsyncClient, backend: FakeBackend) -> None:
    for number in range(7):
        backend.add("default", f"job-{number}", phase=FAILED if number % 2 else RUNNING)
    backend.add("other", "far")
    names = [job.name async for job in client.list(page_size=2)]
    assert names == [f"job-{number}" for number in range(7)]
    assert [job.name async for job in client.list(page_size=2, phases=[FAILED])] == [
        "job-1",
        "job-3",
        "job-5",
    ]
    assert len([job async for job in client.list(all_namespaces=True)]) == 8
    assert [job.name async for job in client.list(namespace="other")] == ["far"]


async def test_jobs_are_listed_by_label_and_time(client: AsyncClient, backend: FakeBackend) -> None:
    backend.add("default", "old", labels={"team": "a"}).job.created.FromDatetime(
        datetime(2020, 1, 1, tzinfo=UTC)
    )
    backend.add("default", "new", labels={"team": "b"})
    assert [job.name async for job in client.list(label_selector="team=b")] == ["new"]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert [job.name async for job in client.list(created_from=yesterday)] == ["new"]
    assert [job.name async for job in client.list(created_before=yesterday)] == ["old"]


async def test_waiting_tells_how_a_job_ended(client: AsyncClient, backend: FakeBackend) -> None:
    backend.add("default", "words")
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(client.wait("words"))
        tasks.create_task(client.cancel("words", reason="enough"))
    job = waiting.result()
    assert job.phase == coordinator_pb2.JOB_PHASE_CANCELLED
    assert job.message == "cancelled by alice: enough"


async def test_waiting_ends_after_its_time(client: AsyncClient, backend: FakeBackend) -> None:
    backend.add("default", "words")
    with pytest.raises(TimeoutError):
        await client.wait("words", timeout_s=0.01)


async def test_only_a_failed_job_is_run_again(client: AsyncClient, backend: FakeBackend) -> None:
    backend.add("default", "failed", phase=FAILED)
    backend.add("default", "running")
    job = await client.retry("failed")
    assert job.phase == coordinator_pb2.JOB_PHASE_PENDING
    with pytest.raises(NotPossibleError, match="has not failed"):
        await client.retry("running")


async def test_a_job_is_deleted_only_if_it_is_the_one_that_is_meant(
    client: AsyncClient, backend: FakeBackend
) -> None:
    uid = backend.add("default", "words").job.uid
    with pytest.raises(NotFoundError):
        await client.delete("words", uid="another")
    await client.delete("words", uid=uid)
    assert backend.jobs == {}


async def test_a_lost_answer_to_a_deletion_is_no_error(
    client: AsyncClient, backend: FakeBackend
) -> None:
    """The answer is lost, and the next try finds no job: it is gone, as was asked for."""
    backend.failures["delete"] = [errors.UnavailableError("cut", retry_after_s=0.01)]
    await client.delete("words")


async def test_a_lost_answer_to_a_retry_is_no_error(
    client: AsyncClient, backend: FakeBackend
) -> None:
    backend.add("default", "words", phase=RUNNING)
    backend.failures["retry"] = [errors.UnavailableError("cut", retry_after_s=0.01)]
    assert (await client.retry("words")).phase == RUNNING


async def test_without_a_token_the_remedy_is_told(gateway: Replicas) -> None:
    async with AsyncClient(gateway.connection(token="")) as client:
        assert (await client.about()).user == ""
        with pytest.raises(UnauthenticatedError, match="bring a token: --token-file"):
            await client.get("words")


async def test_an_expired_token_is_told(
    client: AsyncClient, gateway: Replicas, backend: FakeBackend
) -> None:
    backend.tokens.clear()
    with pytest.raises(UnauthenticatedError, match="the token is not accepted"):
        await client.get("words")


async def test_who_may_not_is_told_who_what_and_where(
    gateway: Replicas, backend: FakeBackend
) -> None:
    backend.add_caller("bob", "token-of-bob", ("list", "default"))
    async with AsyncClient(gateway.connection(token="token-of-bob")) as client:
        with pytest.raises(DeniedError, match="'bob' may not get discojobs in namespace 'default'"):
            await client.get("words")


async def test_a_token_that_is_replaced_in_its_file_is_used(
    gateway: Replicas, backend: FakeBackend, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    backend.add_caller("carol", "old", ("*", "*"))
    backend.add_caller("dave", "new", ("*", "*"))
    async with AsyncClient(gateway.connection(token=None, token_file=file)) as client:
        assert (await client.about()).user == "carol"
        file.write_text("new\n")
        assert (await client.about()).user == "dave"


async def test_a_full_server_is_given_time_then_given_up(
    gateway: Replicas, backend: FakeBackend
) -> None:
    backend.failures["get"] = [errors.OverloadedError("full", retry_after_s=60)]
    async with AsyncClient(gateway.connection(), patience_s=0.2) as client:
        with pytest.raises(OverloadedError, match="full") as caught:
            await client.get("words")
    assert caught.value.retry_after_s == 60


async def test_what_is_behind_the_server_and_does_not_answer_is_told(
    gateway: Replicas, backend: FakeBackend
) -> None:
    backend.failures["get"] = [errors.UnavailableError("no API server", retry_after_s=60)]
    async with AsyncClient(gateway.connection(), patience_s=0.2) as client:
        with pytest.raises(UnavailableError, match="no API server"):
            await client.get("words")


async def test_a_bug_of_the_server_is_its_own(client: AsyncClient, backend: FakeBackend) -> None:
    backend.failures["get"] = [ZeroDivisionError("secret")]
    with pytest.raises(InternalError, match=r"could not carry out Get: .* incident") as caught:
        await client.get("words")
    assert "secret" not in str(caught.value)


async def test_code_that_is_too_large_for_the_server_is_refused() -> None:
    backend = FakeBackend(code=FakeCodeStore(max_bytes=1000))
    gateway = Replicas(backend)
    await gateway.start()
    async with AsyncClient(gateway.connection()) as client:
        with pytest.raises(ClientError, match=r"1,?000"):
            await client.upload_code(CODE + b"\x22\x00" * 2_000_000)
    await gateway.stop()


async def test_a_client_must_be_opened(gateway: Replicas) -> None:
    with pytest.raises(ClientError, match="async with"):
        await AsyncClient(gateway.connection()).about()

"""The client for programs with an event loop: one method for each call of ``disco.v1.Jobs``.

``server`` opens the connection; ``streams`` has the calls whose answers are streams.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from disco.client import decoding, submitted
from disco.client.errors import GoneError, NotFoundError, NotPossibleError
from disco.client.outputs import Output
from disco.client.streams import Streams, has_ended
from disco.client.submission import Submission
from disco.v1 import coordinator_pb2, jobs_pb2

_CHUNK_BYTES = 1024 * 1024
_UPLOAD_S = 600.0


class AsyncClient(Streams):
    """Talks to one server. Use it as an async context manager.

        async with AsyncClient(resolve()) as client:
            job = await client.submit(submission)
            job = await client.wait(job.name)
            async for key, value in client.records(job.name):
                ...

    Calls are tried again when the server does not answer, or asks to come again later; streams go
    on where they broke, and tell nothing twice. All raise ``disco.client.errors.ClientError``.

    Args:
        connection: From ``disco.client.connection.resolve``.
        patience_s: Seconds to go on trying while a server that has answered before does not.
    """

    async def upload_code(self, code: bytes, *, namespace: str | None = None) -> str:
        """Bring a serialised ``disco.v1.JobCode``; return its SHA-256 in hexadecimal.

        Args:
            code: At most ``about().max_code_bytes``. What is there already is not sent.
            namespace: Of the submissions that follow; None: the connection's.
        """
        digest = hashlib.sha256(code).hexdigest()
        header = jobs_pb2.CodeHeader(
            namespace=await self._in(namespace), sha256=digest, size_bytes=len(code)
        )

        def pieces() -> Iterator[jobs_pb2.UploadCodeRequest]:
            yield jobs_pb2.UploadCodeRequest(header=header)
            for start in range(0, len(code), _CHUNK_BYTES):
                chunk = code[start : start + _CHUNK_BYTES]
                yield jobs_pb2.UploadCodeRequest(chunk=chunk)

        def upload(metadata: Any) -> Any:
            return self._stub.UploadCode(pieces(), metadata=metadata, timeout=_UPLOAD_S)

        await self._open.retried("UploadCode", upload)
        return digest

    async def submit(
        self,
        submission: Submission,
        *,
        namespace: str | None = None,
        name: str = "",
        request_id: str = "",
        dry_run: bool = False,
    ) -> jobs_pb2.Job:
        """Start a job, its code brought before, and return it.

        Args:
            submission: From ``disco.client.submitting``.
            namespace: None: the connection's.
            name: Empty: the submission's, or a new one made of its prefix.
            request_id: Empty: a new one. A second submission with it returns the job of the first.
            dry_run: Check everything, make nothing.

        Raises:
            InvalidError: The spec makes no sense; all violations are named.
            ExistsError: There is another job of that name.
        """
        place = await self._in(namespace)
        request = jobs_pb2.SubmitRequest(
            namespace=place,
            request_id=request_id or uuid.uuid4().hex,
            name=name or submission.name,
            name_prefix=submission.name_prefix,
            labels=dict(submission.labels),
            dry_run=dry_run,
        )
        request.spec.update(dict(submission.spec))
        if submission.code:
            request.code_sha256 = await self.upload_code(submission.code, namespace=place)
        job = await self._open.call("Submit", self._stub.Submit, request)
        if not dry_run:
            submitted.remember(job.uid)
        return job

    async def get(self, name: str, *, namespace: str | None = None) -> jobs_pb2.Job:
        """Return all about a job."""
        request = jobs_pb2.GetRequest(namespace=await self._in(namespace), name=name)
        return await self._open.call("Get", self._stub.Get, request)

    async def list(
        self,
        *,
        namespace: str | None = None,
        all_namespaces: bool = False,
        phases: Collection[coordinator_pb2.JobPhase.ValueType] = (),
        label_selector: str = "",
        created_from: datetime | None = None,
        created_before: datetime | None = None,
        page_size: int = 0,
    ) -> AsyncGenerator[jobs_pb2.Job, None]:
        """Yield the jobs, ascending by namespace and name, a page at a time.

        Args:
            namespace: None: the connection's.
            all_namespaces: Of all, instead.
            phases: Any of these; empty: all.
            label_selector: As kubectl's.
            created_from: At or after; without a time zone: local time.
            created_before: Before.
            page_size: Of a page, at most 500; 0: the server's choice.
        """
        request = jobs_pb2.ListRequest(
            namespace="" if all_namespaces else await self._in(namespace),
            page_size=page_size,
            phases=list(phases),
            label_selector=label_selector,
        )
        if created_from is not None:
            request.created_from.FromDatetime(created_from.astimezone(UTC))
        if created_before is not None:
            request.created_before.FromDatetime(created_before.astimezone(UTC))
        while True:
            page = await self._open.call("List", self._stub.List, request)
            for job in page.jobs:
                yield job
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def wait(
        self, name: str, *, namespace: str | None = None, timeout_s: float | None = None
    ) -> jobs_pb2.Job:
        """Return the job when it has ended, however it did; its ``phase`` says how.

        Raises:
            TimeoutError: It still runs after *timeout_s* seconds.
        """
        async with asyncio.timeout(timeout_s):
            replies = self.watch(name, namespace=namespace)
            async with aclosing(replies):
                async for reply in replies:
                    if has_ended(reply):
                        break
            return await self.get(name, namespace=namespace)

    async def cancel(
        self, name: str, *, namespace: str | None = None, reason: str = ""
    ) -> jobs_pb2.Job:
        """Stop a job for good; ``wait`` tells when it has. Nothing happens to one that has ended.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            reason: For people.
        """
        request = jobs_pb2.CancelJobRequest(
            namespace=await self._in(namespace), name=name, reason=reason
        )
        return await self._open.call("Cancel", self._stub.Cancel, request)

    async def retry(self, name: str, *, namespace: str | None = None) -> jobs_pb2.Job:
        """Run what is missing of a failed job.

        Raises:
            NotPossibleError: It has not failed.
        """
        request = jobs_pb2.RetryRequest(namespace=await self._in(namespace), name=name)
        try:
            return await self._open.call("Retry", self._stub.Retry, request)
        except NotPossibleError as error:
            if error.tried_before:  # and then it may be ourselves who have made it run
                job = await self.get(name, namespace=request.namespace)
                if job.phase != coordinator_pb2.JOB_PHASE_FAILED:
                    return job
            raise

    async def delete(self, name: str, *, namespace: str | None = None, uid: str = "") -> None:
        """Remove a job and all that it left but its output.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            uid: Only if the job is still this one; empty: whichever it is.
        """
        request = jobs_pb2.DeleteRequest(namespace=await self._in(namespace), name=name, uid=uid)
        try:
            await self._open.call("Delete", self._stub.Delete, request)
        except NotFoundError as error:
            if not error.tried_before:
                raise

    async def records(
        self,
        name: str,
        *,
        namespace: str | None = None,
        first_part: int = 0,
        parts: int = 0,
        trust: bool = False,
        uid: str = "",
    ) -> AsyncGenerator[tuple[Any, Any], None]:
        """Yield the (key, value) records of a job, from its output if it has one.

        Args:
            name: Of the job.
            namespace: None: the connection's.
            first_part: From 0.
            parts: How many; 0: all that follow.
            trust: Read pickles, although this user has not submitted the job from here: whoever
                wrote them can run any code here.
            uid: Only if the job is still this one; empty: whichever it is.

        Raises:
            UntrustedError: There are pickles, and no reason to trust who wrote them.
            LostRecordsError: The counts differ.
        """
        batches = self.batches(
            name, namespace=namespace, first_part=first_part, parts=parts, trust=trust, uid=uid
        )
        async with aclosing(batches):
            async for batch in batches:
                for record in batch:
                    yield record

    async def batches(
        self,
        name: str,
        *,
        namespace: str | None = None,
        first_part: int = 0,
        parts: int = 0,
        trust: bool = False,
        uid: str = "",
    ) -> AsyncGenerator[Iterable[tuple[Any, Any]], None]:
        """Yield what ``records`` does, many at a time, which is faster: each can be read once."""
        place = await self._in(namespace)
        job = await self.get(name, namespace=place)
        if uid not in ("", job.uid):
            raise GoneError(_replaced(job))
        shown = f"{job.namespace}/{job.name}"
        trusted = decoding.may_trust(job.uid, trust=trust)
        if job.results.output_url:
            output = Output(info=job.results, job=shown, here=(await self._told()).kind == "local")
            async for batch in output.batches(first_part, parts, trusted=trusted):
                yield batch
            return
        replies = self.results(name, namespace=place, first_part=first_part, parts=parts)
        async with aclosing(replies):
            same = False
            async for reply in replies:
                if reply.blocks and not same:
                    await self._check_same(job)
                    same = True
                if reply.blocks:
                    yield decoding.pairs(reply.blocks, shown, trusted=trusted)

    async def _check_same(self, job: jobs_pb2.Job) -> None:
        """See that nobody has put another job in the place of the one that we trust."""
        now = await self.get(job.name, namespace=job.namespace)
        if now.uid != job.uid:
            raise GoneError(_replaced(job))


def _replaced(job: jobs_pb2.Job) -> str:
    return f"{job.namespace}/{job.name} is another job now: what the earlier one made is gone"

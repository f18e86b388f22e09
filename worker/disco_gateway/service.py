"""The service itself: what each call does, whichever door it came in by.

Each checks its request, asks whether its caller may, and only then looks for anything.
"""

import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from importlib.metadata import version

from disco.v1 import coordinator_pb2, jobs_pb2
from disco_gateway import checks, cursors
from disco_gateway.backend import Backend, Caller, NewJob, Verb
from disco_gateway.errors import NotPossibleError
from disco_gateway.following import LOGS, WATCH, log_replies, watch_replies
from disco_gateway.limits import Limits
from disco_gateway.names import identity_of_request, name_of_job
from disco_gateway.results import result_replies
from disco_gateway.rights import Rights
from disco_gateway.uploads import Uploads

_DISTRIBUTION = "disco-k8s"


class Service:
    """One method for each call of ``disco.v1.Jobs``."""

    def __init__(
        self, backend: Backend, limits: Limits, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._clock = clock
        self._uploads = Uploads(backend, limits)
        self._version = version(_DISTRIBUTION)

    async def submit(self, caller: Caller, request: jobs_pb2.SubmitRequest) -> jobs_pb2.Job:
        """Start a job, or find the one that the same request has started before."""
        namespace = request.namespace or self._backend.default_namespace
        checks.check_namespace(namespace)
        await self._backend.authorize(caller, Verb.CREATE, namespace)
        plain, spec = checks.checked_spec(request)
        identity = identity_of_request(caller.name, request.request_id)
        new = NewJob(
            namespace=namespace,
            name=request.name or name_of_job(request.name_prefix, identity),
            request_id=identity,
            labels=dict(request.labels),
            manifest_spec=plain,
            spec=spec,
            code=await self._code(namespace, request.code_sha256),
            code_sha256=request.code_sha256,
        )
        return await self._backend.create(caller, new, dry_run=request.dry_run)

    async def _code(self, namespace: str, sha256: str) -> bytes | None:
        if not sha256:
            return None
        code = await self._backend.code.read(namespace, sha256)
        if code is None:
            raise NotPossibleError(
                "code", f"the code {sha256} is not in namespace {namespace!r}: upload it first"
            )
        return code

    async def get(self, caller: Caller, request: jobs_pb2.GetRequest) -> jobs_pb2.Job:
        """Tell all about one job."""
        checks.check_place(request.namespace, request.name)
        await self._backend.authorize(caller, Verb.GET, request.namespace)
        return await self._backend.get(request.namespace, request.name)

    async def list(self, caller: Caller, request: jobs_pb2.ListRequest) -> jobs_pb2.ListReply:
        """Tell the jobs of a namespace, or of all, page by page."""
        if request.namespace:
            checks.check_namespace(request.namespace)
        await self._backend.authorize(caller, Verb.LIST, request.namespace)
        query = checks.checked_query(request)
        after = cursors.page_from_text(query, request.page_token)
        page = await self._backend.list(replace(query, after=after))
        return jobs_pb2.ListReply(
            jobs=page.jobs, next_page_token=cursors.page_to_text(query, page.after)
        )

    async def watch(
        self, caller: Caller, request: jobs_pb2.WatchJobRequest
    ) -> AsyncGenerator[jobs_pb2.WatchJobReply, None]:
        """Tell how a job stands, and whenever that changes, until it has ended."""
        checks.check_place(request.namespace, request.name)
        since = cursors.position_from_text(WATCH, request.cursor)
        rights = self._rights(caller, Verb.WATCH, request.namespace)
        await rights.check()
        updates = self._backend.follow(request.namespace, request.name, since)
        async with aclosing(updates):
            async for update in updates:
                await rights.check()
                for reply in watch_replies(update):
                    yield reply

    async def logs(
        self, caller: Caller, request: jobs_pb2.LogsRequest
    ) -> AsyncGenerator[jobs_pb2.LogsReply, None]:
        """Tell what the job's code has printed, as far as it is kept."""
        checks.check_place(request.namespace, request.name)
        checks.check_logs(request)
        since = cursors.position_from_text(LOGS, request.cursor)
        rights = self._rights(caller, Verb.GET, request.namespace)
        await rights.check()
        updates = self._backend.follow(request.namespace, request.name, since)
        first = True
        async with aclosing(updates):
            async for update in updates:
                await rights.check()
                for reply in log_replies(request, update, first=first):
                    yield reply
                first = False
                if not request.follow:
                    break

    async def results(
        self, caller: Caller, request: jobs_pb2.ResultsRequest
    ) -> AsyncGenerator[jobs_pb2.ResultsReply, None]:
        """Give the records of a job that has succeeded, part by part."""
        checks.check_place(request.namespace, request.name)
        place = cursors.place_from_text(request.cursor) if request.cursor else None
        rights = self._rights(caller, Verb.GET, request.namespace)
        await rights.check()
        job, source = await self._backend.results(request.namespace, request.name)
        replies = result_replies(
            request, job, source, place, patience_s=self._limits.results_patience_s
        )
        async with aclosing(replies):
            async for reply in replies:
                await rights.check()
                yield reply

    async def values(
        self, caller: Caller, request: jobs_pb2.JobValuesRequest
    ) -> AsyncGenerator[jobs_pb2.JobValuesReply, None]:
        """Give what finished tasks of a job left beside their records, ascending by key."""
        checks.check_place(request.namespace, request.name)
        checks.check_values(request)
        rights = self._rights(caller, Verb.GET, request.namespace)
        await rights.check()
        wanted = coordinator_pb2.ValuesRequest(
            key=request.key, prefix=request.prefix, keys_only=request.keys_only
        )
        cursor = request.cursor
        portions = self._backend.values(request.namespace, request.name, wanted)
        async with aclosing(portions):
            async for portion in portions:
                await rights.check()
                values = [value for value in portion if value.key > cursor]
                if values:
                    cursor = values[-1].key
                    yield jobs_pb2.JobValuesReply(values=values, cursor=cursor)
        yield jobs_pb2.JobValuesReply(cursor=cursor, last=True)

    async def cancel(self, caller: Caller, request: jobs_pb2.CancelJobRequest) -> jobs_pb2.Job:
        """Stop a job for good."""
        checks.check_place(request.namespace, request.name)
        reason = checks.checked_reason(request.reason)
        await self._backend.authorize(caller, Verb.PATCH, request.namespace)
        return await self._backend.cancel(caller, request.namespace, request.name, reason)

    async def retry(self, caller: Caller, request: jobs_pb2.RetryRequest) -> jobs_pb2.Job:
        """Run what is missing of a failed job."""
        checks.check_place(request.namespace, request.name)
        await self._backend.authorize(caller, Verb.PATCH, request.namespace)
        return await self._backend.retry(caller, request.namespace, request.name)

    async def delete(self, caller: Caller, request: jobs_pb2.DeleteRequest) -> jobs_pb2.DeleteReply:
        """Remove a job and all that it left but its output."""
        checks.check_place(request.namespace, request.name)
        await self._backend.authorize(caller, Verb.DELETE, request.namespace)
        await self._backend.delete(caller, request.namespace, request.name, request.uid)
        return jobs_pb2.DeleteReply()

    async def upload_code(
        self, caller: Caller, requests: AsyncIterator[jobs_pb2.UploadCodeRequest]
    ) -> jobs_pb2.UploadCodeReply:
        """Bring code for submissions that follow."""
        return await self._uploads.receive(caller, requests)

    async def about(self, caller: Caller | None, _: jobs_pb2.AboutRequest) -> jobs_pb2.AboutReply:
        """Tell what answers, and who is asking."""
        return jobs_pb2.AboutReply(
            version=self._version,
            kind=self._backend.kind,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            user=caller.name if caller else "",
            default_namespace=self._backend.default_namespace,
            max_code_bytes=self._backend.code.max_bytes,
        )

    def _rights(self, caller: Caller, verb: Verb, namespace: str) -> Rights:
        return Rights(
            self._backend,
            caller,
            verb,
            namespace,
            every_s=self._limits.recheck_s,
            clock=self._clock,
        )

"""The cluster as the gateway's service sees it: a ``Backend`` over the Kubernetes API."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Literal

from disco.manifest import ManifestError, parse_spec
from disco.v1 import common_pb2, coordinator_pb2, jobs_pb2
from disco_engine.rpc import Line
from disco_gateway.backend import (
    Caller,
    CodeStore,
    ListQuery,
    NewJob,
    Page,
    Position,
    ResultSource,
    Update,
    Verb,
)
from disco_gateway.errors import (
    GatewayError,
    InvalidRequestError,
    JobExistsError,
    NotPossibleError,
    UnavailableError,
)
from disco_operator import names
from disco_operator.conditions import Phase
from disco_operator.gateway.access import Access
from disco_operator.gateway.hub import Hub, uid_of
from disco_operator.gateway.jobs import Jobs
from disco_operator.gateway.listing import list_jobs
from disco_operator.gateway.results import parts_of
from disco_operator.gateway.submission import (
    MAX_CODE_BYTES,
    code_secrets,
    is_of_request,
    job_manifest,
)
from disco_operator.gateway.values import NOT_KEPT, kept_by_services, told_by_coordinator
from disco_operator.gateway.view import ended, has_coordinator, job_of, runs_again
from disco_operator.model import CANCEL_ANNOTATION, JobKey, Json

log = logging.getLogger(__name__)

TRIES = 5
"""For a change that others get in the way of."""
SECRET_TRIES = 20
SECRET_PAUSE_S = 0.5

Connect = Callable[[str, str], Line]
"""Opens a connection to a process of a job, by the job's uid and host:port."""


class KubernetesBackend:
    """What runs the jobs is the operator; this asks for it, and reads what becomes of it.

    Args:
        jobs: Reads and writes DiscoJobs.
        access: Knows callers.
        hub: Follows jobs.
        code: Where uploads wait.
        connect: Reaches the processes of jobs.
        default_namespace: Where jobs go whose submission names no namespace.
    """

    def __init__(
        self,
        *,
        jobs: Jobs,
        access: Access,
        hub: Hub,
        code: CodeStore,
        connect: Connect,
        default_namespace: str,
    ) -> None:
        self._jobs = jobs
        self._access = access
        self._hub = hub
        self._code = code
        self._connect = connect
        self._default_namespace = default_namespace

    @property
    def kind(self) -> Literal["kubernetes", "local"]:
        """What ``About`` tells."""
        return "kubernetes"

    @property
    def default_namespace(self) -> str:
        """Where jobs go whose submission names no namespace."""
        return self._default_namespace

    @property
    def code(self) -> CodeStore:
        """Where uploads go."""
        return self._code

    async def authenticate(self, token: str) -> Caller:
        """Return whose token it is."""
        return await self._access.caller_of(token)

    async def authorize(self, caller: Caller, verb: Verb, namespace: str) -> None:
        """Do nothing, if the caller may do this with jobs there; *namespace* "": in all."""
        await self._access.check(caller, verb, namespace)

    # --- reading

    async def get(self, namespace: str, name: str) -> jobs_pb2.Job:
        """Return a job with everything."""
        return job_of(await self._jobs.get(JobKey(namespace, name)))

    async def list(self, query: ListQuery) -> Page:
        """Return some of the jobs that are asked for, without specs, stages and failures."""
        return await list_jobs(self._jobs, query)

    def follow(self, namespace: str, name: str, since: Position) -> AsyncGenerator[Update, None]:
        """Yield how the job stands, at once, and then whenever that changes."""
        return self._hub.follow(JobKey(namespace, name), since)

    async def results(self, namespace: str, name: str) -> tuple[jobs_pb2.Job, ResultSource | None]:
        """Return a job that has succeeded, and where its records are; None: in its output."""
        key = JobKey(namespace, name)
        body = await self._jobs.get(key)
        job, uid = job_of(body, spec=False), uid_of(body)
        status = body.get("status", {})
        if status.get("phase") != Phase.SUCCEEDED:
            phase = status.get("phase", Phase.PENDING.value)
            raise NotPossibleError(str(key), f"the job {key} has no results: it is {phase}")
        if job.results.lost:
            raise NotPossibleError(str(key), f"the results of {key} are lost: {job.results.lost}")
        if job.results.output_url:
            return job, None
        services = dict(names.partition_address(key, n) for n in range(_services_of(key, body)))

        def connect(service: str) -> Line:
            return self._connect(uid, services[service])

        parts = await parts_of(key, uid, tuple(services), connect, status.get("results", {}))
        return job, ResultSource(job_uid=uid, parts=parts, connect=connect)

    async def values(
        self, namespace: str, name: str, wanted: coordinator_pb2.ValuesRequest
    ) -> AsyncGenerator[Sequence[common_pb2.NamedValue], None]:
        """Yield what finished tasks of a job left beside their records, ascending by key.

        They are with its coordinator, and after its end with the partition services that keep its
        results.
        """
        key = JobKey(namespace, name)
        body = await self._jobs.get(key)
        uid, status = uid_of(body), body.get("status", {})
        if has_coordinator(body):
            line = self._connect(uid, names.coordinator_address(key))
            async for portion in told_by_coordinator(key, line, wanted):
                yield portion
            return
        if not ended(body):
            return
        job = job_of(body, spec=False)
        if status.get("phase") != Phase.SUCCEEDED or job.results.output_url or job.results.lost:
            raise NotPossibleError(str(key), NOT_KEPT.format(key=key))
        services = dict(names.partition_address(key, n) for n in range(_services_of(key, body)))

        def connect(service: str) -> Line:
            return self._connect(uid, services[service])

        for portion in await kept_by_services(uid, tuple(services), connect, wanted):
            yield portion

    # --- writing

    async def create(self, caller: Caller, new: NewJob, *, dry_run: bool) -> jobs_pb2.Job:
        """Start a job; one that a request of the same id has made is returned, and made whole."""
        if new.code is not None and len(new.code) > MAX_CODE_BYTES:
            raise InvalidRequestError.of(
                "code_sha256", f"a job on a cluster may have {MAX_CODE_BYTES:,} bytes of code"
            )
        body = await self._jobs.create(caller, job_manifest(caller, new), dry_run=dry_run)
        fresh = body is not None
        if body is None:
            body = await self._jobs.get(JobKey(new.namespace, new.name))
            if not is_of_request(body, caller, new):
                raise JobExistsError(new.namespace, new.name)
        if new.code is not None and not dry_run:
            await self._bring_code(caller, new, body, fresh=fresh)
        return job_of(body)

    async def _bring_code(self, caller: Caller, new: NewJob, job: Json, *, fresh: bool) -> None:
        """Create the Secrets with a job's code; take a new job back if they are refused."""
        try:
            for secret in code_secrets(new, job):
                await self._create_secret(secret, fresh=fresh)
        except UnavailableError:
            raise  # the same request, sent again, makes the job whole
        except GatewayError:
            if fresh:
                key = JobKey(new.namespace, new.name)
                try:
                    await self._jobs.delete(caller, key, uid=uid_of(job))
                except GatewayError as error:
                    log.warning(
                        "a job without its code stays",
                        extra={"job": str(key), "reason": str(error)},
                    )
            raise

    async def _create_secret(self, secret: Json, *, fresh: bool) -> None:
        """Create a Secret; one that is there is the job's own, unless the job has just been made.

        The gateway may not look at Secrets. Whatever it is that is there, the coordinator runs
        only what was submitted.
        """
        if await self._jobs.create_secret(secret) or not fresh:
            return
        for _ in range(SECRET_TRIES):  # one of an earlier job of the same request goes with it
            await asyncio.sleep(SECRET_PAUSE_S)
            if await self._jobs.create_secret(secret):
                return
        metadata = secret["metadata"]
        raise NotPossibleError(
            f"{metadata['namespace']}/{metadata['name']}",
            f"a Secret {metadata['name']!r} is in the way of the job's code: delete it, or submit"
            " under another name",
        )

    async def cancel(self, caller: Caller, namespace: str, name: str, reason: str) -> jobs_pb2.Job:
        """Ask for a job's end; nothing happens to one that has ended."""
        key = JobKey(namespace, name)
        body = await self._jobs.get(key)
        if ended(body) or body.get("spec", {}).get("cancel"):
            return job_of(body)
        patch: Json = {"spec": {"cancel": True}}
        if reason:
            patch["metadata"] = {"annotations": {CANCEL_ANNOTATION: reason}}
        patched = await self._jobs.patch(caller, key, patch)
        return job_of(patched if patched is not None else await self._jobs.get(key))

    async def retry(self, caller: Caller, namespace: str, name: str) -> jobs_pb2.Job:
        """Run what is missing of a failed job."""
        key = JobKey(namespace, name)
        for _ in range(TRIES):
            body = await self._jobs.get(key)
            spec, status = body.get("spec", {}), body.get("status", {})
            if runs_again(body):  # somebody has asked for it already
                return job_of(body)
            if status.get("phase") != Phase.FAILED or spec.get("cancel"):
                phase = status.get("phase", Phase.PENDING.value)
                cancelled = " and was cancelled" if spec.get("cancel") else ""
                raise NotPossibleError(
                    str(key), f"only failed jobs can be retried: {key} is {phase}{cancelled}"
                )
            retry = max(spec.get("retry", 0), status.get("observedRetry", 0)) + 1
            version = body["metadata"]["resourceVersion"]
            patched = await self._jobs.patch(
                caller, key, {"spec": {"retry": retry}}, version=version
            )
            if patched is not None:
                return job_of(patched)
        raise UnavailableError(f"the job {key} keeps changing: try again")

    async def delete(self, caller: Caller, namespace: str, name: str, uid: str) -> None:
        """Remove a job and what it left; *uid* not empty: only if it is that one."""
        await self._jobs.delete(caller, JobKey(namespace, name), uid=uid)


def _services_of(key: JobKey, body: Json) -> int:
    try:
        return parse_spec(body.get("spec", {})).partition_service.replicas
    except ManifestError as error:
        raise NotPossibleError(str(key), f"the spec of {key} makes no sense: {error}") from error

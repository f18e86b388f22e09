"""Brings one DiscoJob closer to what its spec asks for: look, decide, act, write the status once.

Called by the loop, for one job at a time and at most once a second; deciding is ``decide``'s.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Protocol
from zlib import crc32

from disco_operator import names
from disco_operator.cache import Cache
from disco_operator.changes import base_children, changes_to
from disco_operator.children.spec import SpecTooLargeError
from disco_operator.cluster import (
    Cluster,
    ClusterError,
    ForbiddenError,
    InvalidError,
    Kind,
    QuotaError,
    UnavailableError,
    kind_of,
)
from disco_operator.code import code_of
from disco_operator.conditions import Condition, Phase, condition_of, headline, is_true
from disco_operator.decide import decide
from disco_operator.endings import retry_wanted
from disco_operator.following import Following, News
from disco_operator.keeping import Keeper
from disco_operator.model import IN_LINE, DiscoJob, JobKey, Json, OperatorSettings, read_time
from disco_operator.notes import duration_of, note
from disco_operator.progress import retries_of
from disco_operator.wanted import Announcement, Decision, Observed
from disco_operator.working import SILENCE

log = logging.getLogger(__name__)

ENSURE_AGAIN_S = 600.0
"""Objects that are not watched are made again, should somebody have deleted them, so often."""
ENSURES_PER_SECOND = 2
"""About so many jobs a second, at most, have them made again because something is wrong."""
REFUSED_AGAIN_S = 15.0
_NAMED_BY_UID = (Kind.SECRET, Kind.CONFIGMAP)
"""Their names have a part of the job's uid, so none of them is another job's."""
DURATION_STEP_S = 15
DURATIONS_PER_SECOND = 10
"""About so many statuses a second, at most, are written only because time has passed."""
SAY_AGAIN_S = 600.0
"""Before the same warning about the same job becomes an event again."""
MAX_TOLD = 100


class NameTakenError(Exception):
    """A name that a child needs belongs to an object that is none of any DiscoJob's."""


_REFUSALS = (ForbiddenError, InvalidError, SpecTooLargeError, NameTakenError)


class Identities(Protocol):
    """Makes the secrets of jobs."""

    def job_identity(self, uid: str, created: datetime) -> Mapping[str, bytes]:
        """Return the content of a job's Secret, by key."""


class Measures(Protocol):
    """Is told what is worth measuring."""

    def first_task(self, seconds: float) -> None:
        """Take note of the time from a job's creation to its first task."""

    def job_phase(self, uid: str, phase: str | None) -> None:
        """Take note of a job's phase; None: it is gone."""


class Reconciler:
    """Reconciles jobs.

    Args:
        cluster: Where to act.
        cache: What is known of the cluster.
        following: The coordinators that are listened to.
        identities: Makes the secrets of jobs.
        measures: Is told about times and phases.
        operator: How the operator was set up.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        following: Following,
        identities: Identities,
        measures: Measures,
        operator: OperatorSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._cache = cache
        self._following = following
        self._keeper = Keeper(cluster, following)
        self._identities = identities
        self._measures = measures
        self._operator = operator
        self._ensured: dict[str, float] = {}
        self._told: dict[str, dict[tuple[str, str], float]] = {}
        self._uids: dict[JobKey, str] = {}

    async def reconcile(self, key: JobKey) -> float | None:
        """Look at one job and do what is to be done.

        Returns:
            Seconds after which to look again even if nothing happens; None: then only.

        Raises:
            ClusterError: The API server could not be asked or told; try again.
        """
        body = self._cache.job(key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._forget(key)
            return None
        job = DiscoJob.from_body(body)
        if self._uids.get(key, job.uid) != job.uid:
            self._forget(key)
        self._uids[key] = job.uid
        now = datetime.now(UTC)
        try:
            observed = await self._observe(job)
            decision = decide(job, observed, now)
            if decision.follow:
                self._following.follow(job, may_answer=_coordinator_may_answer(job, observed))
            again_in_s = await self._carry_out(job, body, decision, observed, now)
            if not decision.follow:  # only now: what was heard may have to be kept
                self._following.forget(job.uid)
            return again_in_s
        except ClusterError:
            raise
        except Exception as error:
            await self._note_bug(job, error, now)
            raise

    def _forget(self, key: JobKey) -> None:
        uid = self._uids.pop(key, None)
        if uid is not None:
            self._following.forget(uid)
            self._ensured.pop(uid, None)
            self._told.pop(uid, None)
            self._measures.job_phase(uid, None)

    # --- looking ------------------------------------------------------------------------------

    async def _observe(self, job: DiscoJob) -> Observed:
        news = self._following.take_news(job.uid)
        due = self._base_is_due(job, news)
        code, problem = None, ""
        if due and job.spec is not None:
            code, problem = await code_of(job, self._cluster)
        return Observed(
            children=self._cache.children(job.key),
            news=news,
            base_due=due,
            code=code,
            code_problem=problem,
            node_ready=self._cache.node_ready,
            active_jobs=self._cache.active_jobs,
            first_in_line=IN_LINE not in job.status or self._cache.is_first_in_line(job.key),
            job_image=self._operator.job_image,
        )

    def _base_is_due(self, job: DiscoJob, news: News) -> bool:
        if job.finished and not retry_wanted(job):
            return False
        made = self._ensured.get(job.uid)
        interval_s = ENSURE_AGAIN_S
        if _is_hampered(job, news):  # perhaps because something that its pods need was deleted
            interval_s = min(max(SILENCE, self._cache.active_jobs / ENSURES_PER_SECOND), interval_s)
        if made is None and self._has_coordinator(job):
            # By whoever led before. All at once would be too much for the API server.
            made = self._clock() - interval_s * crc32(job.uid.encode()) / 2**32
            self._ensured[job.uid] = made
        return made is None or self._clock() - made >= interval_s

    def _has_coordinator(self, job: DiscoJob) -> bool:
        """Return whether its Deployment is there, and so all that is made before it."""
        name = names.coordinator(job.key)
        return any(
            child["kind"] == "Deployment" and child["metadata"]["name"] == name and job.owns(child)
            for child in self._cache.children(job.key)
        )

    # --- acting -------------------------------------------------------------------------------

    async def _carry_out(
        self, job: DiscoJob, body: Json, decision: Decision, observed: Observed, now: datetime
    ) -> float | None:
        if decision.delete_job:
            await self._cluster.delete(Kind.DISCOJOB, job.key.namespace, job.key.name, uid=job.uid)
            return REFUSED_AGAIN_S
        status, said = dict(decision.status), list(decision.announcements)
        again_in_s = decision.again_in_s
        written = False
        if decision.keep_events:  # before the status says that it is over: nobody would again
            said += await self._keeper.keep(job, run=status.get("runs", 0))
        if decision.status_first:
            if not await self._write(job, status, now):
                return None
            written = True
        try:
            await self._change(job, decision, observed)
        except _REFUSALS as error:
            said += _note_refusal(job, status, error, now)
            again_in_s = REFUSED_AGAIN_S
            written = False
            status.pop("released", None)  # it was not, or not all of it
            if "released" in job.status:
                status["released"] = job.status["released"]
        if decision.cancel:
            await self._following.cancel(job.uid, decision.cancel)
        if not written and not await self._write(job, status, now):
            return None
        for announcement in self._new(job, said):
            await self._cluster.post_event(
                body, announcement.kind, announcement.reason, announcement.message
            )
        self._measure(job, status)
        return again_in_s

    async def _change(self, job: DiscoJob, decision: Decision, observed: Observed) -> None:
        namespace = job.key.namespace
        for name, uid in decision.lost_pods:
            log.warning("removing a pod of a lost node", extra={"job": str(job.key), "pod": name})
            await self._cluster.delete(Kind.POD, namespace, name, uid=uid, grace_s=0)
        wanted = decision.wanted
        if wanted is None:
            return
        if wanted.base and observed.base_due:
            identity = self._identities.job_identity(job.uid, job.created)
            for manifest in base_children(job, observed.code, identity, self._operator):
                await self._make(job, manifest)
            self._ensured[job.uid] = self._clock()
        changes = changes_to(job, wanted, observed.children, decision.status, self._operator)
        for kind, name in changes.delete:
            await self._cluster.delete(kind, namespace, name)
        for manifest in changes.apply:
            await self._cluster.apply(manifest)
        for kind, name, replicas in changes.scale:
            await self._cluster.scale(kind, namespace, name, replicas)
        if "released" in decision.status:
            self._ensured.pop(job.uid, None)  # some of it is gone, and a retry needs it again

    async def _make(self, job: DiscoJob, manifest: Json) -> None:
        """Create a child, unless it is there.

        Raises:
            NameTakenError: What is there belongs to no DiscoJob.
            UnavailableError: It belongs to an earlier job of the name, and is about to be removed
                with it.
        """
        kind, name = kind_of(manifest), manifest["metadata"]["name"]
        if await self._cluster.create(manifest) is not None or kind in _NAMED_BY_UID:
            return
        found = await self._cluster.get(kind, job.key.namespace, name)
        if found is not None and job.owns(found):
            return
        owners = found["metadata"].get("ownerReferences", ()) if found else ()
        if found is not None and not any(owner["kind"] == "DiscoJob" for owner in owners):
            raise NameTakenError(
                f"{manifest['kind']} {name} is not of a DiscoJob: delete it, or give the job"
                " another name"
            )
        raise UnavailableError(f"{kind.value} {name} of an earlier job is still there")

    def _new(self, job: DiscoJob, said: Sequence[Announcement]) -> Iterator[Announcement]:
        """Yield what was not said a moment ago: causes come and go, and come again."""
        told, now = self._told.setdefault(job.uid, {}), self._clock()
        for announcement in said:
            about = (announcement.reason, announcement.message)
            if announcement.kind == "Warning" and now - told.get(about, -inf) < SAY_AGAIN_S:
                continue
            told[about] = now
            yield announcement
        while len(told) > MAX_TOLD:
            del told[next(iter(told))]

    async def _note_bug(self, job: DiscoJob, error: Exception, now: datetime) -> None:
        """Say in the status that a job cannot be dealt with."""
        status = dict(job.status)
        message = (
            f"the operator cannot deal with this job: {type(error).__name__}: {error}; this is a"
            " bug of the operator: its log has the details"
        )
        note(job, status, Condition.RUNNING, False, "InternalError", message, now)
        await self._write(job, status, now)

    async def _write(self, job: DiscoJob, status: Json, now: datetime) -> bool:
        """Write the status, if it says anything new; return whether the job is still there."""
        status["duration"] = duration_of(status, now)
        status["reason"], status["observedMessage"] = headline(status)
        step_s = max(DURATION_STEP_S, self._cache.active_jobs // DURATIONS_PER_SECOND)
        if not _news_in(job.status, status, step_s):
            return True
        written = await self._cluster.write_status(job.key.namespace, job.key.name, job.uid, status)
        if written is not None:
            self._cache.wrote(written)
        return written is not None

    def _measure(self, job: DiscoJob, status: Json) -> None:
        self._measures.job_phase(job.uid, status.get("phase", Phase.PENDING.value))
        began = [stage["startTime"] for stage in status.get("stages", ()) if "startTime" in stage]
        if began and not any("startTime" in stage for stage in job.status.get("stages", ())):
            first = min(map(read_time, began))
            self._measures.first_task(max(first - job.created, timedelta()).total_seconds())


def _coordinator_may_answer(job: DiscoJob, observed: Observed) -> bool:
    """Return whether a job's coordinator runs, or was heard before.

    One whose pod has never run is not called: thousands of jobs may wait for room in the cluster.
    """
    return is_true(job.status, Condition.PLANNED) or any(
        child["kind"] == "Pod"
        and child["metadata"]["labels"].get(names.ROLE_LABEL) == names.Role.COORDINATOR.value
        and child.get("status", {}).get("phase") == "Running"
        for child in observed.children
    )


def _is_hampered(job: DiscoJob, news: News) -> bool:
    """Return whether a job that should run may lack something that is not watched.

    Without one of its Services workers find no coordinator, or attempts no partition service.
    """
    if is_true(job.status, Condition.SUSPENDED):
        return False
    if news.silent_s > SILENCE or not is_true(job.status, Condition.RUNNING):
        return True
    return news.progress is not None and retries_of(news.progress) > job.status.get("retries", 0)


def _news_in(before: Json, after: Json, step_s: int) -> bool:
    """Return whether a status says more than that time has passed (and that only in steps)."""
    if {**before, "duration": ""} != {**after, "duration": ""}:
        return True
    return _seconds(before) // step_s != _seconds(after) // step_s


def _seconds(status: Json) -> int:
    """Return the duration, from how it is written."""
    total, number = 0, ""
    for sign in status.get("duration", ""):
        if sign.isdigit():
            number += sign
        else:
            total += int(number) * {"h": 3600, "m": 60, "s": 1}[sign]
            number = ""
    return total


def _note_refusal(
    job: DiscoJob, status: Json, error: Exception, now: datetime
) -> list[Announcement]:
    """Say in the status why the job's children cannot be as they should."""
    match error:
        case SpecTooLargeError():
            reason = "SpecTooLarge"
        case NameTakenError():
            reason = "NameTaken"
        case QuotaError():
            reason = "QuotaExceeded"
        case ForbiddenError():
            reason = "Forbidden"
        case _:
            reason = "Refused"
    message = f"the job's objects cannot be made in namespace {job.key.namespace}: {error}"
    running = condition_of(status, Condition.RUNNING) or {"message": ""}
    works = is_true(status, Condition.RUNNING)
    text = f"{running['message']}; {message}" if works else message
    note(job, status, Condition.RUNNING, works, reason, text, now)
    log.warning("cluster refuses", extra={"job": str(job.key), "reason": str(error)})
    return [Announcement(kind="Warning", reason=reason, message=message[:900])]

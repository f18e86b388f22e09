"""What of a submission can run on this machine, and how: checks that only a server here makes."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from disco.manifest import Spec
from disco.manifest.message import inline_files, job_message
from disco.manifest.reading import cluster_only
from disco.v1 import job_pb2
from disco_engine.local.machine import MOST_SLOTS
from disco_gateway.backend import NewJob
from disco_gateway.errors import InvalidRequestError, Violation

_HEEDED = frozenset({"ttlSecondsAfterFinished", "retry", "suspend", "cancel"})
_PLAIN = ("", "file", "local")  # schemes of paths on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What this machine gives to jobs.

    Attributes:
        workers: Worker processes of all jobs together, at least 1.
        workers_per_job: Of one job, at least 1.
        slots: Tasks that a worker runs at a time, of jobs that do not say.
    """

    workers: int
    workers_per_job: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to start a job with.

    Attributes:
        workers: The most worker processes that it may have.
        slots: Tasks that each of them runs at a time.
        services: Partition services.
        ttl_s: Seconds from its end until it is deleted; None: never.
        warnings: What of its spec has no effect here, in sentences.
    """

    workers: int
    slots: int
    services: int
    ttl_s: int | None
    warnings: tuple[str, ...]


def order_of(new: NewJob, uid: str, capacity: Capacity) -> tuple[Order, job_pb2.JobSpec]:
    """Return what to start a submitted job with, and what its coordinator is to be told.

    Raises:
        InvalidRequestError: It cannot run here, or nobody could ever run it.
    """
    spec = new.spec
    asked = spec.workers.replicas or spec.workers.max
    most = min(capacity.workers_per_job, capacity.workers)
    workers = min(asked or most, most)
    slots = spec.workers.slots or capacity.slots
    services = spec.partition_service.replicas
    violations = list(_violations(spec))
    if workers * slots > MOST_SLOTS:
        fitting = MOST_SLOTS // workers
        violations.append(
            Violation("spec.workers.slots", f"expected at most {fitting} on this machine")
        )
    if services > MOST_SLOTS:
        violations.append(
            Violation(
                "spec.partitionService.replicas", f"expected at most {MOST_SLOTS} on this machine"
            )
        )
    message = _message(new, uid, violations)
    if violations:
        raise InvalidRequestError(violations)
    order = Order(
        workers=workers,
        slots=slots,
        services=services,
        ttl_s=spec.ttl_seconds_after_finished,
        warnings=tuple(_warnings(new.manifest_spec, asked, workers)),
    )
    return order, message


def _message(new: NewJob, uid: str, violations: list[Violation]) -> job_pb2.JobSpec:
    files = inline_files(new.spec)
    message = job_message(
        new.spec,
        uid=uid,
        name=f"{new.namespace}/{new.name}",
        files=files,
        origins={name: f"{new.namespace}/{new.name}/{name}" for name in files},
    )
    message.settings.deadline_s = new.spec.active_deadline_seconds or 0
    if new.code is not None:
        try:
            message.code.CopyFrom(job_pb2.JobCode.FromString(new.code))
        except DecodeError:
            violations.append(
                Violation("code_sha256", "what was uploaded is not a serialised disco.v1.JobCode")
            )
    return message


def _violations(spec: Spec) -> Iterator[Violation]:
    if spec.code is not None:
        for name, alias in (("config_map", "configMap"), ("secret", "secret")):
            if getattr(spec.code, name) is not None:
                yield Violation(
                    f"spec.code.{alias}",
                    "is an object of a cluster, and here is none: upload the code (disco submit"
                    " does), or write it into spec.code.inline",
                )
        if spec.code.archive is not None:
            yield Violation(
                "spec.code.archive",
                "is fetched on clusters only: upload the code (disco submit does), or install it"
                " where this server runs",
            )
    for number, urls in enumerate(spec.inputs):
        for position, url in enumerate(urls):
            where = f"spec.inputs[{number}]" + f"[{position}]" * (len(urls) > 1)
            yield from _relative(where, url)
    if spec.output is not None:
        yield from _relative("spec.output.url", spec.output.url)
    if spec.suspend:
        yield Violation(
            "spec.suspend", "nothing could resume the job here: submit it when it should run"
        )
    if spec.cancel:
        yield Violation("spec.cancel", "such a job would never run: leave this out")


def _relative(where: str, url: str) -> Iterator[Violation]:
    """Yield a mistake if *url* is relative to a directory that only the caller knows."""
    scheme, _, path = url.partition("://") if "://" in url else ("", "", url)
    if scheme in _PLAIN and not os.path.isabs(path):
        yield Violation(
            where,
            f"expected an absolute path on the server's machine, or a URL, found {url[:80]!r}:"
            " the server does not know where you are",
        )


def _warnings(spec: Mapping[str, Any], asked: int | None, workers: int) -> Iterator[str]:
    if asked is not None and workers < asked:
        yield f"spec.workers asks for {asked}, and a job gets at most {workers} here"
    for field in cluster_only(spec, heeded=_HEEDED):
        if field == "spec.requirements":
            yield (
                "spec.requirements has no effect here: the packages must be installed where the"
                " server runs"
            )
        else:
            yield f"{field} has no effect here: only a cluster heeds it"

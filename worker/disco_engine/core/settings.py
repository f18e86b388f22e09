"""Limits and sizes of a job, with the defaults that everything else refers to."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SPECULATION_MULTIPLIER = 2.0
"""The multiplier of those who want rivals and do not say after how long; see docs/design.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What a user may change about how a job runs; the wire's ``Settings`` has the same fields.

    Attributes:
        max_attempts: How many attempts of a task may fail for user code or data, at least 1.
        max_consecutive_losses: How many times in a row a task may lose its worker or its
            partition service before the job fails, at least 1.
        task_timeout_s: Seconds one attempt may run; 0: no limit.
        deadline_s: Seconds the job may run from the coordinator's start; 0: no limit.
        memory_limit_bytes: Private memory of one slot; 0: no limit.
        sort_memory_bytes: Records a slot keeps in memory while it sorts, before it spills.
        split_size_bytes: Text per task of the first stage.
        worker_lease_s: Silence after which a worker counts as lost.
        service_lease_s: Silence after which a partition service counts as lost.
        exclude_after_failures: Failures of different tasks on one worker after which it gets no
            more for a while; 0: never.
        speculation_multiplier: How many times longer than the median of its stage an attempt runs
            before it gets a rival, at least 1; 0: never.
        speculation_quantile: Share of a stage's tasks that must be done before, from 0 to 1.
        copies: How many partition services keep each output, 1 or 2.
    """

    max_attempts: int = 4
    max_consecutive_losses: int = 20
    task_timeout_s: float = 0.0
    deadline_s: float = 0.0
    memory_limit_bytes: int = 0
    sort_memory_bytes: int = 128 * MIB
    split_size_bytes: int = 32 * MIB
    worker_lease_s: float = 15.0
    service_lease_s: float = 30.0
    exclude_after_failures: int = 3
    speculation_multiplier: float = 0.0
    speculation_quantile: float = 0.75
    copies: int = 1

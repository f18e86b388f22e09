"""The DiscoJob manifest as values: every field that ``kubectl apply`` and ``disco run`` accept.

Only shapes and types; those of pods are in ``pods``, and ``parsing`` words the errors. The
custom resource definition is generated from here: the docstrings of the fields are what ``kubectl
explain`` shows.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from disco.manifest.fields import (
    Count,
    CountOrZero,
    Factor,
    Flag,
    JobPath,
    KubernetesObject,
    Many,
    Model,
    Name,
    ObjectName,
    OutputFormat,
    PullPolicy,
    Requirement,
    Seconds,
    Sha256,
    Share,
    SizeBytes,
    SourceText,
    Text,
    Url,
    Urls,
    expected,
)
from disco.manifest.pods import Coordinator, PartitionService, StageSettings, Workers
from disco_engine.core.settings import SPECULATION_MULTIPLIER

API_VERSION = "discoproject.org/v1alpha1"
KIND = "DiscoJob"
MAX_CODE_PARTS = 100


class NamedObject(Model):
    """A reference to a Kubernetes object in the job's namespace."""

    name: Name
    """Name of the object, in the job's namespace."""


class ArchiveCode(Model):
    """Code fetched from a URL."""

    url: Url
    """Where the .zip or .tar.gz is: any URL that fsspec knows and the pods can reach."""
    sha256: Sha256
    """Checksum of the archive: code is never run unchecked."""


class SubmittedCode(Model):
    """Code that a submission brought."""

    name: Name
    """The Secret with it, in the job's namespace, under the key ``code.pb``; if there are several,
    the others are called name-1, name-2 and so on."""
    sha256: Sha256
    """Checksum of all of it: the coordinator runs nothing else."""
    parts: Annotated[
        int, Field(ge=1, le=MAX_CODE_PARTS), expected(f"an integer from 1 to {MAX_CODE_PARTS}")
    ] = 1
    """Over how many Secrets it is spread, because one has room for a megabyte."""


class Code(Model):
    """Where the job's modules come from; exactly one of the fields. Without any: the image."""

    config_map: NamedObject | None = None
    """A ConfigMap whose keys are file names, such as ``wordcount.py``. It is read once, when the
    job starts: later changes to it have no effect."""
    inline: SourceText | None = None
    """The text of the one module that ``job`` names, whose name then has no dots; for small
    jobs."""
    archive: ArchiveCode | None = None
    """An archive that each worker pod downloads, checks and unpacks before it starts."""
    secret: SubmittedCode | None = None
    """Secrets that a submission made, with the pickled job."""

    @model_validator(mode="after")
    def _one_source(self) -> "Code":
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "sources",
                "expected exactly one of configMap, inline, archive and secret, found {found}",
                {"found": " and ".join(given).replace("config_map", "configMap") or "none"},
            )
        return self


class Exclusion(Model):
    """When a worker on which different tasks keep failing gets no more of them."""

    after_failures: CountOrZero | None = None
    """After failures of this many different tasks on it. 0: never. Unset: 3."""


class Retries(Model):
    """How often a task is tried."""

    max_attempts: Count | None = None
    """Attempts of one task that may fail because of the user's code or data before the job fails.
    Unset: as the job says, or 4."""
    max_consecutive_losses: Count | None = None
    """How many times in a row a task may lose its worker or partition service before the job
    fails. Such losses never count as attempts. Unset: 20."""
    exclusion: Exclusion | None = None
    """When to stop using a worker for a while."""


class Speculation(Model):
    """When a slow task gets a rival attempt."""

    enabled: Flag = False
    """Whether slow tasks get rivals at all."""
    quantile: Share | None = None
    """Share of the stage's tasks that must be done first, from 0 to 1. Unset: 0.75."""
    multiplier: Factor | None = None
    """How many times longer than the median of the stage a task must run. Unset: 2."""


class Output(Model):
    """Where the last stage's records are written."""

    url: Url
    """A directory that does not exist yet, or is empty: a path or any URL that fsspec knows."""
    format: OutputFormat = "text"
    """text (key, tab, value), jsonl, csv, parquet or pickle."""


class Spec(Model):
    """What to run, on what, and within which limits."""

    job: JobPath
    """The job, as "module:attribute": a Python module and the Job (or its class) in it, for
    instance "wordcount:WordCount"."""
    code: Code | None = None
    """Where the job's modules come from; exactly one source. Unset: the image (locally: the
    manifest's directory)."""
    requirements: Many[Requirement] = ()
    """Python packages that pip installs in each worker pod before it starts, for instance
    "numpy>=2"."""
    inputs: Annotated[tuple[Urls, ...], Field(strict=False)] = ()
    """What the first stage reads: paths, URLs, globs or directories. An item that is itself a list
    has several URLs of the same content. Unset: the job's own inputs."""
    params: KubernetesObject = Field(default_factory=dict)
    """The job's params, by name, over those of its class."""
    partitions: Count | None = None
    """Partitions of a classic job's map output. Unset: as the job says."""
    output: Output | None = None
    """Where the last stage's records are written. Unset: the results stay in the partition
    services until the job is deleted."""

    image: Text | None = None
    """Container image of all of the job's pods. Unset: the operator's default."""
    image_pull_policy: PullPolicy | None = None
    """When to pull the image. Unset: as the operator's own, or Kubernetes' default."""
    image_pull_secrets: Many[NamedObject] = ()
    """Secrets with credentials for the image's registry."""
    workers: Workers = Workers()
    """The pods (locally: processes) that run tasks. They go from stage to stage; stages named
    under ``stages`` have pods of their own."""
    stages: Annotated[dict[str, StageSettings], Field(max_length=50)] = Field(default_factory=dict)
    """What differs in single stages, by the stage's name. Their pods are there only while the
    stage needs them."""
    coordinator: Coordinator = Coordinator()
    """The pod that hands out the job's tasks."""
    partition_service: PartitionService = PartitionService()
    """The pods (locally: processes) that keep what tasks write, for the next stage to read."""

    retries: Retries = Retries()
    """How often a task is tried, and when a worker is left out."""
    speculation: Speculation | None = None
    """When a slow task gets a rival on another worker; the first to finish wins. Unset: never."""
    task_timeout: Seconds | None = None
    """How long one attempt at a task may run, for instance 10m; then it is killed and counts as
    failed. 0, or unset: no limit."""
    memory_limit: SizeBytes | None = None
    """Private memory of one slot, for instance 512Mi; beyond it the task fails with a MemoryError,
    and the pod goes on. 0, or unset: no limit but the pod's."""
    sort_memory: SizeBytes | None = None
    """Records that a slot keeps in memory while it sorts, before it spills to disk. Unset:
    128Mi."""
    split_size: SizeBytes | None = None
    """Text for each task of the first stage; larger files are split at line boundaries. Unset:
    32Mi."""

    active_deadline_seconds: Count | None = None
    """How many seconds the job may run, without the time it is suspended; then it fails. May
    change while the job runs. Unset: no limit."""
    ttl_seconds_after_finished: CountOrZero | None = None
    """The finished job, and results that are not in its output, are deleted after so many seconds.
    May always change. Unset: never."""
    suspend: Flag = False
    """true: do not start, or pause. Coordinator and workers leave; finished work stays. With
    emptyDir storage the partition services' pods stay, too, because they hold the finished work;
    with a volume claim template they leave as well."""
    cancel: Flag = False
    """true: stop the job for good. Cannot be taken back."""
    retry: CountOrZero = 0
    """Increase it to run the failed tasks of a failed job again; finished work is kept as long as
    ``partitionService.keepAfterFailure`` allows."""

    @model_validator(mode="after")
    def _inline_module(self) -> "Spec":
        module = self.job.partition(":")[0]
        if self.code is not None and self.code.inline is not None and "." in module:
            raise PydanticCustomError(
                "inline",
                "inline code is one module, so its name in job cannot be {module}",
                {"module": module},
            )
        return self

    def engine_settings(self) -> dict[str, Any]:
        """Return what the spec asks for of the fields of ``JobSettings``, without a deadline.

        Who sees to the deadline, and from when it counts, differs between a laptop and a cluster.
        """
        exclusion = self.retries.exclusion
        rivals = self.speculation if self.speculation and self.speculation.enabled else None
        copies = self.partition_service.copies
        asked = {
            "max_attempts": self.retries.max_attempts,
            "max_consecutive_losses": self.retries.max_consecutive_losses,
            "exclude_after_failures": exclusion and exclusion.after_failures,
            "task_timeout_s": self.task_timeout,
            "memory_limit_bytes": self.memory_limit,
            "sort_memory_bytes": self.sort_memory,
            "split_size_bytes": self.split_size,
            "copies": copies if copies > 1 else None,
            "speculation_quantile": rivals and rivals.quantile,
            "speculation_multiplier": rivals and (rivals.multiplier or SPECULATION_MULTIPLIER),
        }
        return {name: value for name, value in asked.items() if value is not None}


class Metadata(Model):
    """The part of Kubernetes' object metadata that a manifest has."""

    name: ObjectName
    """Unique in its namespace."""
    namespace: Name | None = None
    """Unset: that of the kubectl context."""
    labels: dict[str, str] = Field(default_factory=dict)
    """For selection."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """For tools."""


class DiscoJob(Model):
    """One MapReduce job or pipeline: the manifest that ``kubectl apply`` and ``disco run`` take."""

    api_version: Annotated[Literal["discoproject.org/v1alpha1"], expected(f'"{API_VERSION}"')]
    """Always discoproject.org/v1alpha1."""
    kind: Annotated[Literal["DiscoJob"], expected(f'"{KIND}"')]
    """Always DiscoJob."""
    metadata: Metadata
    """The job's name."""
    spec: Spec
    """What to run."""

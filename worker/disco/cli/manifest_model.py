"""The DiscoJob manifest as values: every field that ``kubectl apply`` and ``disco run`` accept.

Only shapes and types; ``disco.cli.manifest`` reads files and words the errors.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from disco.cli.manifest_fields import (
    Count,
    CountOrZero,
    Flag,
    Integer,
    JobPath,
    KubernetesObject,
    Many,
    Model,
    Number,
    ObjectName,
    OutputFormat,
    PullPolicy,
    Quantity,
    Seconds,
    Sha256,
    SizeBytes,
    Text,
    Urls,
    expected,
)

API_VERSION = "discoproject.org/v1alpha1"
KIND = "DiscoJob"


class NamedObject(Model):
    """A reference to a Kubernetes object in the job's namespace."""

    name: Text
    """Name of the object."""


class ArchiveCode(Model):
    """Code fetched from a URL."""

    url: Text
    """Where the .zip or .tar.gz is; any URL that fsspec knows."""
    sha256: Sha256
    """Checksum of the archive: code is never run unchecked."""


class Code(Model):
    """Where the job's modules come from; exactly one of the fields. Without any: the image."""

    config_map: NamedObject | None = None
    """A ConfigMap whose keys are file names (``wordcount.py``)."""
    inline: Text | None = None
    """The text of the one module that ``job`` names; for small jobs."""
    archive: ArchiveCode | None = None
    """An archive to download, check and unpack."""
    secret: NamedObject | None = None
    """A Secret that a submission made."""

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


class EnvironmentVariable(Model):
    """One environment variable of the worker pods."""

    name: Text
    """Name of the variable."""
    value: Annotated[str, expected("a text (numbers need quotes here)")] | None = None
    """Its value."""
    value_from: KubernetesObject | None = None
    """Where its value comes from, as in a pod."""


class Resources(Model):
    """CPU and memory of one container."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What the scheduler reserves, for instance ``cpu: 500m``."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """What the container may use at most, for instance ``memory: 2Gi``."""
    claims: Many[KubernetesObject] = ()
    """Claims of dynamic resources, as in a pod."""


class PodSettings(Model):
    """What pods of every role may be given."""

    resources: Resources | None = None
    """CPU and memory of one pod."""
    env: Many[EnvironmentVariable] = ()
    """Environment variables."""
    env_from: Many[KubernetesObject] = ()
    """ConfigMaps and Secrets whose keys become environment variables, as in a pod."""
    volumes: Many[KubernetesObject] = ()
    """Volumes, as in a pod."""
    volume_mounts: Many[KubernetesObject] = ()
    """Where the volumes appear, as in a container."""
    node_selector: dict[str, Text] = Field(default_factory=dict)
    """Labels a node must have."""
    tolerations: Many[KubernetesObject] = ()
    """Taints of nodes that the pods tolerate, as in a pod."""
    affinity: KubernetesObject | None = None
    """Affinity, as in a pod."""
    topology_spread_constraints: Many[KubernetesObject] = ()
    """How to spread the pods, as in a pod."""
    priority_class_name: Text | None = None
    """PriorityClass of the pods."""
    service_account_name: Text | None = None
    """ServiceAccount of the pods; its API token is not mounted."""
    pod_template: KubernetesObject | None = None
    """Overlay for everything else of the pod's template; merged last."""


class Workers(PodSettings):
    """The pods (or, locally, processes) that run a stage's tasks."""

    replicas: Count | None = None
    """How many; not together with min and max."""
    min: CountOrZero | None = None
    """At least this many, however few tasks wait."""
    max: Count | None = None
    """At most this many, however many tasks wait."""
    slots: Count | None = None
    """Tasks that one worker runs at the same time."""

    @model_validator(mode="after")
    def _replicas_or_range(self) -> "Workers":
        if self.replicas is not None and (self.min is not None or self.max is not None):
            raise PydanticCustomError(
                "replicas", "expected replicas, or min and max, but not both", {}
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise PydanticCustomError(
                "range",
                "expected min to be at most max, found min {min} and max {max}",
                {"min": self.min, "max": self.max},
            )
        return self


class StageSettings(Model):
    """What differs in one stage."""

    workers: Workers = Workers()
    """Overrides ``spec.workers``, field by field."""


class Coordinator(PodSettings):
    """The pod that owns the job's tasks."""


class EmptyDir(Model):
    """Storage on the node's own disk."""

    size_limit: SizeBytes | None = None
    """How much; the service refuses more before the kubelet evicts it."""
    medium: Literal["", "Memory"] = ""
    """Empty: disk."""


class Storage(Model):
    """Where a partition service keeps its files."""

    empty_dir: EmptyDir | None = None
    """The node's disk: fast, gone with the pod."""
    volume_claim_template: KubernetesObject | None = None
    """A PersistentVolumeClaim's spec."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Storage":
        if self.empty_dir is not None and self.volume_claim_template is not None:
            raise PydanticCustomError(
                "storage", "expected emptyDir or volumeClaimTemplate, but not both", {}
            )
        return self


class PartitionService(PodSettings):
    """The pods (or, locally, processes) that keep what tasks write."""

    replicas: Count | None = None
    """How many."""
    storage: Storage | None = None
    """Where they keep it."""
    copies: Count | None = None
    """How many services keep each output; with 2, losing one costs nothing."""


class Exclusion(Model):
    """When a worker on which different tasks keep failing gets no more of them."""

    after_failures: CountOrZero | None = None
    """After failures of this many different tasks; 0: never."""


class Retries(Model):
    """How often a task is tried."""

    max_attempts: Count | None = None
    """Attempts that may fail because of the user's code or data."""
    max_consecutive_losses: Count | None = None
    """Times in a row a task may lose its worker or partition service."""
    exclusion: Exclusion | None = None
    """When to stop using a worker."""


class Speculation(Model):
    """When a slow task gets a rival attempt."""

    enabled: Flag = False
    """Whether it does at all."""
    quantile: Number | None = None
    """Share of the stage's tasks that must be done first, 0 to 1."""
    multiplier: Number | None = None
    """How many times slower than the median it must be."""


class Output(Model):
    """Where the last stage's records are written."""

    url: Text
    """A directory that does not exist yet, or is empty: a path or any URL that fsspec knows."""
    format: OutputFormat = "text"
    """text (key, tab, value), jsonl, csv, parquet or pickle."""


class Spec(Model):
    """What to run, on what, and within which limits."""

    job: JobPath
    """The job: "module:attribute"."""
    code: Code | None = None
    """Where its modules come from; unset: the image (locally: the manifest's directory)."""
    requirements: Many[Text] = ()
    """Python packages that pip installs before the job starts."""
    inputs: Many[Urls] = ()
    """URLs, globs or directories; a list inside the list has URLs of the same content."""
    params: dict[str, Any] = Field(default_factory=dict)
    """The job's params, over those of its class."""
    partitions: Count | None = None
    """Partitions of a classic job's map output."""
    output: Output | None = None
    """Unset: the results stay in the partition services until the job expires."""

    image: Text | None = None
    """Container image; unset: the operator's own."""
    image_pull_policy: PullPolicy | None = None
    """As in a container."""
    image_pull_secrets: Many[NamedObject] = ()
    """As in a pod."""
    workers: Workers = Workers()
    """Workers of every stage."""
    stages: dict[str, StageSettings] = Field(default_factory=dict)
    """What differs in single stages, by name."""
    coordinator: Coordinator = Coordinator()
    """The coordinator's pod."""
    partition_service: PartitionService = PartitionService()
    """The partition services' pods."""

    retries: Retries = Retries()
    """How often a task is tried."""
    speculation: Speculation | None = None
    """When a slow task gets a rival."""
    task_timeout: Seconds | None = None
    """How long one attempt may run; 0: no limit."""
    memory_limit: SizeBytes | None = None
    """Private memory of one slot; 0: no limit."""
    sort_memory: SizeBytes | None = None
    """Records a slot keeps in memory while it sorts, before it spills to disk."""
    split_size: SizeBytes | None = None
    """Text per task of the first stage; larger files are split at line boundaries."""

    active_deadline_seconds: Count | None = None
    """How long the job may run."""
    ttl_seconds_after_finished: CountOrZero | None = None
    """When the finished job and its results are deleted."""
    suspend: Flag = False
    """Do not start, or pause: all pods leave, finished work stays."""
    cancel: Flag = False
    """Stop the job for good."""
    retry: Integer = 0
    """Change it to run the failed tasks of a failed job again."""


class Metadata(Model):
    """The part of Kubernetes' object metadata that a manifest has."""

    name: ObjectName
    """Unique in its namespace."""
    namespace: Text | None = None
    """Unset: that of the kubectl context."""
    labels: dict[str, str] = Field(default_factory=dict)
    """For selection."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """For tools."""


class DiscoJob(Model):
    """One job: the manifest that ``kubectl apply`` and ``disco run`` take."""

    api_version: Annotated[Literal["discoproject.org/v1alpha1"], expected(f'"{API_VERSION}"')]
    """Always discoproject.org/v1alpha1."""
    kind: Annotated[Literal["DiscoJob"], expected(f'"{KIND}"')]
    """Always DiscoJob."""
    metadata: Metadata
    """The job's name."""
    spec: Spec
    """What to run."""

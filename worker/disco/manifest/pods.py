"""What a manifest says about the job's pods: of all roles, and of each.

Where a role runs as a process, locally, only some of it means anything.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from disco.manifest.fields import (
    ClaimSpec,
    Copies,
    Count,
    CountOrZero,
    Factor,
    KubernetesObject,
    Many,
    Model,
    Name,
    Quantity,
    Seconds,
    SizeBytes,
    expected,
)


class EnvironmentVariable(Model):
    """One environment variable."""

    name: Name
    """Name of the variable."""
    value: (
        Annotated[str, Field(max_length=131_072), expected("a text (numbers need quotes here)")]
        | None
    ) = None
    """Its value, a text: numbers need quotes."""
    value_from: KubernetesObject | None = None
    """Where its value comes from, as in a pod: secretKeyRef, configMapKeyRef, fieldRef or
    resourceFieldRef."""

    @model_validator(mode="after")
    def _one_value(self) -> "EnvironmentVariable":
        if self.value is not None and self.value_from is not None:
            raise PydanticCustomError("value", "expected value or valueFrom, but not both", {})
        return self


class Resources(Model):
    """CPU and memory of one container."""

    requests: dict[str, Quantity] = Field(default_factory=dict)
    """What the scheduler reserves, for instance ``cpu: 500m`` and ``memory: 1Gi``."""
    limits: dict[str, Quantity] = Field(default_factory=dict)
    """What the container may use at most, for instance ``memory: 2Gi``."""
    claims: Many[KubernetesObject] = ()
    """Claims of dynamic resources, as in a container."""


class PodSettings(Model):
    """What pods of every role may be given."""

    resources: Resources | None = None
    """CPU and memory of one pod. Unset: small requests and no limits."""
    env: Many[EnvironmentVariable] = ()
    """Environment variables of the container."""
    env_from: Many[KubernetesObject] = ()
    """ConfigMaps and Secrets whose keys become environment variables, as in a container."""
    volumes: Many[KubernetesObject] = ()
    """Volumes, as in a pod."""
    volume_mounts: Many[KubernetesObject] = ()
    """Where the volumes appear, as in a container."""
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Many[KubernetesObject] = ()
    """Taints of nodes that the pods tolerate, as in a pod."""
    affinity: KubernetesObject | None = None
    """Node and pod affinity, as in a pod."""
    topology_spread_constraints: Many[KubernetesObject] = ()
    """How to spread the pods over nodes and zones, as in a pod."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods."""
    scheduler_name: Name | None = None
    """Scheduler of the pods. Unset: Kubernetes' own."""
    runtime_class_name: Name | None = None
    """RuntimeClass of the pods, for instance one that sandboxes them."""
    service_account_name: Name | None = None
    """ServiceAccount of the pods. No pod gets a token for the Kubernetes API from it."""
    pod_template: KubernetesObject | None = None
    """Overlay for everything else: metadata and spec of a pod template, merged last, over what
    the operator makes."""


class Workers(PodSettings):
    """The pods (or, locally, processes) that run a stage's tasks."""

    replicas: Count | None = None
    """How many pods; not together with min and max. May change while the job runs. Unset, and
    without min and max: 2 on a cluster, one for each core on a laptop."""
    min: CountOrZero | None = None
    """At least this many pods while there is work, however few tasks wait. May change while the
    job runs."""
    max: Count | None = None
    """At most this many pods, however many tasks wait. May change while the job runs."""
    slots: Count | None = None
    """Tasks that one pod runs at the same time, each in a process of its own. Unset: 1."""
    oom_retry_factor: Factor = 1.5
    """When a pod runs out of memory (OOMKilled), its memory request and limit are raised once by
    this factor. 1: never."""

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
    """Workers of this stage only. Overrides ``spec.workers``, field by field; replicas replaces
    min and max, and the other way round."""


class Coordinator(PodSettings):
    """The pod that owns the job's tasks."""


class EmptyDir(Model):
    """Storage on the node's own disk."""

    size_limit: SizeBytes | None = None
    """How much the pod may keep, for instance 20Gi. The service refuses more before the kubelet
    evicts the pod. Unset: as much as the node's disk has."""
    medium: Literal["", "Memory"] = ""
    """Empty: the node's disk. Memory: RAM, which counts as the pod's memory."""


class Storage(Model):
    """Where a partition service keeps its files."""

    empty_dir: EmptyDir | None = None
    """The node's disk: fast, gone with the pod."""
    volume_claim_template: ClaimSpec | None = None
    """Spec of a PersistentVolumeClaim for each pod (storageClassName, resources and so on): slower,
    but what is kept outlives its pod. Without accessModes: ReadWriteOnce."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Storage":
        if self.empty_dir is not None and self.volume_claim_template is not None:
            raise PydanticCustomError(
                "storage", "expected emptyDir or volumeClaimTemplate, but not both", {}
            )
        return self


class PartitionService(PodSettings):
    """The pods (or, locally, processes) that keep what tasks write."""

    replicas: Count = 1
    """How many pods share the job's data."""
    storage: Storage | None = None
    """Where they keep it. Unset: emptyDir without a limit."""
    copies: Copies = 1
    """How many services keep each output, 1 or 2. With 2, every block is sent and written twice,
    and when a service is lost no task runs again; with 1, those run again whose output it had."""
    keep_after_failure: Seconds = Field(default="1h", validate_default=True)
    """How long the services stay after the job has failed, with what its tasks have finished, so
    that ``retry`` need not start from nothing. 0: not at all."""

    @model_validator(mode="after")
    def _enough_services(self) -> "PartitionService":
        if self.copies > self.replicas:
            raise PydanticCustomError(
                "copies",
                "expected copies to be at most replicas, found copies {copies} and replicas"
                " {replicas}",
                {"copies": self.copies, "replicas": self.replicas},
            )
        return self

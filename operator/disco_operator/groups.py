"""Which worker pods serve which stages.

Stages that the manifest names under ``spec.stages`` have a group of pods of their own, there only
while the stage needs them. All other stages share one group, whose warm pods go from stage to
stage.
"""

from dataclasses import dataclass

from disco.manifest import Spec, Workers
from disco_operator import names
from disco_operator.model import JobKey

DEFAULT_REPLICAS = 2
SHARED = "shared"
"""Stage label of workers that belong to no stage in particular; no stage's slug is like that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerGroup:
    """The pods that serve one stage, or all that have no group of their own.

    Attributes:
        name: Of the Deployment.
        stage: The stage; None: the shared group.
        except_stages: The stages that the shared group leaves to others.
        workers: Settings of its pods.
    """

    name: str
    stage: str | None
    except_stages: tuple[str, ...] = ()
    workers: Workers

    def takes(self, stage: str) -> bool:
        """Return whether its pods run tasks of *stage*."""
        return stage == self.stage if self.stage is not None else stage not in self.except_stages

    @property
    def label(self) -> str:
        """Value of the label that tells its pods from those of other groups."""
        return SHARED if self.stage is None else names.slug(self.stage)

    @property
    def slots(self) -> int:
        """Tasks that one pod runs at a time."""
        return self.workers.slots or 1

    @property
    def least(self) -> int:
        """Pods that are there while it is needed, however little there is to do."""
        if self.workers.replicas is not None:
            return self.workers.replicas
        return max(self.workers.min or 0, 1) if self.elastic else DEFAULT_REPLICAS

    @property
    def most(self) -> int:
        """Pods it never exceeds."""
        return max(self.workers.max or self.least, self.least) if self.elastic else self.least

    @property
    def elastic(self) -> bool:
        """Whether the number of pods follows the number of tasks."""
        return self.workers.min is not None or self.workers.max is not None


def groups_of(key: JobKey, spec: Spec) -> tuple[WorkerGroup, ...]:
    """Return a job's groups, the shared one first."""
    own = tuple(sorted(spec.stages))
    shared = WorkerGroup(
        name=names.shared_workers(key), stage=None, except_stages=own, workers=spec.workers
    )
    return shared, *(
        WorkerGroup(
            name=names.stage_workers(key, stage),
            stage=stage,
            workers=_overlaid(spec.workers, spec.stages[stage].workers),
        )
        for stage in own
    )


def _overlaid(base: Workers, over: Workers) -> Workers:
    """Return *base* with the fields that *over* sets; a number replaces a range, and vice versa."""
    changes = {name: getattr(over, name) for name in over.model_fields_set}
    if changes.get("replicas") is not None:
        changes = {"min": None, "max": None, **changes}
    elif changes.get("min") is not None or changes.get("max") is not None:
        changes = {"replicas": None, **changes}
    return base.model_copy(update=changes)

"""What partition services were found to hold from before: plans and sealed attempts.

It is kept until the stage it belongs to is planned; then each task gets the newest attempt that is
its own, and the rest is dropped.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from disco_engine.core import label_table
from disco_engine.core.model import Group, Plan, SealedAttempt, ServiceId
from disco_engine.core.task_events import Output


class Found(NamedTuple):
    """A sealed attempt, or a copy of one, that a service has.

    Attributes:
        group: What its task was about when it was sealed.
        output: What it left.
        copy: Nobody reads it there: it is kept as a copy of what was sealed elsewhere.
    """

    group: Group
    output: Output
    copy: bool = False


def found(sealed: SealedAttempt, service: ServiceId, *, copy: bool = False) -> Found:
    """Return what *service* told about a sealed attempt, or a copy, in the core's words."""
    output = Output(
        id=sealed.id,
        service=service,
        table=label_table.pack(sealed.labels),
        records_in=sealed.records_in,
        bytes_in=sealed.bytes_in,
        file=sealed.output_file,
        file_records=sealed.output_records,
        values=sealed.values,
    )
    return Found(sealed.group, output, copy)


class Inventory:
    """What was found and is not yet claimed by a task."""

    def __init__(self) -> None:
        self._plans: dict[ServiceId, Plan] = {}
        self._found: dict[int, list[Found]] = {}

    def note_plan(self, service: ServiceId, plan: Plan) -> None:
        """Keep the plan that a service has."""
        self._plans[service] = plan

    def keep(self, item: Found) -> None:
        """Keep a sealed attempt until its stage is planned."""
        self._found.setdefault(item.output.id.stage, []).append(item)

    def forget(self, service: ServiceId) -> None:
        """Forget what a service had; it is gone, or will tell again."""
        self._plans.pop(service, None)
        for stage, items in self._found.items():
            self._found[stage] = [item for item in items if item.output.service != service]

    def plan(self) -> Plan | None:
        """Return the plan that the services have; None: none has one.

        Raises:
            PlansDifferError: They have different ones.
        """
        services = sorted(self._plans)
        if not services:
            return None
        plan = self._plans[services[0]]
        if any(self._plans[service] != plan for service in services):
            raise PlansDifferError(services)
        return plan

    def all_have_plan(self, services: Iterable[ServiceId]) -> bool:
        """Return whether each of *services* told a plan."""
        return all(service in self._plans for service in services)

    def take(self, stage: int) -> Iterator[Found]:
        """Remove and yield what was found of *stage*, the newest attempt of each task first.

        What is sealed comes before its copies.
        """
        items = self._found.pop(stage, [])
        items.sort(
            key=lambda item: (item.output.id[2:], not item.copy, item.output.service), reverse=True
        )
        yield from items

    def take_all(self) -> Iterator[Found]:
        """Remove and yield everything."""
        for stage in list(self._found):
            yield from self.take(stage)


class PlansDifferError(Exception):
    """Services have different plans (or another than the job), so their data cannot be combined."""

    def __init__(self, services: Sequence[ServiceId]) -> None:
        super().__init__(
            f"the data of partition service {', '.join(services)} was made with different plans of"
            " this job and cannot be combined; delete it and start the job again"
        )

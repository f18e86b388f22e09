"""A machine for one job, and short names for what happens to it, to tell stories with."""

from collections.abc import Iterable
from typing import TypeVar

from disco_engine.core.actions import Action, Assign, Audit, RecordPlan, Seal, Work
from disco_engine.core.events import (
    AttemptFailed,
    AttemptFinished,
    CreditGranted,
    Event,
    PlanRecorded,
    Sealed,
    ServiceAttached,
    Tick,
    WorkerHeard,
    WorkerJoined,
)
from disco_engine.core.job import JobMachine
from disco_engine.core.model import (
    AttemptId,
    AttemptResult,
    Failure,
    FailureKind,
    Grouping,
    Label,
    NodeName,
    Plan,
    SealedAttempt,
    ServiceId,
    Stage,
    TaskInput,
    Totals,
    WorkerId,
)
from disco_engine.core.settings import JobSettings

PS0, PS1 = ServiceId("ps-0"), ServiceId("ps-1")
W1, W2 = WorkerId("w1"), WorkerId("w2")
BOOM = Failure(kind=FailureKind.USER, message="ZeroDivisionError: division by zero")
Some = TypeVar("Some", bound=Action)


def only(actions: Iterable[Action], kind: type[Some]) -> list[Some]:
    return [action for action in actions if isinstance(action, kind)]


def plan_of(*groupings: Grouping, inputs: int = 2) -> Plan:
    return Plan(
        stages=tuple(Stage(name=f"s{i}", grouping=g) for i, g in enumerate(groupings, 1)),
        inputs=tuple(TaskInput(urls=(f"in-{i}",)) for i in range(inputs)),
    )


class Job:
    """A machine, and short names for what happens to it."""

    def __init__(
        self,
        *,
        has_output: bool = False,
        services: tuple[ServiceId, ...] = (PS0,),
        settings: JobSettings | None = None,
    ) -> None:
        self.now = 0.0
        self.held: dict[ServiceId, dict[AttemptId, SealedAttempt]] = {n: {} for n in services}
        self.pushed: dict[AttemptId, dict[Label, Totals]] = {}
        self.machine = JobMachine(
            settings or JobSettings(),
            epoch=1,
            has_output=has_output,
            services=services,
            now=0.0,
        )

    def tell(self, *events: Event) -> list[Action]:
        return [action for event in events for action in self.machine.handle(event)]

    def attach(self, service: ServiceId = PS0, node: str = "n1") -> list[Action]:
        """Have a service tell all that was sealed there."""
        return self.tell(
            ServiceAttached(
                service=service,
                node=NodeName(node),
                incarnation="first",
                sealed=tuple(self.held[service].values()),
                now=self.now,
            )
        )

    def join(self, worker: WorkerId = W1, credit: int = 10, node: str = "n1") -> list[Action]:
        join = WorkerJoined(worker=worker, node=NodeName(node), slots=10, now=self.now)
        return self.tell(join, CreditGranted(worker=worker, tasks=credit, now=self.now))

    def finish(self, assign: Assign, labels: Iterable[Label] = (0,)) -> list[Action]:
        result = AttemptResult(labels={label: Totals(1, 2, 30) for label in labels})
        return self.result(assign, result)

    def result(self, assign: Assign, result: AttemptResult) -> list[Action]:
        self.pushed[assign.id] = dict(result.labels)
        return self.tell(
            AttemptFinished(id=assign.id, worker=assign.worker, result=result, now=self.now)
        )

    def fail(self, assign: Assign, failure: Failure = BOOM) -> list[Action]:
        return self.tell(
            AttemptFailed(id=assign.id, worker=assign.worker, failure=failure, now=self.now)
        )

    def sealed(self, actions: Iterable[Action]) -> list[Action]:
        """Have all seals that were asked for answered, and audits too."""
        answers = self.only_sealed(actions)
        for audit in only(answers, Audit):
            answers += self.attach(audit.service)
        return answers

    def only_sealed(self, actions: Iterable[Action]) -> list[Action]:
        """Have all seals that were asked for answered."""
        answers = []
        for seal in only(actions, Seal):
            labels = self.pushed[seal.id]
            self.held[seal.service][seal.id] = SealedAttempt(
                id=seal.id, group=seal.group, labels=labels
            )
            answers += self.tell(Sealed(id=seal.id, service=seal.service))
        return answers

    def after(self, seconds: float) -> list[Action]:
        self.now += seconds
        heard = [WorkerHeard(worker=w, now=self.now) for w in (W1, W2)]
        return self.tell(*heard, Tick(now=self.now))

    def planned(self, plan: Plan) -> list[Assign]:
        """Join a worker, let it make *plan*, and return what is assigned then."""
        (assign,) = only([*self.attach(), *self.join()], Assign)
        assert assign.work is Work.PLAN
        (record,) = only(self.result(assign, AttemptResult(plan=plan)), RecordPlan)
        assert record.plan == plan
        return only(self.tell(PlanRecorded()), Assign)

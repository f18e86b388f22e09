"""One round: two jobs at the same time, what goes wrong meanwhile, and whether both are right."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from chaos import job as chaos_job
from chaos.plan import OVER, Planned, draw
from harness import volumes
from harness.diagnosis import of_namespace
from harness.gateway import Gateway, token_of
from harness.jobs import RunningJob, discojob, results
from harness.kubectl import Api, RefusedError
from harness.namespaces import Namespace
from harness.nodes import Nodes
from harness.release import Operator
from harness.waiting import wait_for

from faults.menu import MENU, Fault, Target
from faults.strikes import NothingToStrikeError, Saboteur

T = TypeVar("T")

SIZE = chaos_job.Size(inputs=45, words=400, pause_s=0.02)
"""About twenty seconds with three workers, if nothing goes wrong."""

_CODE = Path(chaos_job.__file__).read_text()
_PATIENCE_S = 400.0
"""For both jobs, from their submission: a lost node takes half a minute to be noticed."""
_UNAVAILABLE_S = 90.0
"""How long the API server may be away: longer than any fault lasts."""
_LEAST, _MOST = 4, 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """What rounds take place on.

    Attributes:
        api: The API server.
        cluster: Of ``kube/``.
        image: The project's, as the nodes know it.
        operator: The operator.
        gateway: The gateway.
    """

    api: Api
    cluster: str
    image: str
    operator: Operator
    gateway: Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a round went.

    Attributes:
        seed: Its seed.
        story: What was done to what, and when.
        retries: Attempts beyond the first of each task, of both jobs.
        checksum: Of their common result.
        seconds: From the submission to the last record.
    """

    seed: int
    story: Sequence[str]
    retries: int
    checksum: str
    seconds: float


def play(stand: Stand, seed: int) -> Outcome:
    """Run a round.

    Raises:
        AssertionError: A job failed, or its result is wrong, or something is left of it.
    """
    plan = draw(seed, MENU, least=_LEAST, most=_MOST)
    began = time.monotonic()
    with ExitStack() as stack:
        space = Namespace.create(stand.api, "chaos")
        stack.callback(space.leave)
        volume = volumes.shared_volume(stand.api, space.name, stand.image, stand.cluster)
        token = token_of(space)
        nodes = Nodes(stand.api, stand.cluster)
        classic, pipeline = (space.submit(manifest) for manifest in _manifests(seed, plan))
        saboteur = Saboteur(
            api=stand.api,
            cluster=stand.cluster,
            nodes=nodes,
            operator=stand.operator,
            gateway=stand.gateway,
            jobs=(classic, pipeline),
            filled=(classic,),
        )
        stack.callback(stand.gateway.wait_until_ready)
        stack.callback(stand.operator.wait_until_ready)
        stack.callback(nodes.restore)
        campaign = stack.enter_context(_campaign(saboteur, plan, began))
        _follow((classic, pipeline), campaign, began + _PATIENCE_S)
        expected = chaos_job.checksum(chaos_job.right_answer(SIZE).items())
        written = results(volume)
        found = {
            "classic": chaos_job.checksum((word, int(n)) for word, n in written.items()),
            "pipeline": chaos_job.checksum(
                asyncio.run(_read(stand.gateway, token, space.name, pipeline.name))
            ),
        }
        assert found == dict.fromkeys(found, expected), f"wrong results: {found}, not {expected}"
        return Outcome(
            seed=seed,
            story=campaign.story,
            retries=sum(_patiently(job.status)["retries"] for job in (classic, pipeline)),
            checksum=expected,
            seconds=time.monotonic() - began,
        )


class Campaign:
    """What goes wrong in a round: each thing at its moment, and until its time is over.

    Attributes:
        story: What was done so far.
    """

    def __init__(
        self, saboteur: Saboteur, plan: Sequence[Planned], began: float, pool: ThreadPoolExecutor
    ) -> None:
        self.story: list[str] = []
        self._saboteur = saboteur
        self._ahead = list(plan)
        self._began = began
        self._pool = pool
        self._over = threading.Event()
        self._under_way: list[Future[None]] = []

    def advance(self, share: float) -> None:
        """Begin what is due when *share* of the work is done.

        Raises:
            Exception: What was begun before could not be done.
        """
        for future in self._under_way:
            if future.done():
                future.result()
        while self._ahead and min(self._ahead[0].at, OVER) <= share:
            self._under_way.append(self._pool.submit(self._strike, self._ahead.pop(0)))

    def end(self) -> None:
        """Undo all of it.

        Raises:
            Exception: Something could not be done or undone.
        """
        self._over.set()
        for future in self._under_way:
            future.result()

    def _strike(self, planned: Planned) -> None:
        if self._over.wait(planned.delay_s):
            return
        try:
            struck = _patiently(partial(self._saboteur.strike, planned))
        except NothingToStrikeError as error:
            self._tell(f"{planned}: {error}")
            return
        self._tell(f"{planned}: {struck.what}")
        self._over.wait(planned.lasts_s)
        _patiently(struck.undo)

    def _tell(self, what: str) -> None:
        self.story.append(f"{time.monotonic() - self._began:6.1f} s: {what}")


@contextmanager
def _campaign(saboteur: Saboteur, plan: Sequence[Planned], began: float) -> Iterator[Campaign]:
    with ThreadPoolExecutor(max_workers=max(len(plan), 1)) as pool:
        campaign = Campaign(saboteur, plan, began, pool)
        try:
            yield campaign
        except Exception as error:
            error.add_note("\n".join(["--- what was done", *campaign.story]))
            (job, *_) = saboteur.jobs
            with suppress(OSError, AssertionError):
                error.add_note(of_namespace(job.api, job.namespace, saboteur.operator))
            raise
        finally:
            campaign.end()


def _manifests(seed: int, plan: Sequence[Planned]) -> Iterator[Mapping[str, Any]]:
    """Yield a job with an output, and one whose results stay on the services' volumes."""
    chance = random.Random(f"jobs {seed}")
    costly = any(fault.target == Target.SLOT and fault.fault == Fault.KILL for fault in plan)
    common: Mapping[str, Any] = {
        "code": _CODE,
        "inputs": SIZE.urls,
        "params": vars(SIZE.params),
        "workers": {"replicas": 3},
        # Nothing costs an attempt but what happens to the process that runs the user's code.
        "retries": {"maxAttempts": 4 if costly else 1},
    }
    memory = {"emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}
    yield discojob(
        "classic",
        job="counting:Classic",
        partitionService={"replicas": 2, "copies": chance.choice((1, 2)), "storage": memory},
        output={"url": "/shared/results"},
        **common,
    )
    claim = {"resources": {"requests": {"storage": "100Mi"}}}
    yield discojob(
        "pipeline",
        job="counting:Pipeline",
        shared=False,
        partitionService={
            "replicas": 2,
            "copies": chance.choice((1, 2)),
            "storage": {"volumeClaimTemplate": claim},
        },
        speculation={"enabled": chance.random() < 0.5},
        **common,
    )


def _follow(jobs: Sequence[RunningJob], campaign: Campaign, until: float) -> None:
    """Return once all have succeeded."""

    def all_done() -> bool:
        found = [_patiently(job.status) for job in jobs]
        for job, status in zip(jobs, found, strict=True):
            phase = status.get("phase")
            said = f"job {job.name} is {phase}: {status.get('observedMessage')}"
            assert phase not in ("Failed", "Cancelled"), said
        campaign.advance(sum(map(_share_done, found)) / len(found))
        return all(status.get("phase") == "Succeeded" for status in found)

    wait_for("both jobs to succeed", all_done, until - time.monotonic(), interval=0.5)


def _share_done(status: Mapping[str, Any]) -> float:
    """Return how much of a job is done: its stages count alike, however many tasks they have."""
    if status.get("phase") == "Succeeded":
        return OVER
    stages = [stage["tasks"] for stage in status.get("stages", ())]
    shares = [tasks.get("done", 0) / tasks["total"] if tasks["total"] else 0.0 for tasks in stages]
    return min(sum(shares) / len(shares), 0.999) if shares else 0.0


async def _read(gateway: Gateway, token: str, namespace: str, job: str) -> list[tuple[str, int]]:
    async with gateway.client(token, namespace) as client, asyncio.timeout(180):
        return [pair async for pair in client.records(job, trust=True)]


def _patiently(call: Callable[[], T]) -> T:
    """Return what a call returns, once the API server is there, and a disruption budget allows it.

    Raises:
        OSError: It was away for too long.
        RefusedError: It was, or it does not want to.
    """
    end = time.monotonic() + _UNAVAILABLE_S
    while True:
        try:
            return call()
        except RefusedError as error:
            if (error.code < 500 and error.code != 429) or time.monotonic() > end:
                raise
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.5)

"""One job on this machine, with all that its seed does to it: it must end, and be right."""

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos.faults import MissedError, Undo, inflict, with_disk_of_its_own
from chaos.job import JOBS, checksum, right_answer
from chaos.leftovers import processes_with
from chaos.plan import OVER, Planned
from chaos.scene import SILENCE_S, Scene
from disco.submission import job_spec
from disco.v1 import coordinator_pb2, job_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part

LIMIT_S = 240.0
_LOOK_S = 0.02
_DISK = "24m"
_SETTINGS = {"worker_lease_s": 3.0, "service_lease_s": 8.0}


class WrongError(Exception):
    """What must never be, is."""


@dataclass(kw_only=True)
class Round:
    """What became of a run.

    Attributes:
        story: What happened, with the seconds since the start.
        faults: How many were inflicted; others found nothing to hurt.
        retries: Attempts beyond the first of each task.
        restarts: Processes that were started again.
        seconds: How long it took.
        checksum: Of the result.
    """

    story: list[tuple[float, str]] = field(default_factory=list)
    faults: int = 0
    retries: int = 0
    restarts: int = 0
    seconds: float = 0.0
    checksum: str = ""


def play(scene: Scene, directory: Path) -> Round:
    """Run the scene's job in *directory*, which must be empty.

    Raises:
        WrongError: The job does not end well, its result is wrong, or something of it is left; the
            story, and the logs in *directory*, tell more.
    """
    return _Player(scene, directory).play()


class _Player:
    def __init__(self, scene: Scene, directory: Path) -> None:
        self._scene = scene
        self._directory = directory
        self._output = directory / "output"
        self._round = Round()
        self._began = time.monotonic()
        self._to_come = list(scene.faults)
        self._due: list[tuple[float, Planned]] = []
        self._undo: list[tuple[float, str, Undo]] = []

    def play(self) -> Round:
        mark = uuid.uuid4().hex
        os.environ["DISCO_CHAOS_RUN"] = mark  # which all processes of the run inherit
        try:
            self._run()
        except Exception as error:
            self._tell(f"FAILED: {error}")
            raise WrongError(_text(self._round.story)) from error
        finally:
            del os.environ["DISCO_CHAOS_RUN"]
        self._round.seconds = time.monotonic() - self._began
        if left := processes_with(mark):
            raise WrongError(f"processes are left: {left}\n{_text(self._round.story)}")
        return self._round

    def _run(self) -> None:
        spec = self._spec()
        with ExitStack() as stack, ThreadPoolExecutor(2) as threads:
            engine = LocalEngine(
                spec,
                workers=self._scene.workers,
                slots=self._scene.slots,
                partition_services=self._scene.services,
                run_dir=self._directory / "run",
                keep_logs=True,
                silence_s=SILENCE_S,
            )
            for number in range(self._scene.services):
                disk = engine.run_dir / "data" / f"ps-{number}"
                with suppress(MissedError):
                    stack.callback(with_disk_of_its_own(disk, _DISK))
            stack.callback(engine.kill)  # in case that it has not been closed
            engine.start()
            watching = threads.submit(self._watch, engine)
            reading = threads.submit(self._results, engine, spec)
            try:
                self._hurt_until_done(engine, reading)
            finally:
                self._heal(everything=True)
                if not reading.done():
                    engine.kill()
            self._round.checksum = reading.result()
            engine.close()
            watching.result()
        right = checksum(right_answer(self._scene.size).items())
        if self._round.checksum != right:
            raise WrongError(f"the result is {self._round.checksum}, and should be {right}")

    def _spec(self) -> job_pb2.JobSpec:
        scene = self._scene
        jobargs = {
            "input": scene.size.urls,
            "params": scene.size.params,
            "max_attempts": scene.max_attempts,
        }
        if scene.to_files:
            jobargs |= {"output": str(self._output), "format": "text"}
        settings = {**_SETTINGS, "copies": scene.copies}
        if scene.speculates:
            settings["speculation_multiplier"] = 1.5
        return job_spec(JOBS[scene.job](), jobargs, name="chaos", settings=settings)

    # --- what happens to it -------------------------------------------------------------------

    def _hurt_until_done(self, engine: LocalEngine, reading: "Future[str]") -> None:
        while not reading.done():
            now = time.monotonic() - self._began
            if now > LIMIT_S:
                raise WrongError(f"it has not ended after {LIMIT_S:g} s: {engine.progress}")
            share = share_done(engine.progress)
            while self._to_come and self._to_come[0].at <= share:
                # In this order: whoever reads the result asks whether either has something left.
                self._due.append((now + self._to_come[0].delay_s, self._to_come[0]))
                del self._to_come[0]
            for moment, fault in [due for due in self._due if due[0] <= now]:
                self._due.remove((moment, fault))
                self._hurt(fault, engine, now)
            self._heal()
            time.sleep(_LOOK_S)

    def _hurt(self, fault: Planned, engine: LocalEngine, now: float) -> None:
        try:
            what, undo = inflict(fault, engine)
        except MissedError as error:
            self._tell(f"({fault}: {error})")
            return
        self._round.faults += 1
        self._tell(what)
        if fault.lasts_s:
            self._undo.append((now + fault.lasts_s, what, undo))

    def _heal(self, *, everything: bool = False) -> None:
        now = time.monotonic() - self._began
        for item in [item for item in self._undo if everything or item[0] <= now]:
            self._undo.remove(item)
            _, what, undo = item
            undo()
            self._tell(f"no more: {what}")

    # --- what it does -------------------------------------------------------------------------

    def _watch(self, engine: LocalEngine) -> None:
        with suppress(Exception):  # who waits for the result is told why there is none
            for reply in engine.watch():
                for event in reply.events:
                    self._round.restarts += event.kind == "process-restarted"
                    if event.kind not in ("output", "status"):
                        self._tell(f"{event.kind}: {event.worker_id} {event.text}")
                self._round.retries = sum(stage.retries for stage in reply.progress.stages)

    def _results(self, engine: LocalEngine, spec: job_pb2.JobSpec) -> str:
        """Read the result, again and again until nothing more can go wrong, and return what it is.

        Raises:
            WrongError: It is not always the same.
        """
        progress = engine.wait()
        if progress.phase != coordinator_pb2.JOB_PHASE_SUCCEEDED:
            raise WrongError(f"the job did not succeed: {progress.message}\n{progress}")
        found = ""
        while True:
            last_time = not (self._to_come or self._due)
            before, found = found, checksum(self._records(engine, spec))
            if before not in ("", found):
                raise WrongError(f"the result was {before}, and is {found} now")
            if last_time:
                return found
            time.sleep(_LOOK_S)

    def _records(self, engine: LocalEngine, spec: job_pb2.JobSpec) -> Iterator[tuple[str, int]]:
        if self._scene.to_files:
            yield from _records_in(self._output)
            return
        for part in engine.results():
            address, token = part.service.address, session_token()
            frames = read_part(address, token, spec.uid, part.stage, part.task, patience_s=LIMIT_S)
            yield from pairs_of(frames)

    def _tell(self, what: str) -> None:
        self._round.story.append((time.monotonic() - self._began, what))


def _records_in(output: Path) -> Iterator[tuple[str, int]]:
    names = sorted(path.name for path in output.iterdir())
    parts = [name for name in names if name.startswith("part-")]
    if names != ["_SUCCESS", *parts]:
        raise WrongError(f"the output has {names}")
    for part in parts:
        for line in (output / part).read_text().splitlines():
            word, _, count = line.partition("\t")
            yield word, int(count)


def share_done(progress: coordinator_pb2.JobProgress | None) -> float:
    """Return how much of a job is done: every stage is as much as every other."""
    if progress is None or not progress.stages:
        return 0.0
    if progress.phase >= coordinator_pb2.JOB_PHASE_SUCCEEDED:
        return OVER * 10
    shares = [
        stage.tasks_done / stage.tasks_total for stage in progress.stages if stage.tasks_total
    ]
    return sum(shares) / len(progress.stages)


def _text(story: list[tuple[float, str]]) -> str:
    return "\n".join(f"{when:9.3f} s  {what}" for when, what in story)


def clear(directory: Path) -> None:
    """Remove what a round left."""
    shutil.rmtree(directory, ignore_errors=True)

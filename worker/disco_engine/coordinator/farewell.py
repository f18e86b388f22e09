"""Owns the end of the job: workers are told to finish, one of them removes temporary output."""

import asyncio
import logging

from disco.v1 import coordinator_pb2
from disco_engine.coordinator.workers import Session, Workers

log = logging.getLogger(__name__)

OTHERS_DEADLINE_S = 5.0  # for killing slots and ending
REMOVER_DEADLINE_S = 5.0
NEXT_REMOVER_DEADLINE_S = 3.0  # for a worker that died to be started again


class Farewell:
    """Says goodbye to the workers that are there, and to those that come later."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._over = False
        self._removing = False
        self._came: asyncio.Queue[Session] = asyncio.Queue()

    def greet(self, session: Session) -> None:
        """Send a worker home that has just connected, if the job is over."""
        if self._removing:
            self._came.put_nowait(session)
        elif self._over:
            session.send(_finish(remove_output=False))

    async def run(self, *, remove_output: bool) -> None:
        """Tell all workers to finish; if asked, have one remove the temporary output, and wait.

        The one is told last: the others' slots may write until they are killed. If it dies, or
        takes too long, the next worker that is there or comes is asked. If none does for some
        seconds, the output may stay, and the log says so.
        """
        self._over = True
        sessions = self._workers.sessions()
        if not remove_output:
            _dismiss(sessions)
            return
        self._removing = True
        for session in sessions[:1]:
            self._came.put_nowait(session)
        _dismiss(sessions[1:])
        await _all_ended(sessions[1:], OTHERS_DEADLINE_S)
        if not await self._removed():
            log.warning("no worker was left to make sure that temporary output is removed")
        self._removing = False
        while not self._came.empty():
            _dismiss([self._came.get_nowait()])

    async def _removed(self) -> bool:
        while True:
            try:
                async with asyncio.timeout(NEXT_REMOVER_DEADLINE_S):
                    session = await self._came.get()
            except TimeoutError:
                return False
            if session.ended.is_set():
                continue
            session.send(_finish(remove_output=True))
            await _all_ended([session], REMOVER_DEADLINE_S)
            if session.ended_well:
                return True
            log.warning(
                "worker did not confirm that it removed temporary output",
                extra={"worker": session.worker},
            )


async def _all_ended(sessions: list[Session], deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            for session in sessions:
                await session.ended.wait()
    except TimeoutError:
        late = [session.worker for session in sessions if not session.ended.is_set()]
        log.warning("workers did not end in time", extra={"workers": late})


def _dismiss(sessions: list[Session]) -> None:
    for session in sessions:
        session.send(_finish(remove_output=False))


def _finish(*, remove_output: bool) -> coordinator_pb2.CoordinatorMessage:
    finish = coordinator_pb2.Finish(remove_output=remove_output)
    return coordinator_pb2.CoordinatorMessage(finish=finish)

"""Owns who works for the job: a member per worker, and at most one open stream for each.

A member outlives its stream: it has until its lease ends to come back, and a second stream of the
same worker replaces the first.
"""

import asyncio
from collections import deque
from collections.abc import Iterator

from disco.v1 import coordinator_pb2
from disco_engine.core.model import AttemptId, NodeName, WorkerId
from disco_engine.wire import attempt_to_wire

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_QUEUED_MESSAGES = 256
"""More than this waits only for a worker that has stopped reading but goes on granting credit."""


class Session:
    """One stream of one worker: what it must be told, in order, and how far its attempts are."""

    def __init__(self, worker: WorkerId) -> None:
        self.worker = worker
        self.draining = False
        self.running: dict[AttemptId, int] = {}
        """Records read so far, by the attempts in the newest heartbeat that have not reported."""
        self.closed = asyncio.Event()
        """The stream is to be ended."""
        self.closed_because = ""
        self.ended = asyncio.Event()
        """The stream has ended."""
        self.ended_well = False
        """The worker ended it, of its own will."""
        self._queue: deque[coordinator_pb2.CoordinatorMessage] = deque()
        self._room = 0  # bytes that may still be added to the newest message
        self._confirmed = 0
        self._ready = asyncio.Event()

    def send(self, message: coordinator_pb2.CoordinatorMessage) -> None:
        """Queue a message of its own."""
        self._push(message, 0)

    def assign(self, task: coordinator_pb2.TaskAssignment) -> None:
        """Queue a task, in one message with those queued just before."""
        size = task.ByteSize()
        if size > self._room or not self._newest_is("assignments"):
            message = coordinator_pb2.CoordinatorMessage(
                assignments=coordinator_pb2.Assignments(tasks=(task,))
            )
            self._push(message, MAX_MESSAGE_BYTES - size)
        else:
            self._queue[-1].assignments.tasks.append(task)
            self._room -= size

    def cancel(self, attempt: AttemptId, reason: str) -> None:
        """Queue the end of an attempt, in one message with those queued just before."""
        self.running.pop(attempt, None)
        if self._newest_is("cancel") and self._queue[-1].cancel.reason == reason:
            self._queue[-1].cancel.attempts.append(attempt_to_wire(attempt))
        else:
            cancel = coordinator_pb2.CancelAttempts(
                attempts=(attempt_to_wire(attempt),), reason=reason
            )
            self._push(coordinator_pb2.CoordinatorMessage(cancel=cancel), 0)

    def confirm(self, reports: int) -> None:
        """Tell the worker soon that so many more of its reports were taken over."""
        self._confirmed += reports
        self._ready.set()

    def close(self, because: str) -> None:
        """Have the stream ended, whatever is queued."""
        self.closed_because = self.closed_because or because
        self.closed.set()
        self._ready.set()

    async def next_message(self) -> coordinator_pb2.CoordinatorMessage | None:
        """Return what to write next, waiting for it; None: the stream is to be ended."""
        while not (self._queue or self._confirmed or self.closed.is_set()):
            self._ready.clear()
            await self._ready.wait()
        if self.closed.is_set():
            return None
        if self._queue:
            return self._queue.popleft()
        confirm = coordinator_pb2.Confirm(reports=self._confirmed)
        self._confirmed = 0
        return coordinator_pb2.CoordinatorMessage(confirm=confirm)

    def _newest_is(self, kind: str) -> bool:
        return bool(self._queue) and self._queue[-1].WhichOneof("body") == kind

    def _push(self, message: coordinator_pb2.CoordinatorMessage, room: int) -> None:
        if len(self._queue) >= MAX_QUEUED_MESSAGES:
            self.close("it does not read what it is told")
            return
        self._queue.append(message)
        self._room = room
        self._ready.set()


class Member:
    """A worker that joined and is not lost."""

    def __init__(self, session: Session, node: NodeName, slots: int, now: float) -> None:
        self.session: Session | None = session
        self.node = node
        self.slots = slots
        self.heard = now


class Workers:
    """The job's workers, by name."""

    def __init__(self) -> None:
        self._members: dict[WorkerId, Member] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._members)

    @property
    def slots(self) -> int:
        """How many attempts they can run at once."""
        return sum(member.slots for member in self._members.values())

    def join(self, worker: WorkerId, node: NodeName, slots: int, now: float) -> Session:
        """Return the stream that speaks for *worker* from here on; an older one is ended."""
        before = self._members.get(worker)
        if before is not None and before.session is not None:
            before.session.close("the same worker has connected again")
        session = Session(worker)
        self._members[worker] = Member(session, node, slots, now)
        return session

    def hear(self, session: Session, now: float) -> bool:
        """Note a sign of life; return False if the stream no longer speaks for its worker."""
        member = self._members.get(session.worker)
        if member is None or member.session is not session:
            return False
        member.heard = now
        return True

    def leave(self, session: Session) -> bool:
        """Note that a stream has ended; return True if its worker is thereby gone for good.

        That is so if it said before that it was draining; all others may come back.
        """
        member = self._members.get(session.worker)
        if member is None or member.session is not session:
            return False
        member.session = None
        if session.draining:
            del self._members[session.worker]
        return session.draining

    def expire(self, silent_since: float) -> list[WorkerId]:
        """Forget the workers that were last heard before then, end their streams, name them."""
        lost = [worker for worker, member in self._members.items() if member.heard < silent_since]
        for worker in lost:
            session = self._members.pop(worker).session
            if session is not None:
                session.close("nothing was heard for the length of the lease")
        return lost

    def session_of(self, worker: WorkerId) -> Session | None:
        """Return the open stream of *worker*; None: it has none now, or is lost."""
        member = self._members.get(worker)
        return None if member is None else member.session

    def sessions(self) -> list[Session]:
        """Return all open streams."""
        return [m.session for m in self._members.values() if m.session is not None]

    def node_of(self, worker: WorkerId | None) -> str:
        """Return the node *worker* runs on; empty if there is none, or it is lost."""
        member = None if worker is None else self._members.get(worker)
        return "" if member is None else member.node

    def running(self) -> Iterator[tuple[AttemptId, int]]:
        """Yield the attempts that run now and the records they have read, as last heard."""
        for session in self.sessions():
            yield from session.running.items()

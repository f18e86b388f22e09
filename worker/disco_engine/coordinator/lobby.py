"""Owns what callers are told while the coordinator waits for its partition services.

Without them there is no epoch, and without an epoch no machine: workers are sent away and come
again, watchers hear what is waited for, and who wants to cancel is remembered.
"""

import asyncio
from collections.abc import AsyncGenerator

from disco.v1 import coordinator_pb2
from disco_engine.core.model import ServiceId


class Lobby:
    """One coordinator's time before its job.

    Args:
        job_uid: The job's.
        name: The job's, for people.

    Attributes:
        left: Set when there is a machine, so nobody has to wait here any more.
        hurry: Set when somebody wants the job cancelled: there is nothing to wait for.
        cancelled_because: What that one said.
    """

    def __init__(self, job_uid: str, name: str) -> None:
        self.left = asyncio.Event()
        self.hurry = asyncio.Event()
        self.cancelled_because = ""
        self._job_uid = job_uid
        self._name = name
        self._message = ""
        self._changed = asyncio.Event()  # set, and replaced, when there is something new

    def await_services(self, silent: dict[ServiceId, str]) -> None:
        """Note which services have not answered yet, with their addresses."""
        listed = ", ".join(f"{name} ({address})" for name, address in sorted(silent.items()))
        self._message = f"waiting for the partition services: {listed}" if listed else ""
        self._wake_watchers()

    def cancel(self, reason: str) -> None:
        """Have the job cancelled as soon as there is one."""
        self.cancelled_because = self.cancelled_because or reason or "somebody cancelled the job"
        self.hurry.set()

    def leave(self) -> None:
        """Let everybody go on to the job."""
        self.left.set()
        self._wake_watchers()

    async def watch(self) -> AsyncGenerator[coordinator_pb2.WatchReply, None]:
        """Yield what is waited for, now and whenever that changes, until there is a machine."""
        while not self.left.is_set():
            changed = self._changed
            yield coordinator_pb2.WatchReply(
                progress=coordinator_pb2.JobProgress(
                    job_uid=self._job_uid,
                    name=self._name,
                    phase=coordinator_pb2.JOB_PHASE_PLANNING,
                    message=self._message,
                )
            )
            await changed.wait()

    def _wake_watchers(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

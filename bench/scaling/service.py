"""One partition service as a process of its own, told by a benchmark what a coordinator would."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from disco.v1 import partition_pb2, partition_pb2_grpc
from disco_engine.core.model import AttemptId, Group, Totals
from disco_engine.rpc import TOKEN_VARIABLE, credentials_of, sync_channel
from disco_engine.wire import attempt_to_wire, group_to_wire, totals_to_wire

JOB_UID = "scale"
TOKEN = "scale"
EPOCH = 1
_READY_S = 600.0


class Service:
    """Calls to a partition service that runs."""

    def __init__(self, port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.credentials = credentials_of(TOKEN)
        self._channel = sync_channel(self.address)
        self.stub = partition_pb2_grpc.PartitionStub(self._channel)

    def attach(self) -> int:
        """Attach as the job's coordinator, and return how many sealed attempts were told."""
        request = partition_pb2.AttachRequest(job_uid=JOB_UID, epoch=EPOCH)
        replies = self.stub.Attach(request, metadata=self.credentials, wait_for_ready=True)
        return sum(len(reply.sealed) for reply in replies)

    def push(self, requests: Iterable[partition_pb2.PushRequest]) -> int:
        """Push, and return how many attempts are complete.

        Raises:
            RuntimeError: One was refused.
        """
        complete = 0
        for reply in self.stub.Push(iter(requests), metadata=self.credentials):
            for result in reply.results:
                if result.status != partition_pb2.PUSH_STATUS_COMPLETE:
                    raise RuntimeError(f"not taken: {result.message}")
                complete += 1
        return complete

    def seal(self, attempts: Iterable[tuple[AttemptId, Totals]]) -> None:
        """Have attempts sealed.

        Raises:
            RuntimeError: One cannot be.
        """
        decisions = [
            partition_pb2.Decision(
                seal=partition_pb2.SealRequest(
                    attempt=attempt_to_wire(attempt),
                    group=group_to_wire(Group(origin=attempt.task)),
                    expected=totals_to_wire(totals),
                )
            )
            for attempt, totals in attempts
        ]
        request = partition_pb2.DecideRequest(job_uid=JOB_UID, epoch=EPOCH, decisions=decisions)
        results = self.stub.Decide(request, metadata=self.credentials).results
        if any(result != partition_pb2.DECISION_RESULT_SEALED for result in results):
            raise RuntimeError("an attempt cannot be sealed")

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


@contextmanager
def running_program(module: str, directory: Path, *flags: str) -> Iterator[int]:
    """Start one of the engine's programs, yield its port when it serves, and end it.

    Raises:
        RuntimeError: It does not start.
    """
    ready = directory / f"{module}.ready"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", module, *flags, "--ready-file", str(ready)]
    process = subprocess.Popen(
        [*command, "--exit-on-stdin-eof", "--log-level", "WARNING"],
        stdin=subprocess.PIPE,
        env={**os.environ, TOKEN_VARIABLE: TOKEN},
    )
    try:
        deadline = time.monotonic() + _READY_S
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{module} does not start")
            time.sleep(0.01)
        yield json.loads(ready.read_text())["port"]
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def running_service(directory: Path) -> Iterator[Service]:
    """Start a service on *directory*, wait until it serves, and end it."""
    flags = ["--job-uid", JOB_UID, "--service-id", "ps-0", "--node", "here"]
    data = str(directory / "data")
    with running_program("disco_engine.partition", directory, *flags, "--data-dir", data) as port:
        service = Service(port)
        try:
            yield service
        finally:
            service.close()

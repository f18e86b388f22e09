"""The partition service as a process of its own: killed, stopped, with a disk that is full."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import grpc
import pytest

from disco.v1 import common_pb2, partition_pb2, partition_pb2_grpc
from disco_engine import results, rpc, wire
from disco_engine.core.model import AttemptId, Layout, Totals
from disco_engine.records.blocks import Frame

JOB = "job-1"
TOKEN = "secret"
METADATA = rpc.credentials_of(TOKEN)
STAGE = 1
SEALED = partition_pb2.DECISION_RESULT_SEALED
COMPLETE = partition_pb2.PUSH_STATUS_COMPLETE
REFUSED = partition_pb2.PUSH_STATUS_REFUSED
DISK_FULL = partition_pb2.PUSH_STATUS_DISK_FULL


class Service:
    """A running process, and what coordinator and workers ask of it."""

    def __init__(self, process: subprocess.Popen[str], port: int, channel: grpc.Channel) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"
        self.stub = partition_pb2_grpc.PartitionStub(channel)

    def attach(self, epoch: int = 1) -> tuple[partition_pb2.ServiceState, set[AttemptId]]:
        request = partition_pb2.AttachRequest(job_uid=JOB, epoch=epoch)
        first, *rest = self.stub.Attach(request, metadata=METADATA)
        return first.state, {wire.attempt_from_wire(s.attempt) for r in rest for s in r.sealed}

    def push(
        self, who: AttemptId, frames: Sequence[bytes], *, layout: Layout = Layout.BY_TASK
    ) -> partition_pb2.PushResult:
        """Push a whole attempt; the labels of its frames are 0, 1, 2…"""
        blocks = [common_pb2.Block(label=n, records=1, frame=f) for n, f in enumerate(frames)]
        output = partition_pb2.AttemptBlocks(
            attempt=wire.attempt_to_wire(who),
            layout=wire.layout_to_wire(layout),
            blocks=blocks,
            complete=wire.totals_to_wire(totals(frames)),
        )
        requests = iter([partition_pb2.PushRequest(job_uid=JOB, outputs=[output])])
        ((result,),) = [r.results for r in self.stub.Push(requests, metadata=METADATA)]
        return result

    def seal(self, who: AttemptId, frames: Sequence[bytes], *, copy: bool = False) -> int:
        request = partition_pb2.SealRequest(
            attempt=wire.attempt_to_wire(who),
            expected=wire.totals_to_wire(totals(frames)),
            copy=copy,
        )
        decisions = [partition_pb2.Decision(seal=request)]
        reply = self.stub.Decide(
            partition_pb2.DecideRequest(job_uid=JOB, epoch=1, decisions=decisions),
            metadata=METADATA,
        )
        (verdict,) = reply.results
        return verdict

    def write_and_seal(self, who: AttemptId, frames: Sequence[bytes]) -> None:
        assert self.push(who, frames).status == COMPLETE
        assert self.seal(who, frames) == SEALED

    def record_plan(self, plan: bytes) -> None:
        request = partition_pb2.RecordPlanRequest(job_uid=JOB, epoch=1, plan=plan)
        self.stub.RecordPlan(request, metadata=METADATA)

    def stat(self) -> partition_pb2.StatReply:
        return self.stub.Stat(partition_pb2.StatRequest(), metadata=METADATA)

    def read(self, task: int) -> list[Frame]:
        return list(results.read_part(self.address, TOKEN, JOB, STAGE, task, patience_s=5))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def attempt(task: int, number: int = 1) -> AttemptId:
    return AttemptId(STAGE, task, 1, number)


def totals(frames: Sequence[bytes]) -> Totals:
    return Totals(len(frames), len(frames), sum(map(len, frames)))


def command(directory: Path, *flags: str) -> list[str]:
    return [
        *(sys.executable, "-m", "disco_engine.partition", "--job-uid", JOB),
        *("--service-id", "ps-0", "--node", "node-a", "--data-dir", str(directory), *flags),
    ]


def environment() -> dict[str, str]:
    return os.environ | {rpc.TOKEN_VARIABLE: TOKEN}


@contextmanager
def running(directory: Path, *flags: str, stdin: int = subprocess.DEVNULL) -> Iterator[Service]:
    """Run the service until the block ends; it may have ended before."""
    with subprocess.Popen(
        command(directory, *flags),
        env=environment(),
        stdin=stdin,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            port = port_of(process.stderr)
            with rpc.sync_channel(f"127.0.0.1:{port}") as channel:
                yield Service(process, port, channel)
        finally:
            process.kill()


def port_of(log: IO[str]) -> int:
    for line in log:
        entry = json.loads(line)
        if entry["event"] == "serving":
            return int(entry["port"])
    raise AssertionError("the service ended before it served")


# --- ends and restarts ------------------------------------------------------------------------


def test_what_was_committed_survives_kill_9_byte_for_byte_and_the_rest_is_gone(
    tmp_path: Path,
) -> None:
    small, large = [b"a", b"", b"ccc"], [random.Random(1).randbytes(3_000_000)]
    with running(tmp_path) as service:
        service.attach()
        service.write_and_seal(attempt(0), small)
        service.write_and_seal(attempt(1), large)
        service.push(attempt(2), small)
        service.record_plan(b"the plan")  # returns when all that is on disk
        service.kill()
    with running(tmp_path) as service:
        state, _ = service.attach(0)
        assert (state.epoch, state.plan) == (1, b"the plan")
        _, sealed = service.attach()
        assert sealed == {attempt(0), attempt(1)}
        assert service.read(0) == [Frame(frame, attempt(0)) for frame in small]
        assert service.read(1) == [Frame(frame, attempt(1)) for frame in large]
        assert service.push(attempt(2), small).status == REFUSED
        with pytest.raises(grpc.RpcError) as error:
            service.stub.Decide(partition_pb2.DecideRequest(job_uid=JOB), metadata=METADATA)
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_it_ends_when_its_journal_is_damaged_and_the_next_goes_on_with_what_came_before(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as service:
        service.attach()
        service.write_and_seal(attempt(0), [b"before"])
        service.record_plan(b"the plan")  # returns when all that is on disk
        begin = (tmp_path / "journal").stat().st_size
        service.write_and_seal(attempt(1), [b"behind"])
        service.record_plan(b"the plan")
        with (tmp_path / "journal").open("r+b") as journal:
            journal.seek(begin + 10)
            journal.write(b"x")
        with pytest.raises(grpc.RpcError, match=f"journal is damaged from byte {begin} on"):
            service.attach()
        assert service.process.wait(timeout=30) == 1
    with running(tmp_path) as service:
        state, sealed = service.attach()
        assert (state.plan, sealed) == (b"the plan", {attempt(0)})
        assert service.push(attempt(1), [b"behind"]).status == REFUSED


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whenever_it_is_killed_what_it_still_calls_sealed_is_whole(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    written: dict[AttemptId, list[bytes]] = {}
    number = survived = 0
    for _ in range(3):
        with running(tmp_path, "--memory-bytes", "200000") as service:
            _, sealed = service.attach()
            for who in sealed:
                assert service.read(who.task) == [Frame(f, who) for f in written[who]]
            survived += len(sealed)
            for _ in range(draw.randrange(1, 60)):
                number += 1
                sizes = [draw.choice((0, 10, 5000, 50_000)) for _ in range(draw.randrange(1, 5))]
                written[attempt(number)] = [draw.randbytes(size) for size in sizes]
                service.write_and_seal(attempt(number), written[attempt(number)])
                if number == 1 or draw.random() < 0.05:
                    service.record_plan(b"plan")
            service.kill()
    assert survived


def test_sigterm_writes_everything_and_ends_with_status_0(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        service.attach()
        service.write_and_seal(attempt(0), [b"frame"])
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait() == 0
    with running(tmp_path) as service:
        assert service.attach()[1] == {attempt(0)}
        assert service.read(0) == [Frame(b"frame", attempt(0))]


def test_it_ends_when_its_supervisor_is_gone(tmp_path: Path) -> None:
    with running(tmp_path, "--exit-on-stdin-eof", stdin=subprocess.PIPE) as service:
        assert service.process.stdin is not None
        service.process.stdin.close()
        assert service.process.wait() == 0


def test_the_ready_file_says_port_and_pid(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with running(tmp_path / "data", "--ready-file", str(ready)) as service:
        content = json.loads(ready.read_text())
        assert content["pid"] == service.process.pid
        assert service.address == f"127.0.0.1:{content['port']}"


def test_a_reader_of_results_goes_on_when_the_service_is_started_again(tmp_path: Path) -> None:
    parts = [[random.Random(n).randbytes(1_500_000) for n in range(3)] for _ in range(3)]
    expected = [Frame(f, attempt(task)) for task, frames in enumerate(parts) for f in frames]
    with running(tmp_path) as service:
        service.attach()
        for task, frames in enumerate(parts):
            service.write_and_seal(attempt(task), frames)
        service.record_plan(b"plan")
        address = service.address
        reading = results.read_parts(address, TOKEN, JOB, STAGE, [0, 1, 2])
        found = [next(reading) for _ in range(4)]
        service.kill()
    with running(tmp_path, "--port", address.split(":")[1]):
        found += reading
    assert found == expected


# --- what it refuses to start with ------------------------------------------------------------


def refused(directory: Path, *flags: str) -> tuple[int, str]:
    done = subprocess.run(
        command(directory, *flags), env=environment(), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


def test_a_port_that_is_taken_is_an_error_of_its_own(tmp_path: Path) -> None:
    with running(tmp_path / "a") as service:
        port = service.address.split(":")[1]
        status, message = refused(tmp_path / "b", "--port", port)
    assert status == 3
    assert f"127.0.0.1:{port}" in message


def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    with running(tmp_path):
        status, message = refused(tmp_path)
    assert status == 1
    assert f"{tmp_path} is the data directory of another running" in message


def test_a_directory_belongs_to_one_job(tmp_path: Path) -> None:
    with running(tmp_path):
        pass
    status, message = refused(tmp_path, "--job-uid", "job-2")
    assert status == 1
    assert "has the data of job 'job-1', not of 'job-2'" in message


# --- a disk that is full ----------------------------------------------------------------------


def test_a_disk_that_fills_up_loses_nothing_and_is_used_again_when_there_is_room(
    tmp_path: Path,
) -> None:
    """The kernel refuses to let the log grow: RLIMIT_FSIZE, which can be lifted again."""
    frame = bytes(60_000)
    with running(tmp_path, "--memory-bytes", "200000") as service:
        service.attach()
        _, hard = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (100_000, hard))
        accepted, result = 0, None
        while result is None or result.status == COMPLETE:
            result = service.push(attempt(accepted), [frame])
            if result.status == COMPLETE:
                assert service.seal(attempt(accepted), [frame]) == SEALED
                accepted += 1
        assert result.status == DISK_FULL
        assert str(tmp_path) in result.message
        assert "File too large" in result.message
        assert service.stat().full
        for task in range(accepted):
            assert service.read(task) == [Frame(frame, attempt(task))]
        with pytest.raises(grpc.RpcError) as error:
            service.record_plan(b"plan")
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        service.record_plan(b"plan")
        assert not service.stat().full
        service.write_and_seal(attempt(accepted, 2), [frame])
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait() == 0
    with running(tmp_path) as service:
        service.attach()
        for task in range(accepted):
            assert service.read(task) == [Frame(frame, attempt(task))]
        assert service.read(accepted) == [Frame(frame, attempt(accepted, 2))]


# --- bounds -----------------------------------------------------------------------------------


def test_files_descriptors_and_memory_do_not_grow_with_tasks_times_labels(tmp_path: Path) -> None:
    labels, tasks = 1000, 40
    with running(tmp_path, "--memory-bytes", "1000000") as service:
        service.attach()

        def fill(first: int, last: int) -> tuple[int, int]:
            for task in range(first, last):
                frames = [b"%7d" % (task * labels + label) * 10 for label in range(labels)]
                result = service.push(attempt(task), frames, layout=Layout.BY_LABEL)
                assert result.status == COMPLETE
                assert service.seal(attempt(task), frames) == SEALED
            process = Path("/proc") / str(service.process.pid)
            status = (process / "status").read_text()
            (anonymous,) = [line for line in status.splitlines() if line.startswith("RssAnon")]
            return len(list((process / "fd").iterdir())), int(anonymous.split()[1]) * 1024

        descriptors, memory = fill(0, tasks // 4)
        more_descriptors, more_memory = fill(tasks // 4, tasks)
        assert len(list(tmp_path.iterdir())) == 2
        assert more_descriptors <= descriptors + 1
        assert more_memory - memory < 30_000 * 100  # 30,000 more blocks of 114 bytes
        found = service.stub.Fetch(
            partition_pb2.FetchRequest(job_uid=JOB, stage=STAGE, label=123), metadata=METADATA
        )
        frames = [block.block.frame for reply in found for block in reply.blocks]
        assert frames == [b"%7d" % (task * labels + 123) * 10 for task in range(tasks)]

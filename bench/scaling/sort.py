"""A sort of more data than fits into memory, with a limit of 1 GB for each process.

Records of 100 bytes, a tenth of them key, nothing compressible. They are made where they are read,
from a seed per task, and checked where they would be written, so that the disk holds them once
(and what a reducer spills): in each partition, how many there are, that they are in order, and the
sum of their checksums, which map tasks tell of what they made. Its pace is compared with the disk's
own, measured before and after in the same run.
"""

import argparse
import os
import random
import shutil
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from disco import Job
from disco.submission import job_spec
from disco.v1 import coordinator_pb2
from disco_engine.local.engine import LocalEngine
from disco_engine.local.session import session_token
from disco_engine.records.readers import pairs_of
from disco_engine.results import read_part
from scaling.processes import Sampler
from scaling.table import Row, at_most

GB, MB = 1_000_000_000, 1_000_000
RECORD_BYTES, KEY_BYTES = 100, 10
TASK_BYTES = 40 * MB
PARTITION_BYTES = 200 * MB
LIMIT_BYTES = 1 * GB
ROLES = ("coordinator", "partition service", "worker", "slot")

_BATCH = 1_000  # records
_TOLD = b""  # the key of what a map task tells: before all others
_TOTALS = struct.Struct("<QQ")
_DISK_BYTES = 2 * GB
_PIECE_BYTES = 4 * MB


class Sort(Job):
    """Make records, order them, check that they are all there and in order."""

    sort = True

    @staticmethod
    def map(seed: str, params: Any) -> Iterator[tuple[bytes, bytes]]:
        """Yield the records of a seed, then how many they are and the sum of their checksums."""
        made = random.Random(int(seed))
        records = checksum = 0
        while records < params["records"]:
            batch = made.randbytes(_BATCH * RECORD_BYTES)
            for start in range(0, len(batch), RECORD_BYTES):
                record = batch[start : start + RECORD_BYTES]
                checksum += zlib.crc32(record)
                yield record[:KEY_BYTES], record[KEY_BYTES:]
            records += _BATCH
        yield _TOLD, _TOTALS.pack(records, checksum)

    @staticmethod
    def partition(key: bytes, partitions: int, params: Any) -> int:
        """Return which part of the keys' range *key* lies in."""
        return int.from_bytes(key[:4].ljust(4, b"\0"), "big") * partitions >> 32

    @staticmethod
    def reduce(pairs: Iterator[tuple[bytes, bytes]], params: Any) -> Iterator[tuple[str, Any]]:
        """Yield what was told, what has come, and between which keys."""
        records = checksum = 0
        first = before = _TOLD
        for key, value in pairs:
            if key == _TOLD:
                yield "told", _TOTALS.unpack(value)
                continue
            if not records:
                first = key
            if key < before:
                raise ValueError(f"{key!r} comes after {before!r}")
            before = key
            records += 1
            checksum += zlib.crc32(value, zlib.crc32(key))
        yield "come", (records, checksum, first, before)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be chosen."""
    parser.add_argument("--gb", type=float, default=20.0, help="how much to sort (default 20)")
    parser.add_argument("--directory", default=None, help="on the disk to use (default: temporary)")


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Sort once and yield what it took, and whether anything is missing."""
    size = int((options.gb / 10 if options.quick else options.gb) * GB)
    tasks = max(1, size // TASK_BYTES)
    partitions = max(2, size // PARTITION_BYTES)
    records = tasks * (TASK_BYTES // RECORD_BYTES)
    with tempfile.TemporaryDirectory(prefix="disco-sort-", dir=options.directory) as name:
        directory = Path(name)
        free = shutil.disk_usage(directory).free
        if free < 1.5 * size + _DISK_BYTES:
            raise SystemExit(f"{directory} has {free / GB:.0f} GB free: too little")
        disk = [disk_speed(directory)]
        spec = job_spec(
            Sort(),
            {
                "input": [f"raw://{seed}" for seed in range(tasks)],
                "partitions": partitions,
                "params": {"records": TASK_BYTES // RECORD_BYTES},
            },
            name="sort",
            settings={"memory_limit_bytes": LIMIT_BYTES},
        )
        began = time.monotonic()
        with (
            Sampler() as sampler,
            LocalEngine(spec, workers=2, run_dir=directory / "run") as engine,
        ):
            engine.start()
            progress = engine.wait()
            seconds = time.monotonic() - began
            check(engine, progress, records)
        disk.append(disk_speed(directory))
    written, read = (sum(speeds) / len(disk) for speeds in zip(*disk, strict=True))
    yield Row(
        f"{records:,} records, {size / GB:g} GB, in {tasks} tasks and {partitions} partitions",
        f"{seconds:.0f} s: all there, in order, checksums right",
    )
    pace = records * RECORD_BYTES / seconds / MB
    yield Row("pace of the sort", f"{pace:.0f} MB/s")
    yield Row("the disk's own, one stream", f"{written:.0f} MB/s written, {read:.0f} MB/s read")
    alone_s = size / MB / written + size / MB / read
    yield Row("share of the time that writing and reading once takes", f"{alone_s / seconds:.0%}")
    for stage in progress.stages:
        took = stage.finished_s - stage.started_s
        yield Row(f"stage {stage.name}", f"{took:.0f} s, {stage.retries} retries")
    for role in ROLES:
        peak = sampler.peak_bytes(role) / MB
        yield at_most(f"memory of the largest {role}", peak, LIMIT_BYTES / MB, "MB")
        yield Row(f"processor time of all {role}s", f"{sampler.cpu_s(role):.0f} s")


def check(engine: LocalEngine, progress: coordinator_pb2.JobProgress, records: int) -> None:
    """Raise RuntimeError unless every record has come, in order."""
    if progress.phase != coordinator_pb2.JOB_PHASE_SUCCEEDED:
        raise RuntimeError(f"the sort did not succeed: {progress.message}")
    told, come = [0, 0], [0, 0]
    last = b""
    for part in engine.results():
        uid, address = progress.job_uid, part.service.address
        for kind, found in pairs_of(
            read_part(address, session_token(), uid, part.stage, part.task)
        ):
            sums = told if kind == "told" else come
            sums[0] += found[0]
            sums[1] += found[1]
            if kind == "come" and found[0]:
                if found[2] < last:
                    raise RuntimeError(f"part {part.task} begins before the one before it ends")
                last = found[3]
    if not told == come or come[0] != records:
        raise RuntimeError(f"{records} records were made; told (number, sum): {told}; come: {come}")


def disk_speed(directory: Path) -> tuple[float, float]:
    """Return how many MB a second the disk takes and gives, in one stream, without its cache."""
    piece = os.urandom(_PIECE_BYTES)
    path = directory / "speed"
    began = time.monotonic()
    with path.open("wb", buffering=0) as file:
        for _ in range(_DISK_BYTES // _PIECE_BYTES):
            file.write(piece)
        os.fsync(file.fileno())
        written_s = time.monotonic() - began
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    began = time.monotonic()
    with path.open("rb", buffering=0) as file:
        while file.read(_PIECE_BYTES):
            pass
    read_s = time.monotonic() - began
    path.unlink()
    return _DISK_BYTES / MB / written_s, _DISK_BYTES / MB / read_s

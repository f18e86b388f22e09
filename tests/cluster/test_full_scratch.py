"""User code that fills the disk of its temporary files: told, and no harm to anything else."""

from collections.abc import Mapping
from textwrap import dedent
from typing import Any

from harness.jobs import RunningJob, discojob, results
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for

SCRATCH_MIB = 16
NAMES = ("one", "two", "three", "four")
FILLING = dedent(
    '''\
    """The task "one" fills the disk; its attempts after the first params.times ones do not."""

    import os
    import socket
    import tempfile
    import time
    import uuid
    from pathlib import Path

    from disco import Job

    def write_until_it_is_full():
        with open(f"{tempfile.mkdtemp()}/temporary", "wb", buffering=0) as file:
            while file.tell() < 64 << 20:
                file.write(bytes(65536))
        while True:  # nothing has stopped it: the kubelet will
            time.sleep(0.05)

    class Filling(Job):
        @staticmethod
        def map(name, params):
            marks = Path(params.marks)
            if name == "one":
                (marks / f"{socket.gethostname()}.{uuid.uuid4().hex}").touch()
                if len(os.listdir(marks)) <= params.times + 1:  # and the file that made the folder
                    write_until_it_is_full()
                while not (marks.parent / "gate").exists():
                    time.sleep(0.05)
            yield name, socket.gethostname()
    '''
)


def filling(
    namespace: Namespace,
    volume: Volume,
    name: str,
    scratch: Mapping[str, str],
    *,
    times: int,
    attempts: int,
) -> RunningJob:
    """Start a job one of whose tasks fills the disk, so many times.

    Args:
        namespace: Where.
        volume: Shared with its pods.
        name: Of the job.
        scratch: The emptyDir for its temporary files.
        times: How often it fills the disk.
        attempts: After so many that fail the job does.
    """
    volume.write(f"{name}/marks/.there", "")
    template: dict[str, Any] = {
        "spec": {"volumes": [{"name": "scratch", "emptyDir": dict(scratch)}]},
    }
    return namespace.submit(
        discojob(
            name,
            job="filling:Filling",
            code=FILLING,
            inputs=[f"raw://{entry}" for entry in NAMES],
            partitions=1,
            params={"marks": f"/shared/{name}/marks", "times": times},
            retries={"maxAttempts": attempts},
            workers={"podTemplate": template},
            output={"url": f"/shared/{name}/results"},
        )
    )


def test_a_full_scratch_fails_the_attempt_and_nothing_else(
    namespace: Namespace, shared_volume: Volume
) -> None:
    """A disk that refuses more: one job's task does better the second time, one's never does."""
    small = {"medium": "Memory", "sizeLimit": f"{SCRATCH_MIB}Mi"}
    shared_volume.write("once/gate", "")
    once = filling(namespace, shared_volume, "once", small, times=1, attempts=2)
    always = filling(namespace, shared_volume, "always", small, times=9, attempts=2)

    failed = always.wait_until_failed(timeout=240)
    once.wait_until_succeeded(timeout=240)

    said = (
        "No space left on device; the disk of /scratch/",
        f"has 0 of {SCRATCH_MIB << 20:,} bytes left: free space there, or write less",
    )
    (failure,) = once.status()["failures"]
    for text in said:
        assert text in failure["message"]
        assert text in failed["message"]
    assert failed["reason"] == "TaskFailed"
    assert results(shared_volume, "once/results").keys() == set(NAMES)
    told = {event["reason"] for job in (once, always) for event in job.events()}
    assert not told & {"WorkerLost", "NodeExcluded", "PodCrashes", "OOMKilled", "Evicted"}


def test_a_pod_that_fills_more_of_its_node_than_it_may_is_evicted_and_its_task_runs_elsewhere(
    namespace: Namespace, shared_volume: Volume
) -> None:
    """The kubelet looks once in a while, and then ends the whole pod; no attempt is charged."""
    limited = {"sizeLimit": f"{SCRATCH_MIB}Mi"}
    job = filling(namespace, shared_volume, "evicted", limited, times=1, attempts=1)

    (told,) = wait_for(
        "the event",
        lambda: [event["note"] for event in job.events() if event["reason"] == "Evicted"],
    )
    shared_volume.write("evicted/gate", "")
    job.wait_until_succeeded(timeout=240)

    found = results(shared_volume, "evicted/results")
    assert found.keys() == set(NAMES)
    (evicted,) = {n.split(".")[0] for n in shared_volume.names("evicted/marks")} - {found["one"]}
    assert f"pod {evicted} was evicted from node " in told
    assert 'volume "scratch" exceeds the limit "16Mi"' in told
    assert not job.status().get("failures")

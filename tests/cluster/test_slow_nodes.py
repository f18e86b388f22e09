"""A node ten times slower than the others: what it costs with rivals, and without."""

import re
from datetime import datetime
from textwrap import dedent

from harness.jobs import RunningJob, discojob, results
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for

NODES = 3
TASKS = 12
SLEEPERS = dedent(
    '''\
    """Tasks that sleep; on the first node that maps, for ten times as long."""

    import os
    import time

    from disco import Job

    NODES, TASKS, SECONDS, SLOWER = 3, 12, 1.5, 10

    class Sleepers(Job):
        partitions = TASKS

        @staticmethod
        def map(entry, params):
            """Wait until all workers are there, then emit a record for every task."""
            here, node = params.here, os.environ["NODE_NAME"]
            open(f"{here}/pods/{entry}", "w").close()
            while len(os.listdir(f"{here}/pods")) <= NODES:  # with the file that made the folder
                time.sleep(0.05)
            try:
                os.symlink(node, f"{here}/slow")
                open(f"{here}/chosen/{node}", "w").close()
            except FileExistsError:
                pass
            if entry == "0":
                for number in range(TASKS):
                    yield number, 1

        @staticmethod
        def partition(key, partitions, params):
            return key

        @staticmethod
        def reduce(pairs, params):
            """Emit which node has done it."""
            node = os.environ["NODE_NAME"]
            slow = os.readlink(f"{params.here}/slow") == node
            for number, _ in pairs:
                if slow:
                    open(f"{params.here}/slowly/{number}", "w").close()
                time.sleep(SECONDS * (SLOWER if slow else 1))
                yield number, node
    '''
)


def sleepers(namespace: Namespace, volume: Volume, name: str, *, rivals: bool) -> RunningJob:
    """Start the job, in a folder of its own."""
    for folder in ("pods", "slowly", "chosen"):
        volume.write(f"{name}/{folder}/.there", "")
    return namespace.submit(
        discojob(
            name,
            job="sleepers:Sleepers",
            code=SLEEPERS,
            inputs=[f"raw://{number}" for number in range(NODES)],
            params={"here": f"/shared/{name}"},
            workers={"replicas": NODES},
            speculation={"enabled": rivals},
            output={"url": f"/shared/{name}/results"},
        )
    )


def seconds_of_reduce(job: RunningJob) -> float:
    """Return how long the second stage took."""
    stage = job.status()["stages"][1]
    began, ended = (datetime.fromisoformat(stage[t]) for t in ("startTime", "completionTime"))
    return (ended - began).total_seconds()


def test_rivals_do_the_work_of_a_slow_node_and_nothing_is_doubled(
    namespace: Namespace, shared_volume: Volume
) -> None:
    """Both at the same time: sleeping takes no processor."""
    alone = sleepers(namespace, shared_volume, "alone", rivals=False)
    rivalled = sleepers(namespace, shared_volume, "rivalled", rivals=True)
    for job in (alone, rivalled):
        job.wait_until_succeeded(timeout=240)
        found = results(shared_volume, f"{job.name}/results")
        assert sorted(found) == sorted(map(str, range(TASKS)))
    print("seconds without rivals, and with:", *map(seconds_of_reduce, (alone, rivalled)))

    (slow,) = shared_volume.names("rivalled/chosen")
    # On a machine that is busy others may get rivals, too.
    wait_for("rivals of the slow node's attempts", lambda: slow in slow_nodes(rivalled))
    assert slow not in {found[number] for number in shared_volume.names("rivalled/slowly")}


def slow_nodes(job: RunningJob) -> set[str]:
    """Return the nodes of the second stage's attempts that got rivals."""
    rival = re.compile(r"stage reduce, task \d+ has run for .* on worker \S+ on (\S+), where ")
    notes = [event["note"] for event in job.events() if event["reason"] == "RivalStarted"]
    return {found[1] for note in notes if (found := rival.search(note))}

"""Workers of which one fails whatever it gets, and one is so slow that it never ends."""

from textwrap import dedent

from harness.jobs import discojob, results
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for

LINES = 24
UNEVEN = dedent(
    '''\
    """The first pod that maps has a broken disk, and the first that reduces never ends."""

    import os
    import socket
    import time

    from disco import Job

    WORKERS = 3

    def is_first(what):
        """Return whether this pod is the first one that asks."""
        try:
            os.symlink(socket.gethostname(), f"/shared/{what}")
        except FileExistsError:
            pass
        return os.readlink(f"/shared/{what}") == socket.gethostname()

    class Uneven(Job):
        partitions = 8

        @staticmethod
        def map(line, params):
            open(f"/shared/pods/{socket.gethostname()}", "w").close()
            while len([n for n in os.listdir("/shared/pods") if n[0] != "."]) < WORKERS:
                time.sleep(0.05)
            if is_first("broken"):
                raise OSError("the disk of this machine is broken")
            yield int(line), 1

        @staticmethod
        def reduce(pairs, params):
            while is_first("slow"):
                time.sleep(0.05)
            return pairs
    '''
)


def test_a_worker_that_fails_everything_is_left_out_and_a_slow_one_gets_rivals(
    namespace: Namespace, shared_volume: Volume
) -> None:
    """The slow one never ends by itself, so the job succeeds only if its task is given away."""
    shared_volume.write("pods/.there", "")
    job = namespace.submit(
        discojob(
            "uneven",
            job="uneven:Uneven",
            code=UNEVEN,
            inputs=[f"raw://{number}" for number in range(LINES)],
            workers={"replicas": 3},
            retries={"maxAttempts": 3, "exclusion": {"afterFailures": 2}},
            speculation={"enabled": True},
            output={"url": "/shared/results"},
        )
    )
    job.wait_until_succeeded(timeout=240)

    assert results(shared_volume) == {str(number): "1" for number in range(LINES)}
    (broken,) = {failure["worker"] for failure in job.status()["failures"]}

    def said() -> dict[str, str]:
        return {event["reason"]: event["note"] for event in job.events()}

    wait_for("its events", lambda: {"NodeExcluded", "RivalStarted"} <= set(said()))
    assert broken in said()["NodeExcluded"]

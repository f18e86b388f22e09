"""Jobs that are applied with kubectl and run to their end."""

import json
from collections import Counter
from textwrap import dedent

from harness import programs
from harness.jobs import discojob, results
from harness.namespaces import Namespace
from harness.volumes import Volume
from harness.waiting import wait_for

TEXT = "the quick brown fox jumps over the lazy dog\n"


def test_a_word_count_runs_from_the_code_of_a_config_map(
    namespace: Namespace, shared_volume: Volume
) -> None:
    shared_volume.write("input/a.txt", TEXT * 100)
    shared_volume.write("input/b.txt", "the end\n")
    namespace.config_map("code", {"wordcount.py": programs.WORDCOUNT})

    job = namespace.submit(
        discojob(
            "wordcount",
            job="wordcount:WordCount",
            code={"configMap": {"name": "code"}},
            inputs=["/shared/input/*.txt"],
            output={"url": "/shared/results"},
        )
    )
    job.wait_until_succeeded()

    counts = Counter(TEXT.split() * 100 + ["the", "end"])
    assert results(shared_volume) == {word: str(n) for word, n in counts.items()}
    conditions = {c["type"]: c["status"] for c in job.status()["conditions"]}
    assert conditions["Accepted"] == conditions["Planned"] == "True"
    assert conditions["ResultsAvailable"] == "True"
    assert conditions["Running"] == "False"
    assert job.status()["phase"] == "Succeeded"


def test_kubectl_get_and_describe_tell_how_a_job_went(
    namespace: Namespace, shared_volume: Volume
) -> None:
    shared_volume.write("input/a.txt", TEXT)
    job = namespace.submit(
        discojob(
            "told",
            job="wordcount:WordCount",
            code=programs.WORDCOUNT,
            inputs=["/shared/input/a.txt"],
            output={"url": "/shared/results"},
        )
    )
    job.wait_until_succeeded()

    row = namespace.kubectl("get", "dj", "told").stdout
    described = namespace.kubectl("describe", "discojob", "told").stdout

    assert "Succeeded" in row
    assert "Planned" in described
    assert "Succeeded" in described


def test_two_hundred_tasks_in_two_stages_lose_no_record(
    namespace: Namespace, shared_volume: Volume
) -> None:
    lines = [f"{number:09}\n" for number in range(19_000)]
    shared_volume.write("input/numbers.txt", "".join(lines))
    code = dedent(
        """\
        from disco import Job, Stage, group_label, split

        def remainders(interface, state, label, lines):
            for line in lines:
                interface.output(int(line) % 10).add(int(line) % 10, int(line))

        def add_up(interface, state, label, pairs):
            numbers = [number for _, number in pairs]
            interface.output(0).add(label, f"{len(numbers)} {sum(numbers)}")

        class Sums(Job):
            pipeline = [
                (split, Stage("remainders", process=remainders)),
                (group_label, Stage("sums", process=add_up, combine=True)),
            ]
        """
    )

    job = namespace.submit(
        discojob(
            "sums",
            job="sums:Sums",
            code=code,
            inputs=["/shared/input/numbers.txt"],
            output={"url": "/shared/results"},
            splitSize=1000,
            workers={"replicas": 3},
        )
    )
    job.wait_until_succeeded(timeout=240)

    assert results(shared_volume) == {
        str(remainder): f"1900 {sum(range(remainder, 19_000, 10))}" for remainder in range(10)
    }
    tasks = {stage["name"]: stage["tasks"]["done"] for stage in job.status()["stages"]}
    assert tasks["remainders"] == 190
    assert tasks["sums"] == 10


def test_a_poison_record_fails_the_job_with_the_users_traceback(
    namespace: Namespace, shared_volume: Volume
) -> None:
    shared_volume.write("input/a.txt", "1\n2\nthree\n4\n")
    code = dedent(
        """\
        from disco import Job

        class Poisoned(Job):
            @staticmethod
            def map(line, params):
                yield int(line), 1
        """
    )

    job = namespace.submit(
        discojob(
            "poisoned",
            job="poisoned:Poisoned",
            code=code,
            inputs=["/shared/input/a.txt"],
            output={"url": "/shared/results"},
            retries={"maxAttempts": 2},
        )
    )
    failed = job.wait_until_failed()

    assert "invalid literal for int()" in failed["message"]
    assert "three" in failed["message"]
    assert job.status()["phase"] == "Failed"
    assert "poisoned.py" in json.dumps(job.status()["failures"])
    wait_for(
        "the event with the error",
        lambda: any("invalid literal" in event["note"] for event in job.events()),
    )
    assert "_SUCCESS" not in shared_volume.names("results")


def test_a_record_that_kills_its_process_fails_the_job_and_not_the_workers(
    namespace: Namespace, shared_volume: Volume
) -> None:
    shared_volume.write("input/a.txt", "live\n")
    shared_volume.write("input/b.txt", "die\n")
    code = dedent(
        """\
        import os, signal
        from disco import Job

        class Deadly(Job):
            @staticmethod
            def map(line, params):
                if line == b"die\\n":
                    os.kill(os.getpid(), signal.SIGKILL)
                yield line.decode(), 1
        """
    )

    job = namespace.submit(
        discojob(
            "deadly",
            job="deadly:Deadly",
            code=code,
            inputs=["/shared/input/*.txt"],
            retries={"maxAttempts": 2},
        )
    )
    failed = job.wait_until_failed()

    assert "b.txt" in failed["message"] or "signal 9" in failed["message"]
    assert not any(
        status["restartCount"]
        for pod in job.pods("worker")
        for status in pod["status"]["containerStatuses"]
    )

"""submit and render: what travels, what a server is given, what a person is told."""

import json
import re
import signal
from pathlib import Path

import pytest
import yaml

from disco.v1 import coordinator_pb2, job_pb2
from disco_gateway.backend import NewJob, ResultSource
from disco_gateway.fake import TOKEN, FakeBackend
from disco_gateway.serving import serving

from .conftest import COUNT, Shell, until

MANIFEST = """\
apiVersion: discoproject.org/v1alpha1
kind: DiscoJob
metadata: {name: counting, labels: {team: a}}
spec:
  job: count:Count
  image: example.org/count
  inputs: ["raw://a b a"]
  params: {weight: 2, kept: 1}
  workers: {min: 1, max: 3}
  taskTimeout: 1m
"""


@pytest.fixture
def here(shell: Shell) -> Shell:
    shell.write("count.py", COUNT)
    return shell


def the_job(server: FakeBackend) -> NewJob:
    (job,) = server.jobs.values()
    assert job.new is not None
    return job.new


async def test_a_submission_says_what_goes_along_and_what_to_type_next(
    server: FakeBackend, here: Shell
) -> None:
    here.write("count.py", "import words\n" + COUNT)
    here.write("words.py", "WORDS = 1\n")

    done = await here.disco("submit", "count.py", "raw://a b a", "--label", "team=a")

    assert done.status == 0, done.err
    name = done.out.strip()
    new = the_job(server)
    assert (new.name, new.labels) == (name, {"team": "a"})
    assert re.fullmatch(r"count-[a-z0-9]+", name)
    assert new.spec.job == "count:Count"
    assert new.spec.inputs == (("raw://a b a",),)
    assert new.code is not None
    assert job_pb2.JobCode.FromString(new.code).modules_zip
    assert done.err == (
        f"Sending {400} B:\n".replace("400", re.findall(r"\d+", done.err)[0])
        + f"  count.py  {re.findall(r'count.py +(.*)', done.err)[0]:>8}\n"
        "  words.py      10 B\n"
        f"Submitted {name} to namespace default.\n"
        f"  watch it:     disco watch {name}\n"
        f"  its results:  disco results {name}\n"
        f"  stop it:      disco cancel {name}\n"
    )


async def test_flags_of_run_reach_the_spec(server: FakeBackend, here: Shell) -> None:
    here.write("requirements.txt", "numpy>=2  # for arrays\n")
    here.write("lookup.csv", "a,b\n")

    done = await here.disco(
        *("submit", "count.py", "raw://x", "--name", "mine", "-n", "team-a", "-o", "name"),
        *("--param", "weight=10", "--partitions", "3", "--workers", "4", "--slots", "2"),
        *("--memory", "1Gi", "--task-timeout", "90s", "--max-attempts", "2", "--deadline", "1h"),
        *("--output", "s3://bucket/out", "--format", "csv", "--file", "lookup.csv"),
        *("--requirements", "requirements.txt", "--requirement", "pandas"),
    )

    assert (done.status, done.out) == (0, "mine\n"), done.err
    assert "disco watch -n team-a mine" in done.err
    new = the_job(server)
    spec = new.spec
    assert (new.namespace, new.name) == ("team-a", "mine")
    assert (spec.params, spec.partitions) == ({"weight": 10}, 3)
    assert (spec.workers.replicas, spec.workers.slots) == (4, 2)
    assert (spec.memory_limit, spec.task_timeout, spec.active_deadline_seconds) == (2**30, 90, 3600)
    assert spec.retries.max_attempts == 2
    assert spec.output is not None
    assert (spec.output.url, spec.output.format) == ("s3://bucket/out", "csv")
    assert spec.requirements == ("numpy>=2", "pandas")
    assert "lib/lookup.csv" in done.err


async def test_a_manifest_is_sent_with_its_code_and_with_flags_over_it(
    server: FakeBackend, here: Shell
) -> None:
    here.write("jobs/job.yaml", MANIFEST)
    here.write("jobs/count.py", COUNT)

    done = await here.disco(
        *("submit", "jobs/job.yaml", "--param", "weight=3", "--workers", "5", "--label", "x=y"),
    )

    assert (done.status, done.out) == (0, "counting\n"), done.err
    new = the_job(server)
    assert new.labels == {"team": "a", "x": "y"}
    assert new.code is not None
    assert (new.spec.image, new.spec.task_timeout) == ("example.org/count", 60)
    assert new.spec.params == {"weight": 3, "kept": 1}
    assert (new.spec.workers.replicas, new.spec.workers.max) == (5, None)


async def test_a_manifest_whose_code_is_in_the_image_is_sent_as_it_is(
    server: FakeBackend, here: Shell
) -> None:
    here.write("jobs/job.yaml", MANIFEST.replace("count:", "elsewhere:"))

    done = await here.disco("submit", "jobs/job.yaml")

    assert done.status == 0
    assert "No code goes along: there is no module elsewhere beside jobs/job.yaml" in done.err
    assert the_job(server).code is None
    refused = await here.disco("submit", "jobs/job.yaml", "--file", "count.py")
    assert (refused.status, refused.out) == (2, "")
    assert "--file: nothing travels with jobs/job.yaml" in refused.err


async def test_relative_paths_are_those_of_this_machine_if_the_server_is_on_it(
    server: FakeBackend, here: Shell
) -> None:
    here.write("jobs/job.yaml", MANIFEST.replace('"raw://a b a"', "text.txt, /abs"))
    here.write("jobs/count.py", COUNT)

    assert (await here.disco("submit", "jobs/job.yaml", "--name", "one")).status == 0
    assert (await here.disco("submit", "count.py", "text.txt", "--name", "two")).status == 0
    inputs = {job.new.name: job.new.spec.inputs for job in server.jobs.values() if job.new}

    assert inputs == {
        "one": ((f"{here.directory}/jobs/text.txt",), ("/abs",)),
        "two": ((f"{here.directory}/text.txt",),),
    }


async def test_a_cluster_is_not_sent_what_its_pods_could_not_read(here: Shell) -> None:
    here.write("text.txt", "a b a\n")
    cluster = FakeBackend(kind="kubernetes")
    async with serving(cluster) as served:
        here.environment["DISCO_SERVER"] = f"disco://127.0.0.1:{served.grpc_port}"
        here.environment["DISCO_TOKEN"] = TOKEN

        refused = await here.disco("submit", "count.py", "text.txt")
        assert (refused.status, refused.out) == (2, "")
        assert "text.txt: a path on this machine" in refused.err
        assert cluster.jobs == {}
        assert cluster.code.kept == {}, "code was sent before that was known"
        told = await here.disco("submit", "count.py", "/data/text.txt", "--remote-paths")
        assert told.status == 0, told.err


async def test_the_server_can_be_asked_without_making_a_job(
    server: FakeBackend, here: Shell
) -> None:
    done = await here.disco("submit", "count.py", "raw://x", "--name", "mine", "--dry-run")

    assert (done.status, done.out) == (0, "")
    assert "mine would be submitted; nothing was made.\n" in done.err
    assert server.jobs == {}


async def test_a_second_request_with_the_same_id_finds_the_first_job(
    server: FakeBackend, here: Shell
) -> None:
    names = {
        (await here.disco("submit", "count.py", "raw://x", "--request-id", "r1", "-o", "name")).out
        for _ in range(2)
    }

    assert len(names) == 1
    assert len(server.jobs) == 1


async def test_a_name_that_is_taken_is_wrong_use(server: FakeBackend, here: Shell) -> None:
    server.add("default", "mine")

    done = await here.disco("submit", "count.py", "raw://x", "--name", "mine")

    assert (done.status, done.out) == (2, "")
    assert "there is another job 'mine' in namespace 'default'" in done.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("nothere.py", "raw://x"), "Error: there is no file nothere.py\n"),
        (("count.py",), "Error: no input: give INPUT arguments"),
        (("count.py", "raw://x", "--file", "nothere.csv"), "nothere.csv"),
        (("count.py", "raw://x", "--file", "key.pem"), "key.pem"),
        (("count.py", "raw://x", "--requirements", "nothere.txt"), "nothere.txt"),
        (("count.py", "raw://x", "--label", "x"), 'expected KEY=VALUE, found "x"'),
        (("count.py", "raw://x", "--name", "Not_A_Name"), "name"),
        (("count.py", "raw://x", "--format", "csv"), "it needs --output, too"),
        (("job.yaml", "-n", "other"), "the manifest says namespace here, the flag other"),
    ],
)
async def test_what_makes_no_sense_is_wrong_use(
    server: FakeBackend, here: Shell, arguments: tuple[str, ...], expected: str
) -> None:
    here.write("key.pem", "secret")
    here.write("job.yaml", MANIFEST.replace("metadata: {", "metadata: {namespace: here, "))

    done = await here.disco("submit", *arguments)

    assert (done.status, done.out) == (2, "")
    assert expected in done.err
    assert server.jobs == {}


async def test_following_shows_the_job_and_then_its_results(
    server: FakeBackend, here: Shell, results: ResultSource
) -> None:
    following = await here.start("submit", "count.py", "raw://x", "--name", "one", "--follow")
    await until(lambda: ("default", "one") in server.jobs)
    stage = coordinator_pb2.StageProgress(
        name="map", tasks_total=4, tasks_done=4, records_in=40, started_s=1.0, finished_s=2.0
    )
    server.change("default", "one", stages=[stage])
    server.finish("default", "one", source=results)

    done = await here.ended(following)

    assert (done.status, done.out) == (0, "a\t3\nb\t2\nc\t1\nd\t9\n")
    assert "map: started, 4 tasks" in done.err
    assert re.search(r"one succeeded in .*: 40 records read, 4 results\.", done.err)
    assert "To keep them: disco results one --output DIRECTORY." in done.err


async def test_waiting_prints_no_results_and_the_status_says_how_it_ended(
    server: FakeBackend, here: Shell
) -> None:
    waiting = await here.start("submit", "count.py", "raw://x", "--name", "one", "--wait")
    await until(lambda: ("default", "one") in server.jobs)
    server.finish("default", "one", coordinator_pb2.JOB_PHASE_FAILED, message="no luck")

    done = await here.ended(waiting)

    assert (done.status, done.out) == (1, "")
    assert "no luck" in done.err


async def test_ctrl_c_leaves_the_job_alone_and_says_how_to_stop_it(
    server: FakeBackend, here: Shell
) -> None:
    following = await here.start("submit", "count.py", "raw://x", "--name", "one", "--follow")
    await until(lambda: any(verb == "watch" for _, verb, _ in server.asked))
    server.print("default", "one", "now it is shown\n")
    assert following.stderr is not None
    while b"now it is shown" not in await following.stderr.readline():
        pass
    following.send_signal(signal.SIGINT)

    done = await here.ended(following)

    assert done.status == 130
    assert "stopped watching; the job goes on." in done.err
    assert "disco cancel one" in done.err
    assert server.jobs["default", "one"].job.phase == coordinator_pb2.JOB_PHASE_PENDING


async def test_programs_are_told_in_json(server: FakeBackend, here: Shell) -> None:
    following = await here.start(
        "submit", "count.py", "raw://x", "--name", "one", "--follow", "--json"
    )
    await until(lambda: ("default", "one") in server.jobs)
    server.finish("default", "one", coordinator_pb2.JOB_PHASE_CANCELLED)

    done = await here.ended(following)

    lines = [json.loads(line) for line in done.out.splitlines()]
    assert (lines[0]["type"], lines[0]["job"]["name"]) == ("submitted", "one")
    assert (lines[-1]["type"], lines[-1]["outcome"], done.err) == ("result", "cancelled", "")


# --- render ---------------------------------------------------------------------------------------


async def test_what_is_rendered_can_be_applied(here: Shell, tmp_path: Path) -> None:
    done = await here.disco("render", "count.py", "s3://b/x", "--workers", "3", "-n", "team-a")

    assert (done.status, done.err) == (0, "")
    code, job = yaml.safe_load_all(done.out)
    assert (code["kind"], code["metadata"]) == (
        "ConfigMap",
        {"name": "count-code", "namespace": "team-a"},
    )
    assert code["data"] == {"count.py": COUNT}
    assert job["spec"] == {
        "job": "count:Count",
        "code": {"configMap": {"name": "count-code"}},
        "inputs": ["s3://b/x"],
        "workers": {"replicas": 3},
    }
    path = tmp_path / "job.yaml"
    path.write_text(done.out.partition("---\n")[2])
    again = await here.disco("render", str(path), "-o", "json")
    assert json.loads(again.out)["spec"] == job["spec"]


async def test_what_cannot_be_rendered_is_said(here: Shell) -> None:
    here.write("package/__init__.py", "")
    here.write("package/words.py", "")
    here.write("count.py", "import package.words\n" + COUNT)

    done = await here.disco("render", "count.py", "s3://b/x")

    assert done.status == 0
    reason = "package/words.py is in a directory, and a ConfigMap has none"
    assert f"The code is not in here: {reason}." in done.err
    assert f"# The code is not in here: {reason}." in done.out
    (job,) = yaml.safe_load_all(done.out)
    assert "code" not in job["spec"]

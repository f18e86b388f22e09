"""The manifests of a job's children: what every pod must be, and what the author may change."""

import base64
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from disco.payload import split_payload
from disco.v1 import job_pb2
from disco_operator.changes import base_children, changes_to
from disco_operator.children.network import network_policy
from disco_operator.children.pods import merged
from disco_operator.children.spec import SpecTooLargeError, job_message
from disco_operator.cluster import Kind
from disco_operator.names import slug

LONG_AGO = "2026-01-01T00:00:00Z"

FULL = {
    "output": {"url": "/out"},
    "image": "registry.example/mine:1",
    "imagePullSecrets": [{"name": "registry"}],
    "partitionService": {"replicas": 2, "storage": {"emptyDir": {"sizeLimit": "1Gi"}}},
    "stages": {"reduce": {"workers": {"nodeSelector": {"disk": "fast"}}}},
    "requirements": ["numpy==2"],
    "code": {"archive": {"url": "https://host/a.zip", "sha256": "0" * 64}},
}


def _pods(story: Any) -> dict[str, Any]:
    return {name: w["spec"]["template"] for name, w in story.workloads.items()}


@pytest.fixture
def full(build: Any) -> Any:
    story = build.Story(FULL).running()
    story.hears(build.progress((0, 1, 9))).look()
    return story


Build = Any


def test_every_container_is_restricted(full: Any) -> None:
    """What pod-security.kubernetes.io/enforce=restricted asks for, and a bit more."""
    for name, template in _pods(full).items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_every_pod_may_pull_the_image_with_the_jobs_own_credentials(full: Any) -> None:
    for name, template in _pods(full).items():
        spec = template["spec"]
        assert spec["imagePullSecrets"] == [{"name": "registry"}], name
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            assert container["image"] == "registry.example/mine:1", name


def test_no_token_and_no_key_stands_in_a_pod(full: Any) -> None:
    text = json.dumps(_pods(full))
    assert '"valueFrom": {"secretKeyRef"' in text
    assert "tls.key" not in text


def test_names_and_labels_stay_within_what_kubernetes_takes() -> None:
    longest = "x" * 45
    for suffix in (
        "-identity-12345678",
        "-coordinator",
        "-ps",
        f"-{slug('a stage, anyhow named')}",
    ):
        assert len(longest + suffix) <= 63


def test_stages_of_any_name_have_different_slugs() -> None:
    names = ["map", "Map", "map ", "reduce", "x" * 300, "größe", "stage-map"]
    assert len({slug(name) for name in names}) == len(names)


def test_stages_are_not_called_like_other_children() -> None:
    """The stage "workers" of job "a" would have the Deployment of the workers of job "a-stage"."""
    assert slug("workers") != "stage-workers"
    assert slug("ps") != "stage-ps"


def test_names_of_stages_are_not_expanded_by_the_kubelet(build: Build) -> None:
    story = build.Story({"stages": {"$(POD_NAME)": {"workers": {"replicas": 1}}}})
    story.look()
    command = _pods(story)["j-workers"]["spec"]["containers"][0]["command"]
    assert "--except-stage=$$(POD_NAME)" in command


def test_stage_filters_are_given_to_workers(full: Any) -> None:
    shared = _pods(full)["j-workers"]["spec"]["containers"][0]["command"]
    own = _pods(full)["j-stage-reduce"]["spec"]["containers"][0]["command"]
    assert "--except-stage=reduce" in shared
    assert "--stage=reduce" in own
    assert _pods(full)["j-stage-reduce"]["spec"]["nodeSelector"] == {"disk": "fast"}


def test_the_coordinator_is_told_all_partition_services(full: Any) -> None:
    command = _pods(full)["j-coordinator"]["spec"]["containers"][0]["command"]
    for index in range(2):
        address = f"j-ps-{index}.j-ps.ns.svc:7072"
        assert f"--partition-service=j-ps-{index}={address}" in command


def test_a_partition_service_stops_before_the_kubelet_evicts_it(full: Any) -> None:
    template = _pods(full)["j-ps"]["spec"]
    command = template["containers"][0]["command"]
    limit = int(command[command.index("--storage-limit-bytes") + 1])
    volume = next(v for v in template["volumes"] if v["name"] == "data")
    assert limit < int(volume["emptyDir"]["sizeLimit"])


def test_requirements_are_installed_before_the_worker_starts(full: Any) -> None:
    init = _pods(full)["j-workers"]["spec"]["initContainers"][0]
    assert "numpy==2" in init["command"]
    assert "initContainers" not in _pods(full)["j-coordinator"]["spec"]


def test_an_overlay_changes_what_it_names_and_nothing_else(build: Any) -> None:
    overlay = {
        "metadata": {"annotations": {"team": "a"}},
        "spec": {
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db"]}],
            "containers": [
                {"name": "worker", "lifecycle": {"x": 1}},
                {"name": "sidecar", "image": "s"},
            ],
        },
    }
    story = build.Story({"workers": {"podTemplate": overlay}})
    story.look()
    template = _pods(story)["j-workers"]
    assert template["metadata"]["annotations"] == {"team": "a"}
    assert template["metadata"]["labels"]["discoproject.org/role"] == "worker"
    first, second = template["spec"]["containers"]
    assert first["name"] == "worker"
    assert first["image"] == "disco:1"
    assert first["lifecycle"] == {"x": 1}
    assert second == {"name": "sidecar", "image": "s"}


def test_the_authors_environment_replaces_ours_but_not_what_pods_rely_on(build: Build) -> None:
    """A name that stands there twice is refused by the API server, each time it is applied."""
    names = ("HOME", "PYTHONPATH", "POD_NAME", "DISCO_JOB_TOKEN", "MINE")
    env = [{"name": name, "value": "/theirs"} for name in names]
    story = build.Story({"workers": {"env": env}})
    story.look()
    container = _pods(story)["j-workers"]["spec"]["containers"][0]
    found = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert len(found) == len(container["env"])
    assert found["HOME"] == found["MINE"] == "/theirs"
    assert found["PYTHONPATH"] == "/job/prepared/packages:/theirs"
    assert found["POD_NAME"] is None
    assert found["DISCO_JOB_TOKEN"] is None


def test_an_overlay_of_odd_shape_is_passed_on_to_be_refused(build: Build) -> None:
    overlay = {"spec": {"containers": [{"name": {"a": 1}}]}}
    story = build.Story({"workers": {"podTemplate": overlay}})
    story.look()
    assert _pods(story)["j-workers"]["spec"]["containers"] == [{"name": {"a": 1}}]


def test_merging_null_removes() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None}, "d": 4}) == {
        "a": {"c": 2},
        "d": 4,
    }


def test_the_specification_names_the_job_and_carries_its_code(build: Any) -> None:
    spec = {"params": {"top": 5}, "partitions": 3, "inputs": ["a", ["b", "c"]]}
    story = build.Story({**spec, "code": {"inline": "x = 1"}, "retries": {"maxAttempts": 2}})
    message = job_message(story.job, {"wc.py": b"x = 1"})
    again = job_message(story.job, {"wc.py": b"x = 1"})
    assert message.SerializeToString() == again.SerializeToString()
    header, body = split_payload(message.code.payload)
    assert body == b""
    assert header.reference == "wc:WC"
    assert header.jobargs == {"params": {"top": 5}, "partitions": 3}
    assert [list(i.urls) for i in message.inputs] == [["a"], ["b", "c"]]
    assert message.settings.max_attempts == 2
    assert message.uid == story.job.uid


def test_code_that_is_too_large_for_the_cluster_is_refused_with_the_remedy(build: Any) -> None:
    story = build.Story()
    with pytest.raises(SpecTooLargeError, match="image or an archive"):
        base_children(story.job, {"wc.py": os.urandom(1_000_000)}, {}, build.OPERATOR)


def test_the_secret_holds_what_it_was_given(build: Any) -> None:
    children = base_children(build.Story().job, {}, {"token": b"t0ken"}, build.OPERATOR)
    secret = next(child for child in children if child["kind"] == "Secret")
    assert base64.b64decode(secret["data"]["token"]) == b"t0ken"
    assert secret["immutable"] is True
    config = next(child for child in children if child["kind"] == "ConfigMap")
    assert job_pb2.JobSpec.FromString(base64.b64decode(config["binaryData"]["job.pb"])).name == (
        "ns/j"
    )


def test_submitted_code_comes_as_files_of_one_volume_with_its_checksum(build: Any) -> None:
    code = {"secret": {"name": "j-code-1", "sha256": "ab" * 32, "parts": 3}}
    story = build.Story({"code": code})
    story.look()
    spec = _pods(story)["j-coordinator"]["spec"]
    (volume,) = (v for v in spec["volumes"] if v["name"] == "submission")
    sources = [source["secret"] for source in volume["projected"]["sources"]]
    assert [source["name"] for source in sources] == ["j-code-1", "j-code-1-1", "j-code-1-2"]
    paths = [source["items"][0]["path"] for source in sources]
    assert paths == ["code.pb", "code.pb.1", "code.pb.2"]
    command = spec["containers"][0]["command"]
    flags = [flag for flag in command if flag.startswith("--code")]
    assert flags == [
        *(f"--code-file=/job/submission/{path}" for path in paths),
        f"--code-sha256={'ab' * 32}",
    ]


def test_a_job_may_be_called_by_itself_the_operator_and_the_gateway(build: Any) -> None:
    policy = network_policy(build.Story().job, build.OPERATOR)["spec"]
    (rule,) = policy["ingress"]
    own, control_plane = rule["from"]
    assert own == {"podSelector": {"matchLabels": {"discoproject.org/job": "j"}}}
    (expression,) = control_plane["podSelector"]["matchExpressions"]
    assert expression["values"] == ["disco-operator", "disco-gateway"]
    home = {"matchLabels": {"kubernetes.io/metadata.name": "disco-system"}}
    assert control_plane["namespaceSelector"] == home


def test_a_workload_scaled_by_hand_is_put_right(build: Any) -> None:
    story = build.Story().running()
    story.workloads["j-workers"]["spec"]["replicas"] = 0
    wanted = story.decision.wanted
    changes = changes_to(
        story.job, wanted, tuple(story.workloads.values()), story.status, build.OPERATOR
    )
    assert changes.scale == ((Kind.DEPLOYMENT, "j-workers", 2),)
    assert not changes.apply


def test_an_operator_that_would_make_other_pods_replaces_none(build: Any) -> None:
    story = build.Story().running()
    upgraded = replace(build.OPERATOR, job_image="disco:next")
    there = tuple(story.workloads.values())
    for workload in there:  # as if the operator before had left out something that this one sets
        del workload["spec"]["template"]["spec"]["enableServiceLinks"]

    changes = changes_to(story.job, story.decision.wanted, there, story.status, upgraded)

    assert not changes.apply
    assert not changes.scale


def test_a_job_that_has_not_begun_gets_the_image_of_an_upgrade(build: Any) -> None:
    """The default image that could not be pulled was corrected, and jobs went on waiting for it."""
    story = build.Story()
    story.look()
    story.job_image = "disco:next"
    story.look()
    assert _images(story.workloads.values()) == {"disco:next"}
    # Nobody has heard of it, but it may have got far while there was no operator.
    story.pods = [build.pod("j-ps-0", "partition-service", phase="Running", startTime=LONG_AGO)]
    story.job_image = "disco:last"
    story.look()
    assert _images(story.workloads.values()) == {"disco:next"}
    story.hears(build.progress((8, 2, 0))).look()
    story.pods = []
    story.look()
    assert _images(story.workloads.values()) == {"disco:next"}


def _images(workloads: Iterable[Any]) -> set[str]:
    containers = (found["spec"]["template"]["spec"]["containers"][0] for found in workloads)
    return {container["image"] for container in containers}


def test_what_is_made_after_an_upgrade_has_the_image_that_the_job_started_with(build: Any) -> None:
    story = build.Story().running()
    upgraded = replace(build.OPERATOR, job_image="disco:next")

    changes = changes_to(story.job, story.decision.wanted, (), story.status, upgraded)

    assert _images(changes.apply) == {build.OPERATOR.job_image}

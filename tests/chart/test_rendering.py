"""What the chart makes of its values."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from tests.chart.conftest import Helm, Object, Rendered

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "disco"
APP = "app.kubernetes.io/name"
UNNAMESPACED = (
    *("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
)


def _container(pod: "Object") -> "Object":
    (container,) = pod["spec"]["containers"]
    found: Object = container
    return found


def _pods(rendered: "Rendered") -> Iterator["Object"]:
    yield from (found["spec"]["template"] for found in rendered.all("Deployment"))
    yield from rendered.all("Pod")


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return selector.items() <= labels.items()


def test_lint_has_nothing_to_say(helm: "Helm", values: Mapping[str, Any]) -> None:
    helm.lint(values)


def test_every_object_is_named_placed_and_labelled(rendered: "Rendered") -> None:
    for found in rendered.objects:
        metadata = found["metadata"]
        assert ("namespace" in metadata) == (found["kind"] not in UNNAMESPACED), metadata
        assert metadata["labels"]["app.kubernetes.io/instance"] == "disco"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    names = [
        (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in rendered.objects
    ]
    assert len(names) == len(set(names))


def test_pods_are_as_restricted_as_pod_security_knows(rendered: "Rendered") -> None:
    for pod in _pods(rendered):
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == 65532
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert _container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC", "hostPath"} & pod["spec"].keys()
        assert pod["spec"]["enableServiceLinks"] is False


def test_selectors_find_their_own_pods_and_nothing_else(rendered: "Rendered") -> None:
    pods = {
        deployment["metadata"]["labels"][APP]: deployment["spec"]["template"]["metadata"]["labels"]
        for deployment in rendered.all("Deployment")
    }
    others = [found["metadata"]["labels"] for found in rendered.all("Pod")]
    others.append(
        {"app.kubernetes.io/name": "disco", "app.kubernetes.io/managed-by": "disco-operator"}
    )
    selectors = [
        (found, found["spec"]["selector"]["matchLabels"])
        for found in rendered.all(
            "Deployment", "PodDisruptionBudget", "ServiceMonitor", "PodMonitor"
        )
    ]
    selectors += [(found, found["spec"]["selector"]) for found in rendered.all("Service")]
    selectors += [
        (found, found["spec"]["podSelector"]["matchLabels"])
        for found in rendered.all("NetworkPolicy")
    ]
    for found, selector in selectors:
        app = found["metadata"]["labels"][APP]
        assert [name for name, labels in pods.items() if _matches(selector, labels)] == [app]
        assert not any(_matches(selector, labels) for labels in others)


def test_pods_that_jobs_let_in_are_those_of_the_operator_and_the_gateway(
    rendered: "Rendered",
) -> None:
    """What the NetworkPolicy of every job selects: disco_operator.children.network."""
    key, admitted = "app.kubernetes.io/part-of", {"disco-operator", "disco-gateway"}
    for deployment in rendered.all("Deployment"):
        assert deployment["spec"]["template"]["metadata"]["labels"][key] in admitted
    assert not any(pod["metadata"]["labels"][key] in admitted for pod in rendered.all("Pod"))


def test_a_user_s_label_does_not_replace_one_that_is_selected_by(helm: "Helm") -> None:
    theirs = {"app.kubernetes.io/name": "mine", "team": "data"}
    rendered = helm.render({"podLabels": theirs, "extraLabels": theirs})
    for app in ("disco-operator", "disco-gateway"):
        labels = rendered.of("Deployment", app)["spec"]["template"]["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == app
        assert labels["team"] == "data"


def test_the_operator_is_told_what_to_watch(helm: "Helm", defaults: "Rendered") -> None:
    arguments = _container(defaults.of("Deployment")["spec"]["template"])["args"]
    assert arguments == [
        "--namespace-mode=cluster",
        "--job-image=disco:0.1.0",
        "--lease-name=disco-operator",
        "--http-port=8080",
        "--log-level=INFO",
    ]
    some = helm.render({"watch": {"namespaces": ["a", "b", "a"]}}).of("Deployment")
    assert _container(some["spec"]["template"])["args"][:3] == [
        "--namespace-mode=namespaced",
        "--namespace=a",
        "--namespace=b",
    ]


def test_releases_beside_each_other_lead_separately(helm: "Helm") -> None:
    def lease(release: str) -> str:
        pod = helm.render({}, release).of("Deployment")["spec"]["template"]
        (found,) = (a for a in _container(pod)["args"] if a.startswith("--lease-name="))
        name: str = found
        return name

    assert lease("disco") != lease("nightly")


@pytest.mark.parametrize(
    ("image", "job_image", "expected"),
    [
        ({}, "", ("disco:0.1.0", "disco:0.1.0")),
        ({"repository": "r.example:5000/d", "tag": "2"}, "", ("r.example:5000/d:2",) * 2),
        ({"tag": "2"}, "mine:3", ("disco:2", "mine:3")),
        (
            {"tag": "2", "digest": "sha256:" + "a" * 64},
            "",
            ("disco@sha256:" + "a" * 64,) * 2,
        ),
    ],
)
def test_jobs_get_the_operator_s_image_unless_told_otherwise(
    helm: "Helm", image: "Object", job_image: str, expected: tuple[str, str]
) -> None:
    rendered = helm.render({"image": image, "jobImage": job_image})
    operator = _container(rendered.of("Deployment")["spec"]["template"])
    assert operator["image"] == expected[0]
    assert f"--job-image={expected[1]}" in operator["args"]
    assert _container(rendered.one("Pod"))["image"] == expected[0]


def test_no_probe_asks_who_leads(defaults: "Rendered") -> None:
    """A standby that is never ready would block rollouts, ``helm --wait`` and node drains."""
    operator = _container(defaults.of("Deployment")["spec"]["template"])
    probes = [operator[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert probes == [{"path": "/healthz", "port": "http"}] * 3


def test_nodes_can_be_drained_even_with_one_replica(helm: "Helm") -> None:
    budget = helm.render({"replicas": 1}).of("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget


def test_no_source_means_nobody_reads_the_metrics(helm: "Helm", defaults: "Rendered") -> None:
    assert defaults.of("NetworkPolicy")["spec"]["ingress"] == []
    peers = [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]
    policy = helm.render({"networkPolicy": {"metricsFrom": peers}}).of("NetworkPolicy")["spec"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": "http"}], "from": peers}]


def _gateway(rendered: "Rendered") -> "Object":
    return _container(rendered.of("Deployment", "disco-gateway")["spec"]["template"])


def test_the_gateway_is_told_where_it_is_and_whom_it_serves(
    helm: "Helm", defaults: "Rendered"
) -> None:
    assert _gateway(defaults)["args"] == [
        "--grpc-port=7070",
        "--http-port=7073",
        "--probe-port=8080",
        "--service=disco-gateway",
        "--ca-config-map=disco-gateway-ca",
        "--max-code-bytes=16777216",
        "--log-level=INFO",
    ]
    some = helm.render({"watch": {"namespaces": ["a", "b", "a"]}})
    assert _gateway(some)["args"][:2] == ["--namespace=a", "--namespace=b"]


def test_a_certificate_of_one_s_own_is_mounted(helm: "Helm") -> None:
    rendered = helm.render({"gateway": {"tls": {"secretName": "ours"}}})
    assert "--tls-dir=/tls" in _gateway(rendered)["args"]
    pod = rendered.of("Deployment", "disco-gateway")["spec"]["template"]["spec"]
    assert {"name": "tls", "secret": {"secretName": "ours"}} in pod["volumes"]


def test_no_key_is_in_the_release(rendered: "Rendered") -> None:
    """Whoever may read a release's history would have it, and an upgrade would make another."""
    assert rendered.all("Secret") == ()


def test_a_code_store_on_a_volume_needs_to_be_named(helm: "Helm") -> None:
    volume = {"persistentVolumeClaim": {"claimName": "code"}}
    refused = helm.refusal({"gateway": {"codeStore": {"volume": volume}}})
    assert "gateway.codeStore.url" in refused
    rendered = helm.render({"gateway": {"codeStore": {"volume": volume, "url": "file:///code"}}})
    assert "--code-store=file:///code" in _gateway(rendered)["args"]
    assert {"name": "code", "mountPath": "/code"} in _gateway(rendered)["volumeMounts"]


def test_the_gateway_is_called_by_whom_is_let_and_calls_what_it_must(
    helm: "Helm", defaults: "Rendered"
) -> None:
    policy = defaults.of("NetworkPolicy", "disco-gateway")["spec"]
    assert [rule.get("from") for rule in policy["ingress"]] == [None]  # everybody
    jobs = [rule for rule in policy["egress"] if "to" in rule]
    assert [port["port"] for rule in jobs for port in rule["ports"]] == [7071, 7072]
    peers: list[Object] = [{"namespaceSelector": {}}]
    some = helm.render({"gateway": {"clientsFrom": peers}}).of("NetworkPolicy", "disco-gateway")
    assert [rule["from"] for rule in some["spec"]["ingress"]] == [peers]


def test_there_need_not_be_a_gateway(helm: "Helm") -> None:
    rendered = helm.render({"gateway": {"enabled": False}})
    assert not [o for o in rendered.objects if "gateway" in o["metadata"]["name"]]


def test_two_monitors_are_refused(helm: "Helm") -> None:
    both = {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
    assert "counted twice" in helm.refusal({"monitoring": both})


def test_the_definition_is_upgraded_with_the_chart_and_outlives_it(defaults: "Rendered") -> None:
    """Helm installs what is in crds/ once and never again; so it must be a template."""
    assert not (CHART / "crds").exists()
    found = defaults.one("CustomResourceDefinition")
    source = yaml.safe_load((CHART / "files" / "crd.yaml").read_text())
    assert found["spec"] == source["spec"]
    assert found["metadata"]["name"] == "discojobs.discoproject.org"
    assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_definition_can_be_left_to_others_or_to_die(helm: "Helm") -> None:
    assert not helm.render({"crd": {"install": False}}).all("CustomResourceDefinition")
    dying = helm.render({"crd": {"keep": False}}).one("CustomResourceDefinition")
    assert "helm.sh/resource-policy" not in dying["metadata"].get("annotations", {})


def test_no_release_holds_a_discojob(rendered: "Rendered") -> None:
    """Helm asks the API server for every kind before it has installed the definition."""
    assert not rendered.all("DiscoJob")


def test_notes_say_what_uninstall_leaves(helm: "Helm") -> None:
    notes = helm.notes()
    assert "helm test disco --namespace disco-system" in notes
    assert "kubectl delete crd discojobs.discoproject.org" in notes
    assert "disco-operator-key" in notes
    doomed = helm.notes({"crd": {"keep": False}})
    assert "crd.keep is false here: the DiscoJob definition is removed too" in doomed
    assert "kubectl delete crd" not in doomed


def test_notes_show_a_job_that_goes_where_jobs_may_go(helm: "Helm") -> None:
    notes = helm.notes({"watch": {"namespaces": ["team-a"]}})
    assert "kubectl apply --namespace team-a -f -" in notes
    manifest = notes.partition("<<'EOF'\n")[2].partition("EOF\n")[0]
    job = yaml.safe_load(manifest)
    assert (job["kind"], job["spec"]["job"]) == ("DiscoJob", "words:Words")
    compile(job["spec"]["code"]["inline"], "words.py", "exec")


def test_notes_warn_of_monitors_that_the_network_policy_keeps_out(helm: "Helm") -> None:
    monitored = {"serviceMonitor": {"enabled": True}}
    assert "WARNING" in helm.notes({"monitoring": monitored})
    open_to_some: Mapping[str, Any] = {"metricsFrom": [{"namespaceSelector": {}}]}
    assert "WARNING" not in helm.notes({"monitoring": monitored, "networkPolicy": open_to_some})


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    package = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == package

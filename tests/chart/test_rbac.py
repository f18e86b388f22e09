"""What the operator may do: as little as its work needs, and what docs/operating.md says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.chart.conftest import Helm, Object, Rendered

OPERATING = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
HOME = "disco-operator"
WATCH = "disco-system:disco-operator-watch"
ACT = "disco-system:disco-operator-act"
GATEWAY = "disco-gateway"
REVIEW, READ, CODE = (f"disco-system:disco-gateway-{name}" for name in ("review", "read", "code"))


class Right(NamedTuple):
    """One verb on one kind of object; `names`: on these alone."""

    group: str
    resource: str
    verb: str
    names: tuple[str, ...] = ()


def _rights(role: "Object") -> Iterator[Right]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Right(group, resource, verb, tuple(rule.get("resourceNames", ())))


def _all_rights(rendered: "Rendered") -> Iterator[Right]:
    for role in rendered.all("Role", "ClusterRole"):
        yield from _rights(role)


def _bound(rendered: "Rendered", role: str) -> set[str | None]:
    """Return the namespaces where the operator has a role; None: everywhere."""
    bindings = rendered.all("RoleBinding", "ClusterRoleBinding")
    return {b["metadata"].get("namespace") for b in bindings if b["roleRef"]["name"] == role}


def test_nothing_is_granted_by_wildcard(rendered: "Rendered") -> None:
    for role in rendered.all("Role", "ClusterRole"):
        for rule in role["rules"]:
            assert rule.keys() <= {"apiGroups", "resources", "verbs", "resourceNames"}
            granted = (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert not any("*" in word for word in granted), rule


def test_nobody_reads_secrets_but_the_operator_its_own_key(rendered: "Rendered") -> None:
    for role in rendered.all("Role", "ClusterRole"):
        for right in _rights(role):
            if right.resource == "secrets" and right.verb not in ("create", "delete"):
                assert (right.verb, right.names) == ("get", ("disco-operator-key",))
                assert role["metadata"]["namespace"] == "disco-system"


def test_there_is_no_way_to_more_rights(rendered: "Rendered") -> None:
    for right in _all_rights(rendered):
        assert right.verb not in ("escalate", "bind", "impersonate", "approve", "sign")
        assert right.group not in ("rbac.authorization.k8s.io", "admissionregistration.k8s.io")
        assert right.resource not in ("pods/exec", "pods/attach", "serviceaccounts/token")


def test_owner_references_need_no_right_to_finalizers(rendered: "Rendered") -> None:
    assert not any("finalizers" in right.resource for right in _all_rights(rendered))


def test_what_is_applied_may_be_created_and_deleted(defaults: "Rendered") -> None:
    """Server-side apply creates what is absent, and an admission plugin of the API server wants the
    right to delete from whoever changes an object's owners."""
    act = set(_rights(defaults.one("ClusterRole", ACT)))
    applied = {(right.group, right.resource) for right in act if right.verb == "patch"}
    assert applied == {("apps", "deployments"), ("apps", "statefulsets")}
    for group, resource in applied:
        assert {Right(group, resource, "create"), Right(group, resource, "delete")} <= act


def test_by_default_the_operator_works_in_the_whole_cluster(defaults: "Rendered") -> None:
    assert _bound(defaults, WATCH) == _bound(defaults, ACT) == {None}
    assert _bound(defaults, HOME) == {"disco-system"}


def test_in_namespaces_it_has_nothing_cluster_wide(helm: "Helm") -> None:
    rendered = helm.render({"watch": {"namespaces": ["a", "b"]}})
    assert _bound(rendered, WATCH) == {"a", "b", "disco-system"}  # there is its Lease
    assert _bound(rendered, ACT) == {"a", "b"}
    # But that the gateway may ask who somebody is: such questions have no namespace.
    bound = [binding["roleRef"]["name"] for binding in rendered.all("ClusterRoleBinding")]
    assert bound == [REVIEW]
    users = [role["metadata"]["name"] for role in rendered.all("ClusterRole")]
    assert sorted(users) == ["disco-edit", REVIEW, "disco-view"]
    assert not any(right.resource == "nodes" for right in _all_rights(rendered))


def test_jobs_outside_of_their_namespaces_are_seen_and_no_more(helm: "Helm") -> None:
    rendered = helm.render({"rbac": {"jobNamespaces": ["a"]}})
    assert _bound(rendered, WATCH) == {None}
    assert _bound(rendered, ACT) == {"a"}
    everywhere = set(_rights(rendered.one("ClusterRole", WATCH)))
    changing = {right for right in everywhere if right.verb not in ("get", "list", "watch")}
    assert changing == {
        Right("discoproject.org", "discojobs/status", "patch"),
        Right("events.k8s.io", "events", "create"),
    }


def test_job_namespaces_that_nobody_watches_are_refused(helm: "Helm") -> None:
    values = {"watch": {"namespaces": ["a"]}, "rbac": {"jobNamespaces": ["b"]}}
    assert 'rbac.jobNamespaces has "b"' in helm.refusal(values)


def test_a_role_of_one_s_own_needs_its_account_named(helm: "Helm") -> None:
    assert "serviceAccount.name" in helm.refusal({"serviceAccount": {"create": False}})
    rendered = helm.render({"rbac": {"create": False}})
    assert [role["metadata"]["name"] for role in rendered.all("Role")] == ["disco-test"]
    account = {"serviceAccount": {"create": False, "name": "ours"}}
    assert "gateway.serviceAccountName" in helm.refusal(account)


def test_the_gateway_changes_nothing_of_jobs_in_its_own_name(rendered: "Rendered") -> None:
    """It has its callers' tokens for that."""
    for role in rendered.all("Role", "ClusterRole"):
        if GATEWAY not in role["metadata"]["name"]:
            continue
        for right in _rights(role):
            if right.group == "discoproject.org":
                assert right.verb in ("get", "list", "watch")
            if right.resource == "configmaps" and right.verb != "get":
                assert role["metadata"].get("namespace") == "disco-system"


def test_the_gateway_reads_where_the_operator_watches_and_brings_code_where_jobs_run(
    helm: "Helm",
) -> None:
    for values, read, code in (
        ({}, {None}, {None}),
        ({"watch": {"namespaces": ["a", "b"]}}, {"a", "b"}, {"a", "b"}),
        ({"rbac": {"jobNamespaces": ["a"]}}, {None}, {"a"}),
    ):
        rendered = helm.render(values)
        assert _bound(rendered, READ) == read
        assert _bound(rendered, CODE) == code
        assert _bound(rendered, REVIEW) == {None}
        assert _bound(rendered, GATEWAY) == {"disco-system"}


def test_people_get_discojobs_with_their_built_in_roles(defaults: "Rendered") -> None:
    prefix = "rbac.authorization.k8s.io/aggregate-to"
    view, edit = (defaults.one("ClusterRole", f"disco-{kind}") for kind in ("view", "edit"))
    assert view["metadata"]["labels"][f"{prefix}-view"] == "true"
    assert edit["metadata"]["labels"][f"{prefix}-edit"] == "true"
    assert {right.verb for right in _rights(view)} == {"get", "list", "watch"}
    assert not any(right.resource.endswith("/status") for right in _rights(edit))


def test_the_test_pod_may_touch_its_own_job_only(helm: "Helm") -> None:
    for values, namespace in (
        ({}, "disco-system"),
        ({"watch": {"namespaces": ["a"]}}, "a"),
        ({"rbac": {"jobNamespaces": ["b"]}}, "b"),
        ({"test": {"namespace": "c"}}, "c"),
    ):
        rendered = helm.render(values)
        role = rendered.one("Role", "disco-test")
        assert role["metadata"]["namespace"] == namespace
        assert f"--namespace={namespace}" in rendered.one("Pod")["spec"]["containers"][0]["args"]
        named = {right for right in _rights(role) if right.names == ("disco-test",)}
        assert {right.verb for right in named} == {"get", "delete"}
        assert set(_rights(role)) - named == {Right("discoproject.org", "discojobs", "create")}


def test_the_documented_table_is_what_is_granted(defaults: "Rendered") -> None:
    roles = {
        "home": defaults.one("Role", HOME),
        "watch": defaults.one("ClusterRole", WATCH),
        "act": defaults.one("ClusterRole", ACT),
        "review": defaults.one("ClusterRole", REVIEW),
        "read": defaults.one("ClusterRole", READ),
        "code": defaults.one("ClusterRole", CODE),
        "door": defaults.one("Role", GATEWAY),
    }
    granted = {
        (where, right.resource, right.verb, ",".join(right.names))
        for where, role in roles.items()
        for right in _rights(role)
    }
    sets = "|".join(roles)
    row = re.compile(rf"^\| ({sets}) \| `([^`]+)`(?: named `([^`]+)`)? \| ([^|]+) \|", re.M)
    documented = {
        (where, resource, verb, names)
        for where, resource, names, verbs in row.findall(OPERATING.read_text())
        for verb in verbs.strip().split(", ")
    }
    assert documented == granted

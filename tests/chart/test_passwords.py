"""The policy by which an API server refuses passwords before it stores them.

That an API server understands it is for the tests on a cluster. Here its condition is translated to
Python, to be compared with what the operator refuses.
"""

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.inputs.test_passwords import FINE, REFUSED

from disco_engine.passwords import password_problem

if TYPE_CHECKING:
    from tests.chart.conftest import Helm, Rendered

POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
DENY = {"validationActions": ["Deny"]}

Condition: TypeAlias = Callable[[str], bool]

# What decides whether a URL has a password in it, and what Python alone takes for white space.
PARTS = (
    *("http://", "tag://", "zip://", "raw://", "RAW://", "://", "/", ":", "@", "?", "#", "[", "]"),
    *("u", "p", "12", "***", "*", "'", '"', "\\", "é", "-", " ", "\n", "\v", "\x1f", "\u00a0"),
)


@dataclass(frozen=True, slots=True)
class Text:
    """What a text can do in CEL."""

    text: str

    def contains(self, part: str) -> bool:
        return part in self.text

    def startsWith(self, prefix: str) -> bool:
        return self.text.startswith(prefix)

    def lowerAscii(self) -> "Text":
        return Text(re.sub("[A-Z]", lambda found: found[0].lower(), self.text))

    def matches(self, pattern: str) -> bool:
        return re.search(pattern, self.text, re.ASCII) is not None


def _conditions(expression: str) -> Iterator[str]:
    """Yield each condition in an expression, about a text that is called "u"."""
    for found in re.finditer(r"([\w.]+)\.contains\(.*?\n\)", expression, re.DOTALL):
        yield found[0].replace(f"{found[1]}.", "u.")


def _translated(cel: str) -> Condition:
    python = cel.replace("&&", "and").replace("||", "or").replace("!u.", "not u.")
    code = compile(f"({python})", "policy", "eval")

    def condition(text: str) -> bool:
        met: bool = eval(code, {"u": Text(text)})
        return met

    return condition


@pytest.fixture(scope="module")
def refuses(defaults: "Rendered") -> Condition:
    """Whether the policy refuses a URL, wherever it stands."""
    validations = defaults.one(POLICY)["spec"]["validations"]
    found = [list(_conditions(validation["expression"])) for validation in validations]
    assert [len(conditions) for conditions in found] == [2, 0, 1, 1, 1]  # 2: in lists, too
    (written,) = set(itertools.chain(*found))
    return _translated(written)


@pytest.fixture(scope="module")
def refuses_many(defaults: "Rendered") -> Condition:
    """Whether the policy refuses more inputs than it looks at one by one, joined by newlines."""
    expression = defaults.one(POLICY)["spec"]["validations"][1]["expression"]
    written = re.fullmatch(r"variables\.inputs\.size\(\) <= \d+ \|\| !\((.*)\)", expression)
    assert written is not None
    return _translated(written[1].replace("variables.head.", "u."))


@pytest.mark.parametrize("url", [url for url, _ in REFUSED])
def test_a_password_is_refused(refuses: Condition, url: str) -> None:
    assert refuses(url)


def test_a_password_among_many_inputs_is_refused(refuses_many: Condition) -> None:
    for url, _ in REFUSED:
        assert refuses_many(f"s3://bucket/a\n{url}\n/b") != url.startswith("tag://")


@pytest.mark.parametrize("url", FINE)
def test_what_looks_like_a_password_but_is_none_is_stored(refuses: Condition, url: str) -> None:
    assert not refuses(url)


def test_many_that_look_like_it_are_stored(refuses_many: Condition) -> None:
    texts = [url for url in FINE if url.lower().startswith("raw://")]
    assert not refuses_many("\n".join(url for url in FINE if url not in texts))
    assert not refuses_many("\n".join(FINE))


URLS = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


@given(URLS)
def test_nothing_is_refused_but_what_the_operator_refuses(refuses: Condition, url: str) -> None:
    assert password_problem(url) or not refuses(url)


@given(st.lists(URLS, max_size=3))
def test_nothing_is_refused_among_many_but_what_the_operator_refuses(
    refuses_many: Condition, urls: list[str]
) -> None:
    assert any(map(password_problem, urls)) or not refuses_many("\n".join(urls))


@pytest.mark.parametrize(
    "url",
    [
        "http://u:pâss@host",
        "http://u:*pass@host",
        "http://u:12:pass@host",
        "zip://a::tag://token@host/name",
        "flag://u:pass@host",
        f"http://u:{'a' * 401}@host",
    ],
)
def test_some_are_left_to_the_operator(refuses: Condition, url: str) -> None:
    assert password_problem(url)
    assert not refuses(url)


def test_the_field_is_named(defaults: "Rendered") -> None:
    policy = defaults.one(POLICY)["spec"]
    fields = {validation["message"].partition(": ")[0] for validation in policy["validations"]}
    assert fields == {
        "spec.inputs",
        "spec.output.url",
        "spec.code.archive.url",
        "spec.requirements",
    }


def test_no_job_is_refused_for_its_size(defaults: "Rendered") -> None:
    """Expressions have a budget; a job that takes more is the operator's to look at."""
    assert defaults.one(POLICY)["spec"]["failurePolicy"] == "Ignore"


def test_the_policy_is_in_force_where_the_operator_watches(
    helm: "Helm", defaults: "Rendered"
) -> None:
    everywhere = defaults.one(BINDING)["spec"]
    assert everywhere == {"policyName": defaults.one(POLICY)["metadata"]["name"]} | DENY
    some = helm.render({"watch": {"namespaces": ["a", "b", "a"]}}).one(BINDING)["spec"]
    named = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}
    assert some["matchResources"] == {"namespaceSelector": {"matchExpressions": [named]}}


def test_each_release_has_a_policy_of_its_own(helm: "Helm") -> None:
    names = {helm.render({}, release).one(POLICY)["metadata"]["name"] for release in ("a", "b")}
    assert names == {"a-disco-passwords.disco-system", "b-disco-passwords.disco-system"}


def test_there_need_not_be_a_policy(helm: "Helm") -> None:
    assert not helm.render({"admissionPolicy": {"enabled": False}}).all(POLICY, BINDING)


def test_an_api_server_that_knows_no_policies_gets_none(helm: "Helm") -> None:
    assert not helm.render({}, kubernetes="1.29.9").all(POLICY, BINDING)
    assert helm.render({}, kubernetes="1.30.0-gke.100").all(POLICY, BINDING)

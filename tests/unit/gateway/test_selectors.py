"""Label selectors: what kubectl takes."""

import pytest

from disco_gateway.selectors import SelectorError, label_problem, parse_selector

LABELS = {"team": "a", "stage": "x", "example.org/part": "", "version": "v1.2_3"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True),
        (" ", True),
        ("team=a", True),
        ("team==a", True),
        ("team = b", False),
        ("team!=b", True),
        ("team!=a", False),
        ("other!=a", True),
        ("other=a", False),
        ("team in (a,b)", True),
        ("team in (b, a )", True),
        ("team notin (a,b)", False),
        ("other notin (a,b)", True),
        ("team", True),
        ("!team", False),
        ("!other", True),
        ("example.org/part=", True),
        ("example.org/part", True),
        ("team=a,stage in (x,y),!old", True),
        ("team=a,stage in (z,y),!old", False),
        ("version=v1.2_3", True),
        ("in=a", False),
        ("team=", False),
        ("in in (a)", False),
    ],
)
def test_a_selector_matches_what_kubernetes_says(selector: str, matches: bool) -> None:
    assert parse_selector(selector).matches(LABELS) is matches


@pytest.mark.parametrize(
    "selector",
    [
        ",",
        "team=a,",
        "=a",
        "team=a=b",
        "team in a",
        "team in (a",
        "team in (a))",
        "team IN (a)",
        "a b",
        "!",
        "!!a",
        "team=ä",
        "team=-a",
        "-team=a",
        "Example.org/team=a",
        "/team=a",
        "a/b/c=a",
        "x" * 64,
        "team=" + "x" * 64,
        "a." * 200 + "a/team",
        ",".join(["a"] * 51),
    ],
)
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(SelectorError):
        parse_selector(selector)


def test_hopeless_selectors_are_refused_quickly() -> None:
    """No selector makes the parser try one way after the other."""
    for text in ("a" * 100_000 + "!", "a" + " " * 100_000 + "in", "(" * 100_000, "!a" * 50_000):
        with pytest.raises(SelectorError):
            parse_selector(text)


@pytest.mark.parametrize(("key", "value"), [("a", ""), ("a.b/c_d", "1"), ("A", "x" * 63)])
def test_labels_that_kubernetes_takes(key: str, value: str) -> None:
    assert label_problem(key, value) == ""


@pytest.mark.parametrize(("key", "value"), [("", ""), ("a/", ""), ("a b", ""), ("a", "b c")])
def test_labels_that_kubernetes_refuses(key: str, value: str) -> None:
    assert label_problem(key, value)

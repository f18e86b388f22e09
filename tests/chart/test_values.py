"""Every value has a default, a schema and a sentence in the documentation."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from tests.chart.conftest import Helm

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "disco"
SCHEMA: Mapping[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: Mapping[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

# Which keys these have is up to Kubernetes or to the user.
OPEN = ("global", "affinity", "resources", "gateway.resources")


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        here = f"{path}{name}"
        if isinstance(value, dict) and value and here not in OPEN:
            yield from _leaves(value, f"{here}.")
        else:
            yield here, value


def _known(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, found in schema["properties"].items():
        here = f"{path}{name}"
        part = found
        if "$ref" in part:
            part = SCHEMA["definitions"][part["$ref"].rpartition("/")[2]]
        if "properties" in part and here not in OPEN:
            yield from _known(part, f"{here}.")
        else:
            yield here


def test_the_schema_knows_the_values_and_no_others() -> None:
    assert set(_known(SCHEMA)) - {"global"} == {path for path, _ in _leaves(VALUES)}


def test_the_documented_table_has_every_value_and_its_default() -> None:
    text = (REPOSITORY / "docs" / "operating.md").read_text()
    documented = dict(re.findall(r"^\| `([A-Za-z.]+)` \| `([^`]*)` \|", text, re.M))
    assert {path: yaml.safe_load(default) for path, default in documented.items()} == dict(
        _leaves(VALUES)
    )


def test_every_block_of_values_is_explained_where_it_is_set() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z]", line):
            near = "\n".join(lines[max(0, number - 5) : number + 2])
            assert "#" in near, f"values.yaml, line {number + 1}: {line} has no comment"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"replica": 3}, "replica"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": "2"}, "replicas"),
        ({"logLevel": "chatty"}, "logLevel"),
        ({"image": {"digest": "1234"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"watch": {"namespaces": "team-a"}}, "namespaces"),
        ({"watch": {"namespaces": ["Team_A"]}}, "namespaces"),
        ({"rbac": {"jobNamespace": ["a"]}}, "jobNamespace"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
        ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
        ({"monitoring": {"serviceMonitor": {"interval": "often"}}}, "interval"),
        ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"),
        ({"extraLabels": {"cost-center": 7}}, "extraLabels"),
        ({"test": {"timeoutSeconds": 1}}, "timeoutSeconds"),
        ({"gateway": {"service": {"type": "Ingress"}}}, "type"),
        ({"gateway": {"maxCodeBytes": "16Mi"}}, "maxCodeBytes"),
        ({"gateway": {"tls": {"extraNames": ["a b"]}}}, "extraNames"),
    ],
)
def test_a_mistaken_value_is_refused_by_its_name(
    helm: "Helm", values: Mapping[str, Any], named: str
) -> None:
    assert named in helm.refusal(values)

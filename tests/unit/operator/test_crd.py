import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

import pytest
import yaml

from disco.manifest import DiscoJob, Spec, read_manifest
from disco.manifest.fields import Model
from disco.manifest.parsing import parse_job
from disco_operator.crd.__main__ import generated
from disco_operator.crd.checking import mistakes
from disco_operator.crd.resource import definition, resource_schema
from disco_operator.crd.rules import CHANGEABLE, INVISIBLE
from disco_operator.crd.status import status_schema

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "tests/cluster/crd"
EXAMPLES = sorted((ROOT / "examples").glob("*/job.yaml"))
ACCEPTED = [*yaml.safe_load_all((MANIFESTS / "accepted.yaml").read_text())]
WRONG = [*yaml.safe_load_all((MANIFESTS / "mistakes.yaml").read_text())]
REFUSED = yaml.safe_load((MANIFESTS / "refused.yaml").read_text())


@pytest.mark.parametrize("name", generated())
def test_what_is_committed_is_what_make_crd_writes(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated()[name]


def test_the_definition_is_small_enough_for_the_api_server_and_for_annotations() -> None:
    assert (ROOT / "charts/disco/files/crd.yaml").stat().st_size < 200_000


def test_the_file_is_the_definition() -> None:
    text = (ROOT / "charts/disco/files/crd.yaml").read_text(encoding="utf-8")

    assert yaml.safe_load(text) == definition()
    assert definition()["metadata"]["name"] == "discojobs.discoproject.org"


def test_the_definition_has_every_field_of_the_model_and_no_other() -> None:
    schema = resource_schema()["properties"]["spec"]

    assert set(_schema_paths("spec", schema)) == set(_model_paths("spec", Spec)) | {
        "spec.partitionService.storage.volumeClaimTemplate.resources"
    }


def _model_paths(path: str, annotation: Any) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        for field in annotation.model_fields.values():
            yield f"{path}.{field.alias}"
            yield from _model_paths(f"{path}.{field.alias}", field.annotation)
        return
    inner = [item for item in get_args(annotation) if item is not NoneType]
    if get_origin(annotation) is dict:
        yield from _model_paths(f"{path}.*", inner[1])
    elif get_origin(annotation) is tuple:
        yield from _model_paths(f"{path}[]", inner[0])
    elif len(inner) == 1 or hasattr(annotation, "__metadata__"):
        yield from _model_paths(path, inner[0])


def _schema_paths(path: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from _schema_paths(f"{path}.{name}", field)
    if "items" in schema:
        yield from _schema_paths(f"{path}[]", schema["items"])
    if "additionalProperties" in schema:
        yield from _schema_paths(f"{path}.*", schema["additionalProperties"])


def test_every_field_is_described() -> None:
    silent = [*_silent("spec", resource_schema()["properties"]["spec"])]
    silent += _silent("status", status_schema())

    assert silent == []


def _silent(path: str, schema: dict[str, Any]) -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        if not field.get("description"):
            yield f"{path}.{name}"
        yield from _silent(f"{path}.{name}", field)
    for inner in (schema.get("items"), schema.get("additionalProperties")):
        if inner:
            yield from _silent(path, inner)


def test_whatever_may_not_change_after_the_start_has_a_rule_unless_rules_cannot_see_it() -> None:
    kept = set()
    for rule in resource_schema()["x-kubernetes-validations"]:
        if found := re.match(r"spec\.(\w+)\S* cannot change after", rule["message"]):
            kept.add(found[1])

    assert kept == {f.alias for f in Spec.model_fields.values()} - {*CHANGEABLE, *INVISIBLE}


def test_rules_cannot_see_just_the_fields_without_a_type() -> None:
    fields = resource_schema()["properties"]["spec"]["properties"]
    untyped = {
        name for name, field in fields.items() if "items" in field and "type" not in field["items"]
    }

    assert untyped == set(INVISIBLE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_examples_are_accepted_by_the_schema_as_by_disco_run(path: Path) -> None:
    read_manifest(path)

    assert [*mistakes(resource_schema(), _with_metadata(yaml.safe_load(path.read_text())))] == []


@pytest.mark.parametrize("manifest", ACCEPTED, ids=lambda manifest: manifest["metadata"]["name"])
def test_what_the_api_server_accepts_disco_run_accepts(manifest: dict[str, Any]) -> None:
    assert isinstance(parse_job(manifest), DiscoJob)
    assert [*mistakes(resource_schema(), _with_metadata(manifest))] == []


@pytest.mark.parametrize("manifest", WRONG, ids=lambda manifest: manifest["metadata"]["name"])
def test_what_the_api_server_refuses_disco_run_refuses(manifest: dict[str, Any]) -> None:
    assert isinstance(parse_job(manifest), list)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: str(case["spec"]))
def test_each_mistake_that_the_api_server_refuses_disco_run_refuses(case: dict[str, Any]) -> None:
    manifest = {
        "apiVersion": "discoproject.org/v1alpha1",
        "kind": "DiscoJob",
        "metadata": {"name": case.get("name", "refused")},
        "spec": {"job": "words:Count", **case["spec"]},
    }

    assert isinstance(parse_job(manifest), DiscoJob) is case.get("runs-locally", False)


def _with_metadata(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest whose metadata is no business of the schema's."""
    return manifest | {"metadata": {"name": manifest["metadata"]["name"]}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"phase": "Running", "stages": [{"name": "map", "tasks": {"total": 1}}]}, []),
        ({"fase": "Running"}, [".fase: unknown"]),
        ({"retries": "1"}, [".retries: '1' has the wrong type"]),
        ({"retries": True}, [".retries: True has the wrong type"]),
        ({"retries": -1}, [".retries: -1 is out of bounds"]),
        ({"phase": "x" * 64}, [".phase: has 64 characters or items, which is out of bounds"]),
        ({"stages": [{}]}, [".stages[0].name: is required"]),
        ({"memoryFactor": {"shared": 1.5}}, []),
    ],
)
def test_checking_says_what_would_be_refused_or_dropped(value: Any, expected: list[str]) -> None:
    assert [*mistakes(status_schema(), value)] == expected

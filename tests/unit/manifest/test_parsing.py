import subprocess
import sys

import pytest

from disco.manifest import ManifestError, Workers, parse_spec


def test_a_spec_that_the_api_server_filled_in_becomes_a_value() -> None:
    spec = parse_spec(
        {
            "job": "words:Count",
            "workers": {"oomRetryFactor": 2},
            "stages": {"map": {"workers": {"max": 3}}},
            "coordinator": {},
            "partitionService": {"replicas": 1, "copies": 1, "keepAfterFailure": "10m"},
            "retries": {},
            "suspend": False,
            "cancel": False,
            "retry": 0,
        }
    )

    assert spec.workers == Workers.model_validate({"oomRetryFactor": 2})
    assert spec.stages["map"].workers.model_fields_set == {"max"}
    assert spec.partition_service.keep_after_failure == 600.0


def test_what_is_not_said_has_defaults() -> None:
    spec = parse_spec({"job": "words:Count"})

    assert spec.workers.oom_retry_factor == 1.5
    assert (spec.partition_service.replicas, spec.partition_service.copies) == (1, 1)
    assert spec.partition_service.keep_after_failure == 3600.0


def test_more_than_two_copies_are_refused() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_spec({"job": "words:Count", "partitionService": {"replicas": 3, "copies": 3}})

    assert str(caught.value) == "spec.partitionService.copies: expected 1 or 2, found 3"


def test_each_mistake_of_a_spec_is_a_line_with_its_path() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_spec({"inputs": [{"url": "a"}], "worker": {}, "partitionService": {"copies": 2}})

    assert str(caught.value).splitlines() == [
        "spec.job: is required and missing",
        "spec.inputs[0]: expected a URL, or a list of URLs of the same content, found a mapping"
        " (url)",
        "spec.partitionService: expected copies to be at most replicas, found copies 2 and"
        " replicas 1",
        "spec.worker: unknown field; did you mean workers?",
    ]


def test_passwords_are_refused_without_being_shown() -> None:
    archive = {"url": "https://me:secret@host/a.zip", "sha256": "0" * 64}
    with pytest.raises(ManifestError) as caught:
        parse_spec(
            {
                "job": "ftp://me:secret@host",
                "code": {"archive": archive},
                "requirements": ["thing @ https://me:secret@host/thing.whl"],
                "inputs": ["raw://me:fine@host", ["a", "ftp://me:secret@host/a"]],
                "output": {"url": "s3://me:secret@bucket/out"},
            }
        )

    lines = str(caught.value).splitlines()
    assert [line.partition(" ")[0] for line in lines] == [
        "spec.job:",
        "spec.code.archive.url:",
        "spec.requirements[0]:",
        "spec.inputs[1]:",
        "spec.output.url:",
    ]
    assert "secret" not in str(caught.value)
    assert "ftp://me:***@host/a has a password in it" in lines[3]
    assert "spec.workers.env, from a Secret" in lines[3]


def test_a_list_that_is_too_long_is_told_by_its_length() -> None:
    with pytest.raises(ManifestError, match=r"tolerations: expected at most 250 items, found a"):
        parse_spec({"job": "words:Count", "workers": {"tolerations": [{}] * 251}})


def test_quantities_are_there_without_pydantic_and_values_without_the_command_line() -> None:
    code = """
import sys
import disco.manifest.quantities
assert "pydantic" not in sys.modules
import disco.manifest.parsing
assert not any(name.startswith(("disco.cli", "click", "rich")) for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)

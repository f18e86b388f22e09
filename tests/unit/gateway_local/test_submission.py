from typing import Any

import pytest

from disco.manifest import parse_spec
from disco.payload import split_payload
from disco.v1 import job_pb2
from disco_engine.local.machine import MOST_SLOTS
from disco_gateway.backend import NewJob
from disco_gateway.errors import InvalidRequestError
from disco_gateway.local.submission import Capacity, Order, order_of

FOUR = Capacity(workers=4, workers_per_job=3, slots=2)


def new(uploaded: bytes | None = None, **spec: Any) -> NewJob:
    manifest = {"job": "wc:WordCount", **spec}
    return NewJob(
        namespace="lab",
        name="count",
        request_id="r",
        labels={},
        manifest_spec=manifest,
        spec=parse_spec(manifest),
        code=uploaded,
    )


def order(**spec: Any) -> Order:
    return order_of(new(**spec), "u", FOUR)[0]


def message(uploaded: bytes | None = None, **spec: Any) -> job_pb2.JobSpec:
    return order_of(new(uploaded, **spec), "u", FOUR)[1]


def violations(uploaded: bytes | None = None, **spec: Any) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as told:
        order_of(new(uploaded, **spec), "u", FOUR)
    return dict(told.value.violations)


def test_a_job_asks_for_all_workers_unless_it_says_how_many() -> None:
    assert order().workers == 3  # the most that a job may have
    assert order().warnings == ()
    assert order(workers={"replicas": 2}).workers == 2
    assert order(workers={"min": 0, "max": 1}).workers == 1
    assert order(workers={"replicas": 9}).warnings == (
        "spec.workers asks for 9, and a job gets at most 3 here",
    )


def test_slots_and_services_are_those_of_the_spec() -> None:
    assert (order().slots, order().services) == (2, 1)
    asked = order(workers={"slots": 5}, partitionService={"replicas": 2})
    assert (asked.slots, asked.services) == (5, 2)


def test_more_processes_than_the_machine_can_bear_are_refused() -> None:
    found = violations(workers={"slots": MOST_SLOTS}, partitionService={"replicas": MOST_SLOTS + 1})

    assert list(found) == ["spec.workers.slots", "spec.partitionService.replicas"]
    assert found["spec.workers.slots"] == f"expected at most {MOST_SLOTS // 3} on this machine"


def test_what_only_clusters_heed_is_said() -> None:
    warnings = order(
        image="x", requirements=["numpy"], workers={"nodeSelector": {"a": "b"}}, retry=1
    ).warnings

    assert warnings == (
        "spec.image has no effect here: only a cluster heeds it",
        "spec.requirements has no effect here: the packages must be installed where the server"
        " runs",
        "spec.workers.nodeSelector has no effect here: only a cluster heeds it",
    )


@pytest.mark.parametrize(
    ("code", "field", "remedy"),
    [
        ({"configMap": {"name": "x"}}, "spec.code.configMap", "upload the code"),
        (
            {"secret": {"name": "x", "sha256": "0" * 64}},
            "spec.code.secret",
            "upload the code",
        ),
        (
            {"archive": {"url": "http://x/y.zip", "sha256": "0" * 64}},
            "spec.code.archive",
            "install it where this server runs",
        ),
    ],
)
def test_code_that_only_a_cluster_has_is_refused(
    code: dict[str, Any], field: str, remedy: str
) -> None:
    found = violations(code=code)

    assert list(found) == [field]
    assert remedy in found[field]


def test_paths_must_say_where_they_are_without_a_working_directory() -> None:
    found = violations(
        inputs=["/data/x", "a.txt", ["s3://b/x", "file://b.txt"], "~/c", "raw://d", "zip::e"],
        output={"url": "out"},
    )

    assert list(found) == [
        "spec.inputs[1]",
        "spec.inputs[2][1]",
        "spec.inputs[3]",
        "spec.inputs[5]",
        "spec.output.url",
    ]
    assert found["spec.output.url"].startswith("expected an absolute path on the server's machine")


def test_a_job_that_could_never_run_is_refused() -> None:
    assert list(violations(suspend=True)) == ["spec.suspend"]
    assert list(violations(cancel=True)) == ["spec.cancel"]


def test_inline_code_travels_and_tracebacks_name_the_job() -> None:
    made = message(inputs=["raw://x"], params={"a": 1})
    inline = message(code={"inline": "x = 1\n"})

    header, body = split_payload(inline.code.payload)
    assert (header.reference, body) == ("wc:WordCount", b"")
    assert header.files == {"wc.py": "lab/count/wc.py"}
    assert inline.code.modules_zip
    assert not made.code.modules_zip
    assert (made.uid, made.name) == ("u", "lab/count")
    assert split_payload(made.code.payload)[0].jobargs == {"params": {"a": 1}}


def test_uploaded_code_is_taken_as_it_is() -> None:
    code = job_pb2.JobCode(loader="a:b", payload=b"p", modules_zip=b"z")

    made = message(code.SerializeToString(), inputs=["raw://x"], activeDeadlineSeconds=7)

    assert made.code == code
    assert made.settings.deadline_s == 7
    assert list(violations(b"\xff\xff")) == ["code_sha256"]

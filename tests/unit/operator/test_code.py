"""The code that travels with a job, from wherever its manifest says."""

import base64
from typing import Any

from disco_operator.code import code_of
from disco_operator.fake_cluster import FakeCluster

PROGRAM = b"\x7fELF\x02\xff"
MODULE = "# -*- coding: latin-1 -*- ä".encode("latin-1")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def found(story: Any, **entries: Any) -> tuple[Any, str]:
    """Return what travels with a job whose ConfigMap has these entries."""
    cluster = FakeCluster()
    metadata = {"namespace": "ns", "name": "words"}
    cluster.add({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **entries})
    return await code_of(story.set(code={"configMap": {"name": "words"}}).job, cluster)


async def test_modules_programs_and_files_of_a_config_map_travel_as_they_are(story: Any) -> None:
    """What is no text in UTF-8, kubectl puts into binaryData: also a module in another encoding."""
    entries = {"wc.py": encoded(MODULE), "program": encoded(PROGRAM)}

    files, problem = await found(story, data={"stopwords": "ä"}, binaryData=entries)

    assert files == {"wc.py": MODULE, "program": PROGRAM, "stopwords": "ä".encode()}
    assert problem == ""


async def test_a_config_map_without_the_jobs_module_is_told_with_what_it_has(story: Any) -> None:
    files, problem = await found(story, data={"a.py": ""}, binaryData={"wc": encoded(PROGRAM)})

    assert files is None
    assert problem == (
        "ConfigMap words in namespace ns has no wc.py, which spec.job names; it has a.py, wc:"
        " create it anew with --from-file wc.py, or correct spec.job"
    )


async def test_a_config_map_without_anything_is_told_so(story: Any) -> None:
    for entries in ({}, {"data": None, "binaryData": None}):
        _, problem = await found(story, **entries)
        assert "has no wc.py, which spec.job names; it has nothing: " in problem

"""Results that are kept in DDFS, and outlive the engine that made them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from disco import Job, result_iterator
from disco.ddfs import DDFS
from disco.error import DiscoError
from disco.worker.classic.func import chain_reader


class Words(Job):
    workers = 1
    partitions = 2
    save_results = True

    @staticmethod
    def map(line: str, params: Any) -> Iterator[tuple[Any, int]]:
        for word in line.split():
            yield word, 1

    @staticmethod
    def partition(key: str, partitions: int, params: Any) -> int:
        return len(key) % partitions

    @staticmethod
    def reduce(pairs: Any, params: Any) -> Iterator[tuple[Any, Any]]:
        for key, value in sorted(pairs):
            yield (key, len(key)), {key: value}


@pytest.fixture
def ddfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DDFS:
    monkeypatch.setenv("DISCO_DDFS", str(tmp_path / "ddfs"))
    return DDFS()


def test_results_become_a_tag_that_outlives_the_job(ddfs: DDFS) -> None:
    job = Words().run(input=["raw://aa b", "raw://c dd"])
    assert job.wait() == [f"tag://disco:results:{job.name}"]
    assert job.results() == ("ready", job.wait())
    assert [row[0] for row in job.jobinfo()["pipeline"]] == [
        "map",
        "reduce",
        "ddfs:save",
        "ddfs:tag",
    ]
    blobs = list(ddfs.blobs(ddfs.job_tag(job.name)))
    assert len(blobs) == 2  # one for each reduce, in the order of the labels
    expected = [((word, len(word)), {word: 1}) for word in ("aa", "dd", "b", "c")]
    urls = job.wait()
    job.purge()
    assert list(result_iterator(urls)) == expected
    assert list(job.disco.result_iterator(urls, reader=chain_reader)) == expected
    following = Words().run(
        input=urls,
        map_reader=chain_reader,
        map=lambda pair, params: [(pair[0][0], 1)],
        partitions=1,
        save=False,
        save_results=False,
    )
    assert [key for (key, _), _ in result_iterator(following.wait())] == ["aa", "b", "c", "dd"]
    following.purge()


@pytest.mark.parametrize("inputs", [[], ["raw://"]])
def test_a_job_without_records_saves_a_tag_of_nothing(inputs: list[str], ddfs: DDFS) -> None:
    job = Words().run(input=inputs)
    assert job.wait() == [f"tag://disco:results:{job.name}"]
    assert list(ddfs.blobs(ddfs.job_tag(job.name))) == []
    following = Words().run(input=job.wait(), map_reader=chain_reader, save_results=False)
    assert following.wait() == []
    following.purge()
    job.purge()


@pytest.mark.parametrize(
    ("jobargs", "message"),
    [
        ({"save_info": "hdfs,name:1,user,/dir"}, "give the job an output URL, such as"),
        ({"output": "out"}, "records go to DDFS or to the output, choose one"),
        ({"reduce": None}, "a map with partitions=2 and no reduce leaves records by label"),
    ],
)
def test_what_cannot_be_saved_is_refused(jobargs: dict[str, Any], message: str) -> None:
    with pytest.raises(DiscoError, match=message) as refused:
        Words().run(input=["raw://x"], **jobargs)
    assert isinstance(refused.value, NotImplementedError) == ("reduce" in jobargs)

"""Jobs on the local engine that read what is in DDFS."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from disco import Job, result_iterator, session
from disco.core import Disco
from disco.ddfs import DDFS
from disco.error import DataError, JobError
from disco.worker.classic.func import chain_reader

TEXT = b"one two\ntwo three three\nthree\n"
COUNTS = [("one", 1), ("three", 3), ("two", 2)]


class Words(Job):
    workers = 1

    @staticmethod
    def map(line, params):  # type: ignore[no-untyped-def]
        for word in line.split():
            yield word.decode() if isinstance(word, bytes) else word, 1

    @staticmethod
    def reduce(pairs, params):  # type: ignore[no-untyped-def]
        totals: dict[str, int] = {}
        for word, count in pairs:
            totals[word] = totals.get(word, 0) + count
        return totals.items()


@pytest.fixture
def ddfs(root: str, monkeypatch: pytest.MonkeyPatch) -> DDFS:
    monkeypatch.setenv("DISCO_DDFS", root)
    ddfs = DDFS()
    ddfs.push("data:text", [(io.BytesIO(TEXT), "text")])
    return ddfs


@pytest.fixture(autouse=True)
def _purged() -> Iterator[None]:
    yield
    with suppress(Exception):
        for _start, _status, name in Disco().joblist():
            Disco().purge(name)


def counted(job: Job) -> list[tuple[str, int]]:
    return sorted(result_iterator(job.wait()))


def test_a_job_reads_the_blobs_of_a_tag_and_of_the_tags_below_it(ddfs: DDFS) -> None:
    ddfs.tag("all", ["tag://data:text"])

    assert counted(Words().run(input=["tag://all"])) == COUNTS


def test_a_job_reads_chunks_with_chain_reader(ddfs: DDFS) -> None:
    ddfs.chunk("chunks", ["tag://data:text"], chunk_size=1)

    job = Words().run(input=[["tag://chunks"]], map_reader=chain_reader)

    assert counted(job) == COUNTS


def test_a_job_reads_tags_and_files_side_by_side(ddfs: DDFS, tmp_path: Path) -> None:
    (tmp_path / "more").write_bytes(b"four\n")

    job = Words().run(input=["tag://data:text", str(tmp_path / "more"), "raw://five"])

    assert counted(job) == sorted([*COUNTS, ("five", 1), ("four", 1)])


def test_a_tag_without_links_makes_a_job_without_tasks(ddfs: DDFS) -> None:
    ddfs.touch("empty")

    assert counted(Words().run(input=["tag://empty"])) == []


def test_a_tag_that_is_missing_or_leads_to_one_fails_the_job_and_is_named(ddfs: DDFS) -> None:
    ddfs.tag("half", ["tag://data:text", "tag://gone"])

    for tag, missing in (("none", "none"), ("half", "gone")):
        with pytest.raises(JobError, match=f"there is no tag '{missing}'"):
            Words().run(input=[f"tag://{tag}"]).wait()


def test_the_token_in_a_tags_url_opens_it_and_does_not_travel(ddfs: DDFS) -> None:
    ddfs.push("secret", [(io.BytesIO(TEXT), "text")], token="sesame")
    job = Words().run(input=["tag://sesame@host/secret"])

    assert counted(job) == COUNTS
    assert b"sesame" not in session.get(job.name).spec.SerializeToString()
    with pytest.raises(JobError, match="not allowed to read the tag 'secret'"):
        Words().run(input=["tag://secret"]).wait()


def test_a_result_that_a_tag_has_is_read_like_any_blob(ddfs: DDFS) -> None:
    first = Words().run(input=["tag://data:text"])
    ddfs.tag("counts", first.wait())

    assert counted_from(ddfs, "counts") == COUNTS


def counted_from(ddfs: DDFS, tag: str) -> list[tuple[str, int]]:
    return sorted(result_iterator([f"tag://{tag}"], ddfs=ddfs))


def test_result_iterator_reads_tags_and_blobs(ddfs: DDFS) -> None:
    lines = TEXT.splitlines(keepends=True)
    (link,) = next(ddfs.registry.all()).links

    assert list(result_iterator(["tag://data:text"], reader=None)) == lines
    assert link[0].startswith("ddfs://")
    assert list(result_iterator([link], reader=None)) == lines
    with pytest.raises(DataError, match="no tag 'none'"):
        list(result_iterator(["tag://none"]))


def test_schemes_open_a_blob_and_say_that_a_tag_is_many(ddfs: DDFS) -> None:
    from disco import schemes

    (link,) = next(ddfs.registry.all()).links

    with schemes.open(link[0]) as file:
        assert file.read() == TEXT
    with pytest.raises(DataError, match="a tag has many blobs"):
        schemes.open("tag://data:text")


def test_a_damaged_blob_is_read_from_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISCO_DDFS", f"{tmp_path / 'a'},{tmp_path / 'b'}")
    ddfs = DDFS()
    ddfs.push("raw", [(io.BytesIO(TEXT), "text")])
    _, links = ddfs.chunk("chunks", ["tag://raw"], replicas=2)
    damaged = Path(links[0][0])
    damaged.write_bytes(damaged.read_bytes()[:-30] + bytes(30))

    job = Words().run(input=["tag://chunks"], map_reader=chain_reader)

    assert counted(job) == COUNTS

"""Blobs: pushed, chunked, read and checked, in a directory and in S3."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from disco.core import result_iterator
from disco.ddfs import DDFS
from disco.ddfs.names import TagAddress
from disco.error import CommError, DataError, DiscoError

Disk = Callable[[str], Path]


@pytest.fixture
def ddfs(root: str) -> DDFS:
    return DDFS(root)


def contents(ddfs: DDFS, tag: str) -> dict[str, bytes]:
    """Return the blobs of a tag by their names; what was pushed is checked."""
    names = [ddfs.blob_name(urls[0]) for urls in ddfs.urls(tag)]
    return dict(zip(names, (file.read() for file in ddfs.pull(tag)), strict=True))


def stored(ddfs: DDFS) -> list[str]:
    """Return what the roots have: blobs, and files that are being written."""
    return [
        found.name
        for root in ddfs.roots.all()
        for prefix in ("blob/", "tmp/")
        for found in root.store.names(prefix)
    ]


def damage(ddfs: DDFS, url: str) -> None:
    """Change a byte of the blob with that URL."""
    store, path = ddfs.roots.place(ddfs.roots.relative(url))
    with store.open(path) as file:
        data = bytearray(file.read())
    data[len(data) // 2] ^= 1
    store.write(path, io.BytesIO(data))


# --- push and pull ----------------------------------------------------------------------------


def test_files_are_pushed_by_path_by_name_and_from_open_files(ddfs: DDFS, tmp_path: Path) -> None:
    path = tmp_path / "a file.txt"
    path.write_bytes(b"one")

    tag, links = ddfs.push("t", [path, (str(path), "named"), (io.BytesIO(b"three"), "open")])

    assert tag == "tag://t"
    assert ddfs.urls("t") == links
    assert contents(ddfs, "t") == {"a_file_txt": b"one", "named": b"one", "open": b"three"}


def test_a_stream_that_cannot_be_rewound_is_pushed(ddfs: DDFS) -> None:
    source, sink = os.pipe()
    with os.fdopen(source, "rb") as reader:
        with os.fdopen(sink, "wb") as writer:
            writer.write(b"from a pipe")
        ddfs.push("t", [(reader, "piped")])

    assert contents(ddfs, "t") == {"piped": b"from a pipe"}


def test_a_large_file_comes_back_as_it_was(ddfs: DDFS, tmp_path: Path) -> None:
    content = os.urandom(35 * 1024 * 1024)  # more than two parts of an upload
    (tmp_path / "large").write_bytes(content)

    ddfs.push("t", [str(tmp_path / "large")])

    assert contents(ddfs, "t") == {"large": content}


def test_an_update_pushes_only_what_has_a_new_name(ddfs: DDFS) -> None:
    ddfs.push("t", [(io.BytesIO(b"1"), "a")])

    _, links = ddfs.push("t", [(io.BytesIO(b"2"), "a"), (io.BytesIO(b"3"), "b")], update=True)

    assert len(links) == 1
    assert contents(ddfs, "t") == {"a": b"1", "b": b"3"}
    assert len(stored(ddfs)) == 2


def test_the_same_name_twice_is_two_blobs(ddfs: DDFS) -> None:
    ddfs.push("t", [(io.BytesIO(b"1"), "a")])
    ddfs.push("t", [(io.BytesIO(b"1"), "a")])

    assert len(ddfs.urls("t")) == len(stored(ddfs)) == 2


def test_only_blobs_whose_name_passes_the_filter_are_pulled(ddfs: DDFS) -> None:
    ddfs.push("t", [(io.BytesIO(b"1"), "a"), (io.BytesIO(b"2"), "b")])

    assert [file.read() for file in ddfs.pull("t", lambda name: name == "b")] == [b"2"]


def test_the_files_of_an_archive_are_blobs_each(ddfs: DDFS, tmp_path: Path) -> None:
    archive = tmp_path / "all.tar"
    for name in ("kept", "left-out", "other"):
        (tmp_path / name).write_text(name)
    with tarfile.open(archive, "w") as tar:
        for name in ("kept", "left-out", "other"):
            tar.add(tmp_path / name, f"dir/{name}")

    ddfs.push("t", ddfs.tarblobs(str(archive), include="t", exclude="left"))
    ddfs.push("u", ddfs.tarblobs(str(archive), compress=False, include="other"))

    assert {k: gzip.decompress(v) for k, v in contents(ddfs, "t").items()} == {
        "dir_kept_gz": b"kept",
        "dir_other_gz": b"other",
    }
    assert contents(ddfs, "u") == {"dir_other": b"other"}


def test_what_cannot_be_pushed_is_told_and_leaves_the_tag_as_it_was(
    ddfs: DDFS, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        ddfs.push("t", [(io.BytesIO(b"1"), "a"), str(tmp_path / "none")])
    with pytest.raises(DiscoError, match="cannot push 7"):
        ddfs.push("t", [7])

    assert not ddfs.exists("t")


def test_results_of_a_job_are_saved_under_its_own_tag(ddfs: DDFS, tmp_path: Path) -> None:
    (tmp_path / "reduce.0").write_bytes(b"records")

    tag = ddfs.save("Job@1:2:3", [str(tmp_path / "reduce.0")])

    assert tag == "tag://disco:results:Job@1:2:3"
    assert contents(ddfs, tag) == {"disco:blob:Job@1:2:3:reduce_0": b"records"}


def test_a_link_may_be_the_url_of_a_blob_and_stays_one_when_the_root_moves(
    tmp_path: Path,
) -> None:
    ddfs = DDFS(str(tmp_path / "root"))
    _, links = ddfs.push("t", [(io.BytesIO(b"1"), "a")])
    ddfs.tag("u", [f"file://{links[0][0]}"])
    (tmp_path / "root").rename(tmp_path / "moved")

    assert contents(DDFS(str(tmp_path / "moved")), "u") == {"a": b"1"}


def test_a_blob_of_a_root_that_is_not_known_here_is_told_with_its_root(tmp_path: Path) -> None:
    one, other = DDFS(str(tmp_path / "one")), DDFS(str(tmp_path / "other"))
    one.push("t", [(io.BytesIO(b"1"), "a")])
    other.touch("t")
    found = one.registry.get(TagAddress("t"))
    other.tag("t", found.links)

    with pytest.raises(DataError, match=r"not among .*other: add it to DISCO_DDFS"):
        other.urls("t")


# --- chunks -----------------------------------------------------------------------------------


def test_lines_become_chunks_that_chain_reader_reads(ddfs: DDFS, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("".join(f"line {number}\n" for number in range(1000)))

    _, links = ddfs.chunk("t", [str(tmp_path / "text")], chunk_size=1)

    assert [ddfs.blob_name(urls[0]) for urls in links] == ["text-0"]
    records = list(result_iterator(ddfs.urls("t")))
    assert records == [f"line {number}\n".encode() for number in range(1000)]


def test_chunks_follow_each_other_and_a_tag_can_be_chunked(ddfs: DDFS, tmp_path: Path) -> None:
    lines = [os.urandom(500).hex() for _ in range(5000)]
    ddfs.push("raw", [(io.BytesIO("".join(f"{line}\n" for line in lines).encode()), "text")])

    _, links = ddfs.chunk("t", ["tag://raw"], chunk_size=1_000_000)

    assert [ddfs.blob_name(urls[0]) for urls in links] == ["text-0", "text-1", "text-2"]
    assert [line.decode().rstrip() for line in result_iterator(links)] == lines


def test_a_reader_makes_the_records(ddfs: DDFS, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("b 1\na 2\n")

    def pairs(stream: io.BytesIO, size: int, url: str) -> list[tuple[str, int]]:
        return [(line.split()[0].decode(), int(line.split()[1])) for line in stream]

    ddfs.chunk("t", [str(tmp_path / "text")], reader=pairs)

    assert list(result_iterator(ddfs.urls("t"))) == [("b", 1), ("a", 2)]


def test_a_record_that_is_too_long_stops_the_chunking_and_the_tag_stays(
    ddfs: DDFS, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("short\n" + "long" * 1000)

    with pytest.raises(ValueError, match="max_record_size"):
        ddfs.chunk("t", [str(tmp_path / "text")], max_record_size=1000)

    assert not ddfs.exists("t")


def test_an_update_leaves_out_chunks_that_are_there(ddfs: DDFS, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("line\n")
    ddfs.chunk("t", [str(tmp_path / "text")])

    _, links = ddfs.chunk("t", [str(tmp_path / "text")], update=True)

    assert links == []
    assert len(ddfs.urls("t")) == 1


# --- damage and full disks --------------------------------------------------------------------


def test_a_blob_that_is_not_what_was_pushed_is_not_given_out(ddfs: DDFS) -> None:
    _, links = ddfs.push("t", [(io.BytesIO(b"precious"), "a")])
    damage(ddfs, links[0][0])

    with pytest.raises(DataError, match="corrupt data"):
        list(ddfs.pull("t"))


def test_a_damaged_chunk_is_found_by_who_reads_its_records(ddfs: DDFS, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("some line\n" * 100)
    _, links = ddfs.chunk("t", [str(tmp_path / "text")])
    damage(ddfs, links[0][0])

    with pytest.raises(DataError, match="corrupt data"):
        list(result_iterator(ddfs.urls("t")))


def test_a_full_disk_is_told_and_leaves_tags_and_blobs_as_they_were(disk: Disk) -> None:
    ddfs = DDFS(str(disk("1m")))
    ddfs.push("t", [(io.BytesIO(b"small"), "a")])
    before = ddfs.get("t"), stored(ddfs)

    with pytest.raises(CommError, match="No space left on device; free some space") as caught:
        ddfs.push("t", [(io.BytesIO(bytes(3_000_000)), "large")])

    assert caught.value.code == 507
    assert (ddfs.get("t"), stored(ddfs)) == before
    ddfs.push("t", [(io.BytesIO(b"also small"), "b")])
    assert contents(ddfs, "t") == {"b": b"also small", "a": b"small"}


def test_a_tag_on_a_full_disk_stays_as_it_was(disk: Disk) -> None:
    path = disk("1m")
    ddfs = DDFS(str(path))
    ddfs.tag("t", ["http://a/1"])
    before = ddfs.get("t")
    with suppress(OSError), open(path / "ballast", "wb", buffering=0) as ballast:
        while ballast.write(bytes(4096)):
            pass

    with pytest.raises(CommError, match="free some space"):
        ddfs.tag("t", [f"http://a/{number:0500}" for number in range(50)])

    assert ddfs.get("t") == before


# --- several roots ----------------------------------------------------------------------------


def test_as_many_roots_have_a_blob_as_were_asked_for(tmp_path: Path) -> None:
    ddfs = DDFS(",".join(str(tmp_path / name) for name in "abc"))

    _, links = ddfs.push("t", [(io.BytesIO(b"1"), "x")], replicas=2)

    assert len(links[0]) == len(stored(ddfs)) == 2
    with pytest.raises(CommError, match="4 replicas are wanted, but 3 of 3 roots"):
        ddfs.push("t", [(io.BytesIO(b"1"), "x")], replicas=4)


def test_a_blob_is_forced_on_a_root(tmp_path: Path) -> None:
    ddfs = DDFS(",".join(str(tmp_path / name) for name in "abc"))
    forced = str(tmp_path / "c")

    for _ in range(10):
        _, links = ddfs.push("t", [(io.BytesIO(b"1"), "x")], forceon=[forced])
        assert links[0][0].startswith(forced)
    with pytest.raises(DiscoError, match="no root 'elsewhere'"):
        ddfs.push("t", [(io.BytesIO(b"1"), "x")], forceon=["elsewhere"])


def test_a_damaged_or_missing_copy_is_replaced_by_another_when_it_is_read(tmp_path: Path) -> None:
    ddfs = DDFS(",".join(str(tmp_path / name) for name in "ab"))
    _, links = ddfs.push("t", [(io.BytesIO(b"11"), "x"), (io.BytesIO(b"22"), "y")], replicas=2)
    damage(ddfs, links[0][0])
    Path(links[1][1]).unlink()

    for _ in range(5):
        assert contents(ddfs, "t") == {"x": b"11", "y": b"22"}


def test_a_root_that_is_full_is_left_out(disk: Disk, tmp_path: Path) -> None:
    full = disk("64k")
    ddfs = DDFS(f"{tmp_path / 'a'},{full}")
    ddfs.roots.all(make=True)
    (full / "ballast").write_bytes(bytes(40_000))

    for _ in range(5):
        _, links = ddfs.push("t", [(io.BytesIO(bytes(100_000)), "x")])
        assert links[0][0].startswith(str(tmp_path / "a"))
    with pytest.raises(CommError, match=r"only 1 of 2 replicas .*No space left"):
        ddfs.push("t", [(io.BytesIO(bytes(100_000)), "x")], replicas=2)


def test_a_root_that_cannot_be_reached_is_left_out_for_reading_and_writing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ddfs = DDFS(",".join(str(tmp_path / name) for name in "ab"))
    ddfs.push("t", [(io.BytesIO(b"1"), "x")], replicas=2)
    (tmp_path / "b").rename(tmp_path / "unmounted")
    (tmp_path / "b").write_text("no directory any more")
    ddfs = DDFS(",".join(str(tmp_path / name) for name in "ab"))

    ddfs.push("t", [(io.BytesIO(b"2"), "y")])

    assert contents(ddfs, "t") == {"y": b"2", "x": b"1"}
    assert "root left out" in caplog.text
    with pytest.raises(CommError, match="1 of 2 roots can be used"):
        ddfs.push("t", [(io.BytesIO(b"3"), "z")], replicas=2)


def test_roots_in_another_order_or_of_another_ddfs_are_refused_before_their_blobs_are_garbage(
    tmp_path: Path,
) -> None:
    a, b, c = (str(tmp_path / name) for name in "abc")
    DDFS(f"{a},{b}").push("t", [(io.BytesIO(b"1"), "x")], replicas=2)
    DDFS(c).push("u", [(io.BytesIO(b"2"), "y")])

    for roots in (f"{b},{a}", b, f"{c},{b}", f"{a},{c}", f"{tmp_path / 'unmounted'},{b}"):
        ddfs = DDFS(roots)
        with pytest.raises(DiscoError, match="DISCO_DDFS names the roots in another order"):
            ddfs.collect(0)
        with pytest.raises(DiscoError, match="DISCO_DDFS names the roots in another order"):
            ddfs.push("t", [(io.BytesIO(b"3"), "z")])

    assert contents(DDFS(f"{a},{b}"), "t") == {"x": b"1"}
    assert contents(DDFS(c), "u") == {"y": b"2"}


def test_a_root_of_another_format_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text(json.dumps({"format": 2, "id": "x"}))

    with pytest.raises(DiscoError, match="format 2"):
        DDFS(str(tmp_path)).push("t", [(io.BytesIO(b"1"), "x")])

"""What each kind of storage can do, and what is said where it cannot compare and write at once."""

from __future__ import annotations

import io
import uuid

import pytest

from disco.ddfs import DDFS
from disco.ddfs.kinds import store_of
from disco.ddfs.stores import Store
from disco.error import CommError
from disco_engine.program import ProgramError

WARNING = "this storage cannot compare and write in one step"


@pytest.fixture
def memory() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture(params=["tmp_path", "s3", "memory"])
def store(request: pytest.FixtureRequest) -> Store:
    return store_of(str(request.getfixturevalue(request.param)))


def test_a_file_is_written_only_if_it_still_is_what_it_was(store: Store) -> None:
    assert store.read("tag/t") is None
    assert not store.swap("tag/t", b"0", '"never"')
    assert store.swap("tag/t", b"1", None)
    assert not store.swap("tag/t", b"2", None)
    first = store.read("tag/t")
    assert first is not None
    assert store.swap("tag/t", b"2", first.version)
    assert not store.swap("tag/t", b"3", first.version)

    found = store.read("tag/t")
    assert found is not None
    assert found.data == b"2"


def test_files_are_listed_by_prefix_opened_and_removed(store: Store) -> None:
    for name in ("blob/aa/x", "blob/ab/y", "tag/x", "tag/xy", "tag/z"):
        store.write(name, io.BytesIO(name.encode()))

    assert sorted(found.name for found in store.names("tag/x")) == ["tag/x", "tag/xy"]
    assert sorted(store.names("blob/")) == [("blob/aa/x", 9), ("blob/ab/y", 9)]
    assert list(store.names("none/")) == []
    with store.open("blob/aa/x") as file:
        assert file.read() == b"blob/aa/x"
    store.remove("blob/aa/x")
    store.remove("blob/aa/x")
    assert not store.exists("blob/aa/x")
    with pytest.raises(FileNotFoundError):
        store.open("blob/aa/x")


def test_a_write_that_fails_midway_leaves_nothing(store: Store) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError("the source broke")
            return super().read(20_000_000)

    with pytest.raises(OSError, match="the source broke"):
        store.write("blob/aa/x", Broken(bytes(60_000_000)))

    assert not store.exists("blob/aa/x")
    assert list(store.names("tmp/")) == []


def test_a_directory_and_an_s3_server_with_conditions_lose_no_update(
    root: str, caplog: pytest.LogCaptureFixture
) -> None:
    ddfs = DDFS(root)
    ddfs.touch("t")

    assert ddfs.roots.first.atomic
    assert WARNING not in caplog.text


def test_an_s3_server_that_ignores_conditions_is_found_out_and_told_of_once(
    s3_without_conditions: str, caplog: pytest.LogCaptureFixture
) -> None:
    ddfs = DDFS(s3_without_conditions)
    ddfs.tag("t", ["http://a/1"])
    ddfs.tag("t", ["http://a/2"])

    assert not ddfs.roots.first.atomic
    assert caplog.text.count(WARNING) == 1
    assert ddfs.urls("t") == [["http://a/2"], ["http://a/1"]]
    assert list(ddfs.roots.first.names("tmp/")) == []


def test_any_other_storage_works_and_the_same_is_told(
    memory: str, caplog: pytest.LogCaptureFixture
) -> None:
    ddfs = DDFS(memory)
    ddfs.push("t", [(io.BytesIO(b"1"), "a")])
    ddfs.push("t", [(io.BytesIO(b"2"), "b")])

    assert caplog.text.count(WARNING) == 1
    assert [file.read() for file in ddfs.pull("t")] == [b"2", b"1"]
    ddfs.delete("t")
    assert ddfs.collect(0).removed == 2


def test_a_bucket_that_does_not_exist_is_told_with_its_name(s3: str) -> None:
    with pytest.raises(CommError, match="no-such-bucket"):
        DDFS("s3://no-such-bucket/x").push("t", [(io.BytesIO(b"1"), "a")])


def test_storage_that_nobody_knows_is_told() -> None:
    with pytest.raises(ProgramError, match="nix:// is not known"):
        DDFS("nix://x/y")

"""Garbage collection and copies, in a directory and in S3, with a clock that the test sets."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from disco.ddfs import DDFS
from disco.ddfs.collecting import GRACE_S
from disco.ddfs.directory import DirectoryStore
from disco.ddfs.stores import Store
from disco.ddfs.tags import TagCorruptError
from disco.error import CommError
from disco.settings import DiscoSettings


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ddfs(root: str, clock: Clock) -> DDFS:
    return DDFS(root, clock=clock)


def push(ddfs: DDFS, tag: str, *contents: bytes, replicas: int | None = None) -> list[list[str]]:
    """Push blobs and return their links."""
    files = [(io.BytesIO(content), content.decode()) for content in contents]
    return ddfs.push(tag, files, replicas=replicas)[1]


def names(ddfs: DDFS) -> list[str]:
    """Return the names of all blobs there are, sorted."""
    return sorted(
        ddfs.blob_name(found.name)
        for root in ddfs.roots.all()
        for found in root.store.names("blob/")
    )


def test_a_blob_without_a_tag_goes_after_two_collections_that_are_the_grace_period_apart(
    ddfs: DDFS, clock: Clock
) -> None:
    push(ddfs, "kept", b"kept")
    push(ddfs, "t", b"gone")
    clock.now_s += 10 * GRACE_S  # it had a tag for long: that does not count
    ddfs.delete("t")

    first = ddfs.collect()
    clock.now_s += GRACE_S - 1
    second = ddfs.collect()
    clock.now_s += 1
    third = ddfs.collect()

    assert (first.removed, first.waiting) == (second.removed, second.waiting) == (0, 1)
    assert (third.removed, third.removed_bytes, third.waiting) == (1, 4, 0)
    assert (third.tags, third.kept, third.kept_bytes, third.lost) == (1, 1, 4, [])
    assert names(ddfs) == ["kept"]
    assert ddfs.collect().removed == 0


def test_a_blob_stays_while_any_tag_has_it(ddfs: DDFS) -> None:
    push(ddfs, "a", b"1")
    ddfs.clone("a", "b")
    ddfs.delete("a")

    ddfs.collect(0)
    assert names(ddfs) == ["1"]
    ddfs.delete("b")
    ddfs.collect(0)
    assert names(ddfs) == []


def test_a_push_that_takes_its_time_loses_nothing(ddfs: DDFS, clock: Clock) -> None:
    def slow() -> object:
        yield io.BytesIO(b"1"), "1"
        ddfs.collect()
        clock.now_s += GRACE_S - 1
        ddfs.collect()
        yield io.BytesIO(b"2"), "2"

    ddfs.push("t", slow())  # type: ignore[arg-type]
    clock.now_s += GRACE_S
    ddfs.collect()

    assert names(ddfs) == ["1", "2"]
    assert [file.read() for file in ddfs.pull("t")] == [b"1", b"2"]


def test_a_dry_run_counts_and_changes_nothing(ddfs: DDFS) -> None:
    push(ddfs, "t", b"1")
    ddfs.delete("t")

    assert ddfs.collect(0, dry=True).removed == 1
    assert names(ddfs) == ["1"]


def test_a_damaged_tag_stops_the_collection_before_anything_is_removed(ddfs: DDFS) -> None:
    push(ddfs, "t", b"1")
    ddfs.delete("t")
    ddfs.touch("u")
    found = ddfs.roots.first.read("tag/u")
    assert found is not None
    ddfs.roots.first.swap("tag/u", b"damaged", found.version)

    with pytest.raises(TagCorruptError, match="tag/u is damaged"):
        ddfs.collect(0)

    assert names(ddfs) == ["1"]


def test_a_damaged_list_of_orphans_only_costs_time(
    ddfs: DDFS, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    push(ddfs, "t", b"1")
    ddfs.delete("t")
    ddfs.collect()
    found = ddfs.roots.first.read("gc/state")
    assert found is not None
    ddfs.roots.first.swap("gc/state", b"damaged", found.version)
    clock.now_s += GRACE_S

    assert ddfs.collect().removed == 0
    clock.now_s += GRACE_S
    assert ddfs.collect().removed == 1
    assert "damaged list of orphans ignored" in caplog.text


# --- races ------------------------------------------------------------------------------------


class Interrupted(DirectoryStore):
    """A directory in which something happens just before a blob is removed."""

    def __init__(self, path: str, interruption: Callable[[], None]) -> None:
        super().__init__(path)
        self._interruption = interruption

    def remove(self, name: str) -> None:
        self._interruption()
        super().remove(name)


def with_first_store(ddfs: DDFS, store: Store) -> DDFS:
    """Make a DDFS use another store in place of its first."""
    ddfs.roots._stores[0] = store
    return ddfs


def test_a_tag_that_gets_a_blob_while_it_is_removed_is_told_and_has_no_dead_link(
    tmp_path: Path,
) -> None:
    """The collection had its last look at the tags, and removes the blob in the next moment."""
    root = str(tmp_path / "root")
    user = DDFS(root)
    links = push(user, "t", b"1")
    user.delete("t")
    user.touch("u")
    told: list[str] = []

    def tag() -> None:
        for attempt in (user.tag, user.put):
            with pytest.raises(CommError, match="push them again") as caught:
                attempt("u", links)
            told.append(str(caught.value.code))

    with_first_store(DDFS(root), Interrupted(root, tag)).collect(0)

    assert told == ["410", "410"]
    assert user.urls("u") == []
    assert names(user) == []
    push(user, "u", b"1")
    assert [file.read() for file in user.pull("u")] == [b"1"]


class Relinked(DirectoryStore):
    """A directory in which a tag gets a link just after the list of removals is written."""

    def __init__(self, path: str, interruption: Callable[[], None]) -> None:
        super().__init__(path)
        self._interruption = interruption

    def swap(self, name: str, data: bytes, expected: str | None) -> bool:
        swapped = super().swap(name, data, expected)
        if name == "gc/state" and b'"removing": ["' in data:
            self._interruption()
        return swapped


def test_a_tag_that_got_a_blob_before_the_last_look_keeps_it_alive(tmp_path: Path) -> None:
    """The writer died after its change, before it looked into the list."""
    root = str(tmp_path / "root")
    user = DDFS(root)
    links = push(user, "t", b"1")
    user.delete("t")

    def tag_and_die() -> None:
        address = user._address("u", None, write=True)
        relative = user._relative(links)
        user.registry.change(address, lambda old: type(old)(name="u", links=relative))

    with_first_store(DDFS(root), Relinked(root, tag_and_die)).collect(0)

    assert [file.read() for file in user.pull("u")] == [b"1"]
    user.tag("v", links)  # and it may be given to others again


def test_two_collections_at_once_are_one_too_many(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    user = DDFS(root)
    push(user, "t", b"1")
    user.delete("t")
    other = DDFS(root)

    def collect() -> None:
        other.collect(0)

    with pytest.raises(CommError, match="another collection runs"):
        with_first_store(DDFS(root), Interrupted(root, collect)).collect(0)

    assert names(user) == []


# --- copies -----------------------------------------------------------------------------------


def several(tmp_path: Path, *, replicas: int = 1) -> DDFS:
    """Return a DDFS with three roots."""
    settings = DiscoSettings(DDFS_BLOB_REPLICAS=str(replicas))
    return DDFS(",".join(str(tmp_path / name) for name in "abc"), settings=settings)


def test_missing_copies_are_made_again_and_the_tag_knows_them(tmp_path: Path) -> None:
    ddfs = several(tmp_path)
    links = push(ddfs, "t", b"1", b"2", replicas=2)
    Path(links[0][0]).unlink()

    assert ddfs.collect().copied == 1

    for link in ddfs.urls("t"):
        assert len(link) == 2
        assert all(Path(url).exists() for url in link)
    assert ddfs.collect().copied == 0


def test_more_copies_are_made_when_more_are_wanted(tmp_path: Path) -> None:
    push(several(tmp_path), "t", b"1")
    ddfs = several(tmp_path, replicas=3)

    assert ddfs.collect().copied == 2

    assert len(ddfs.urls("t")[0]) == 3
    assert ddfs.collect(0).removed == 0


def test_damaged_copies_are_replaced_if_they_are_looked_for(tmp_path: Path) -> None:
    ddfs = several(tmp_path)
    links = push(ddfs, "t", b"1", replicas=2)
    Path(links[0][1]).write_bytes(b"x")
    assert ddfs.collect().copied == 0

    assert ddfs.collect(verify=True).copied == 1

    assert {Path(url).read_bytes() for url in ddfs.urls("t")[0]} == {b"1"}


def test_a_blob_that_no_root_has_is_reported_and_a_damaged_one_is_not_copied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ddfs = several(tmp_path, replicas=2)
    links = push(ddfs, "t", b"1", b"2", replicas=1)
    Path(links[0][0]).unlink()
    Path(links[1][0]).write_bytes(b"x")

    with caplog.at_level(logging.WARNING):
        collected = ddfs.collect(verify=True)

    assert collected.copied == 0
    assert [tag for tag, _url in collected.lost] == ["t", "t"]
    assert "damaged copy" in caplog.text


def test_a_protected_tag_is_mended_without_its_token(tmp_path: Path) -> None:
    ddfs = several(tmp_path)
    ddfs.push("t", [(io.BytesIO(b"1"), "1")], replicas=2, token="secret")
    Path(ddfs.urls("t", token="secret")[0][1]).unlink()

    assert ddfs.collect().copied == 1

    assert len(ddfs.urls("t", token="secret")[0]) == 2

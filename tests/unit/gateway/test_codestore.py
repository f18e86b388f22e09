"""Uploaded code in a directory, and in what behaves as an object store."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from disco_gateway.codestore import FsspecCodeStore
from disco_gateway.errors import OverloadedError, UnavailableError

CODE = b"code" * 1000
SHA256 = hashlib.sha256(CODE).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["directory", "objects"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "directory":
        yield str(tmp_path / "code")
    else:
        yield "memory://code"
        fsspec.filesystem("memory").store.clear()


@pytest.fixture
def store(url: str, clock: Clock) -> FsspecCodeStore:
    return FsspecCodeStore(url, ttl_s=100, clock=clock)


async def test_what_is_put_is_there_for_every_replica(
    store: FsspecCodeStore, url: str, clock: Clock
) -> None:
    assert not await store.has("team", SHA256)
    assert await store.read("team", SHA256) is None
    await store.put("team", SHA256, CODE)
    other = FsspecCodeStore(url, clock=clock)
    assert await other.has("team", SHA256)
    assert await other.read("team", SHA256) == CODE


async def test_no_namespace_sees_what_another_has(store: FsspecCodeStore) -> None:
    await store.put("team", SHA256, CODE)
    assert not await store.has("other", SHA256)
    assert await store.read("other", SHA256) is None


async def test_what_nobody_asks_for_is_removed(store: FsspecCodeStore, clock: Clock) -> None:
    await store.put("team", SHA256, CODE)
    clock.now_s += 100
    assert await store.sweep() == 0
    clock.now_s += 1
    assert await store.sweep() == 2
    assert not await store.has("team", SHA256)


@pytest.mark.parametrize("asking", ["has", "read", "put"])
async def test_what_somebody_asks_for_stays(
    store: FsspecCodeStore, clock: Clock, asking: str
) -> None:
    await store.put("team", SHA256, CODE)
    clock.now_s += 90
    await getattr(store, asking)("team", SHA256, *([CODE] if asking == "put" else []))
    clock.now_s += 90
    assert await store.sweep() == 0
    assert await store.read("team", SHA256) == CODE


async def test_damaged_code_is_never_given_and_can_be_uploaded_again(
    store: FsspecCodeStore, url: str
) -> None:
    await store.put("team", SHA256, CODE)
    fs, root = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{root}/team/{SHA256}.code", b"other")
    assert await store.read("team", SHA256) is None
    assert not await store.has("team", SHA256)
    await store.put("team", SHA256, CODE)
    assert await store.read("team", SHA256) == CODE


async def test_nothing_half_written_is_left(tmp_path: Path, clock: Clock) -> None:
    """What a gateway left that was killed while it wrote is swept; what failed leaves nothing."""
    store = FsspecCodeStore(str(tmp_path), ttl_s=100, clock=clock)
    await store.put("team", SHA256, CODE)
    names = {path.name for path in (tmp_path / "team").iterdir()}
    assert names == {f"{SHA256}.code", f"{SHA256}.asked"}
    left = tmp_path / "team" / f"{SHA256}.code.0123456789abcdef.{clock.now_s:.0f}.part"
    left.write_bytes(b"half")
    assert await store.sweep() == 0
    clock.now_s += 60
    await store.has("team", SHA256)
    clock.now_s += 60
    assert await store.sweep() == 1
    assert not left.exists()


async def test_a_store_that_does_not_work_says_so_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(b"a file, and no directory")
    store = FsspecCodeStore(str(tmp_path / "code"))
    with pytest.raises(UnavailableError) as caught:
        await store.put("team", SHA256, CODE)
    assert str(tmp_path) not in str(caught.value)


async def test_a_full_disk_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    fs, _ = fsspec.core.url_to_fs("memory://")
    monkeypatch.setattr(type(fs), "pipe_file", full)
    store = FsspecCodeStore("memory://code")
    with pytest.raises(OverloadedError, match="full"):
        await store.put("team", SHA256, CODE)

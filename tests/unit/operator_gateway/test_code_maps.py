"""Uploads in ConfigMaps: shared by all replicas, seen by one namespace, gone after an hour."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from disco_gateway.errors import OverloadedError, UnavailableError
from disco_operator.gateway.code_maps import KEPT_FOR, MAX_WAITING, ConfigMapCodeStore

CODE = b"some code"
SHA256 = hashlib.sha256(CODE).hexdigest()
HOME = "disco-system"


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock that starts when the fake API server makes everything."""
    return Clock()


@pytest.fixture
def store(world: Any, clock: Clock) -> ConfigMapCodeStore:
    """Give a store."""
    return ConfigMapCodeStore(world.api, HOME, now=clock)


async def test_what_was_put_is_there_for_its_namespace_only(
    store: ConfigMapCodeStore, world: Any
) -> None:
    assert not await store.has("ns", SHA256)
    assert await store.read("ns", SHA256) is None
    await store.put("ns", SHA256, CODE)
    await store.put("ns", SHA256, CODE)
    assert await store.has("ns", SHA256)
    assert await store.read("ns", SHA256) == CODE
    assert not await store.has("other", SHA256)
    assert await store.read("other", SHA256) is None
    (found,) = world.api_server.of("configmaps", HOME)
    assert found["immutable"] is True


async def test_what_nobody_asks_for_goes_after_an_hour(
    store: ConfigMapCodeStore, clock: Clock
) -> None:
    await store.put("ns", SHA256, CODE)
    clock.now += KEPT_FOR - timedelta(seconds=1)
    await store.remove_old()
    assert await store.read("ns", SHA256) == CODE
    clock.now += timedelta(seconds=2)
    await store.remove_old()
    assert not await store.has("ns", SHA256)


async def test_what_is_asked_for_stays(store: ConfigMapCodeStore, clock: Clock) -> None:
    await store.put("ns", SHA256, CODE)
    for _ in range(5):
        clock.now += KEPT_FOR / 2
        assert await store.has("ns", SHA256)
        await store.remove_old()


async def test_what_somebody_asks_for_in_the_moment_it_is_swept_stays(
    store: ConfigMapCodeStore, clock: Clock, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.put("ns", SHA256, CODE)
    clock.now += KEPT_FOR + timedelta(seconds=1)
    listing = world.api_server._listing

    def asked_for_meanwhile(*arguments: Any) -> Any:
        answer = listing(*arguments)
        (found,) = world.api_server.of("configmaps", HOME)
        world.api_server.put("configmaps", found)  # a new version of it
        return answer

    monkeypatch.setattr(world.api_server, "_listing", asked_for_meanwhile)
    await store.remove_old()
    assert await store.read("ns", SHA256) == CODE


async def test_what_is_damaged_is_removed_so_that_it_can_be_uploaded_again(
    store: ConfigMapCodeStore, world: Any
) -> None:
    await store.put("ns", SHA256, b"other code")
    assert await store.read("ns", SHA256) is None
    assert not await store.has("ns", SHA256)
    await store.put("ns", SHA256, CODE)
    assert await store.read("ns", SHA256) == CODE


async def test_one_namespace_cannot_fill_the_cluster(store: ConfigMapCodeStore) -> None:
    for number in range(MAX_WAITING):
        await store.put("ns", hashlib.sha256(bytes([number])).hexdigest(), bytes([number]))
    with pytest.raises(OverloadedError, match="wait for a submission already"):
        await store.put("ns", SHA256, CODE)
    await store.put("other", SHA256, CODE)


async def test_a_quota_is_said(store: ConfigMapCodeStore, world: Any, build: Any) -> None:
    refusal = build.Refusal(403, "Forbidden", "configmaps is forbidden: exceeded quota: few")
    world.api_server.refusals["configmaps"] = [refusal]
    with pytest.raises(OverloadedError):
        await store.put("ns", SHA256, CODE)


async def test_an_api_server_that_is_away_is_said(store: ConfigMapCodeStore, world: Any) -> None:
    world.api_server.down = True
    with pytest.raises(UnavailableError):
        await store.has("ns", SHA256)
    with pytest.raises(UnavailableError):
        await store.remove_old()


def test_no_upload_is_larger_than_a_config_map(world: Any) -> None:
    assert ConfigMapCodeStore(world.api, HOME, max_bytes=16_000_000).max_bytes == 900_000
    assert ConfigMapCodeStore(world.api, HOME, max_bytes=1_000).max_bytes == 1_000

"""``disco oob`` and ``disco pstats``: what tasks of a job on a server put beside their records."""

import cProfile
import marshal
from typing import Any

from disco.profiling import users_part
from disco_gateway.fake import FakeBackend

from .conftest import Shell


def profile() -> bytes:
    measured: Any = cProfile.Profile()
    measured.runcall(profile_me)
    measured.create_stats()
    return marshal.dumps(users_part(measured.stats))


def profile_me() -> None:
    sorted([2, 1])


async def test_keys_are_listed_and_one_value_is_written_as_it_is(
    server: FakeBackend, shell: Shell
) -> None:
    server.add("default", "count").values.update(beta=b"b\n\xc3\xa9", alpha=b"")
    server.add("team", "other").values.update(theirs=b"")
    assert (await shell.disco("oob", "count")).out == "alpha\nbeta\n"
    assert (await shell.disco("oob", "team/other")).out == "theirs\n"
    assert (await shell.disco("oob", "get", "beta", "count")).out == "b\né"
    ended = await shell.disco("oob", "get", "gamma", "count")
    assert (ended.status, ended.out) == (2, "")
    assert "count has no value 'gamma'" in ended.err
    assert (await shell.disco("oob", "get", "beta")).status == 2
    assert (await shell.disco("oob", "get", "alpha", "@?oun")).out == ""


async def test_the_statistics_of_all_profiles_are_printed_in_the_order_asked_for(
    server: FakeBackend, shell: Shell
) -> None:
    values = server.add("default", "count").values
    ended = await shell.disco("pstats", "count")
    assert (ended.status, "count has no profile: it is one of a job" in ended.err) == (2, True)
    values.update({"profile-map:0-0-1-7": profile(), "profile-map:0-1-1-7": profile(), "x": b""})
    ended = await shell.disco("pstats", "count", "-k", "calls", "-k", "tottime")
    assert ended.status == 0
    assert "Ordered by: call count, internal time" in ended.out
    assert "test_values.py:20(profile_me)" in ended.out
    ended = await shell.disco("pstats", "count", "--stage", "reduce")
    assert "count has no profile of that stage" in ended.err
    ended = await shell.disco("pstats", "count", "-k", "beauty")
    assert (ended.status, "-k 'beauty': no such order" in ended.err) == (2, True)


async def test_events_go_on_behind_a_number(server: FakeBackend, shell: Shell) -> None:
    server.add("default", "count")
    server.add_events("default", "count", *({"kind": "excluded", "text": t} for t in "abc"))
    ended = await shell.disco("events", "count", "--offset", "2")
    assert [line.split()[-1] for line in ended.out.splitlines()] == ["c"]

"""Who is let in: the API server decides, and is not asked more than it has to be."""

from typing import Any

import pytest

from disco_gateway.backend import Verb
from disco_gateway.errors import DeniedError, UnauthenticatedError, UnavailableError
from disco_operator.gateway.access import MAX_TOKEN_BYTES, Access


async def test_a_token_tells_whose_it_is(world: Any, build: Any) -> None:
    caller = await world.backend.authenticate(build.ALICE)
    assert (caller.name, caller.uid, caller.groups) == ("alice", "a-1", ("people",))
    assert caller.token == build.ALICE
    assert build.ALICE not in repr(caller)


@pytest.mark.parametrize("token", ["", "guessed", "ünïcode", "x" * (MAX_TOKEN_BYTES + 1)])
async def test_what_is_no_token_is_not_accepted_and_told_nothing(world: Any, token: str) -> None:
    with pytest.raises(UnauthenticatedError) as raised:
        await world.backend.authenticate(token)
    assert str(raised.value) == "the token is not accepted: expired, or not of this cluster"


async def test_rights_are_those_of_the_cluster(world: Any, build: Any) -> None:
    world.api_server.denied.add(("alice", "delete", "ns"))
    await world.backend.authorize(build.alice, Verb.GET, "ns")
    with pytest.raises(DeniedError, match="'alice' may not delete discojobs in namespace 'ns'"):
        await world.backend.authorize(build.alice, Verb.DELETE, "ns")
    asked = world.api_server.asked[0].body["spec"]
    assert (asked["user"], asked["uid"], asked["groups"]) == ("alice", "a-1", ["people"])


async def test_a_right_that_is_given_counts_at_once(world: Any, build: Any) -> None:
    world.api_server.denied.add(("alice", "get", ""))
    with pytest.raises(DeniedError, match="in all namespaces"):
        await world.backend.authorize(build.alice, Verb.GET, "")
    world.api_server.denied.clear()
    await world.backend.authorize(build.alice, Verb.GET, "")


async def test_rights_that_the_gateway_lacks_are_not_the_callers_fault(
    world: Any, build: Any
) -> None:
    access = Access(world.api)
    world.api_server._access_review = lambda asked: (_ for _ in ()).throw(
        build.Refusal(403, "Forbidden", "the gateway cannot create subjectaccessreviews")
    )
    with pytest.raises(UnavailableError, match="cannot find out what callers may do"):
        await access.check(build.alice, Verb.GET, "ns")

from disco_operator.leading import Scope


def test_the_operators_own_namespace_is_watched_for_the_lease() -> None:
    scope = Scope(namespaces=("team-b", "team-a"), home="disco", lease="l", instance="i")
    assert scope.watched == ("disco", "team-a", "team-b")


def test_an_operator_for_all_namespaces_watches_all() -> None:
    assert Scope(namespaces=(), home="disco", lease="l", instance="i").watched == ()

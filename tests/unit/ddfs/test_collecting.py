from disco.ddfs.collecting import decided


def test_what_no_tag_has_waits_for_the_grace_period_from_when_it_was_first_seen() -> None:
    orphans, due = decided(["a", "b", "c"], {"a"}, {"b": 100.0}, now_s=150.0, grace_s=50.0)

    assert orphans == {"b": 100.0, "c": 150.0}
    assert due == {"b"}


def test_what_has_a_tag_again_starts_anew_if_it_loses_it() -> None:
    orphans, _ = decided(["a"], {"a"}, {"a": 100.0}, now_s=150.0, grace_s=50.0)
    orphans, due = decided(["a"], set(), orphans, now_s=160.0, grace_s=50.0)

    assert orphans == {"a": 160.0}
    assert due == set()


def test_what_is_gone_is_forgotten() -> None:
    assert decided([], set(), {"a": 1.0}, now_s=2.0, grace_s=0.0) == ({}, set())

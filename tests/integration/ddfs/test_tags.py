"""Tags, in a directory and in S3."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from disco.ddfs import DDFS, InvalidTag
from disco.error import CommError, DiscoError
from disco.settings import DiscoSettings

if TYPE_CHECKING:
    import subprocess


@pytest.fixture
def ddfs(root: str) -> DDFS:
    return DDFS(root)


def refused(code: int, call: Callable[[], object]) -> str:
    """Return the message of the CommError with that code that *call* raises."""
    with pytest.raises(CommError) as caught:
        call()
    assert caught.value.code == code
    return str(caught.value)


def test_links_are_added_before_those_there_are(ddfs: DDFS) -> None:
    assert ddfs.tag("t", [["http://a/1", "http://b/1"]]) == "tag://t"
    ddfs.tag("tag://t", ["http://a/2"])

    assert ddfs.urls("t") == [["http://a/2"], ["http://a/1", "http://b/1"]]


def test_a_tag_has_discos_fields(ddfs: DDFS) -> None:
    ddfs.tag("t", ["http://a/1"])
    ddfs.setattr("t", "color", "blue")

    found = ddfs.get("t")

    assert found.keys() == {"version", "id", "last-modified", "urls", "user-data"}
    assert (found["version"], found["urls"]) == (1, [["http://a/1"]])
    assert found["user-data"] == {"color": "blue"}
    assert found["id"].startswith("t$")


def test_a_change_that_changes_nothing_makes_no_new_version(ddfs: DDFS) -> None:
    ddfs.tag("t", ["http://a/1"])
    before = ddfs.get("t")

    ddfs.tag("t", ["http://a/1"], update=True)
    ddfs.tag("t", [])
    ddfs.delattr("t", "none")

    assert ddfs.get("t") == before


def test_an_empty_update_makes_the_tag(ddfs: DDFS) -> None:
    ddfs.touch("t")

    assert ddfs.exists("t")
    assert ddfs.urls("t") == []


def test_put_replaces_and_untag_removes(ddfs: DDFS) -> None:
    ddfs.tag("t", ["http://a/1"])
    ddfs.put("t", ["http://a/2", ["http://a/3", "http://b/3"]])
    ddfs.untag("t", ["http://b/3", "http://not/there"])

    assert ddfs.urls("t") == [["http://a/2"]]


def test_a_clone_has_the_links_and_goes_its_own_way(ddfs: DDFS) -> None:
    ddfs.tag("t", ["http://a/1"])
    ddfs.clone("t", "u")
    ddfs.tag("t", ["http://a/2"])

    assert ddfs.urls("u") == [["http://a/1"]]


def test_what_does_not_exist_says_so_with_404(ddfs: DDFS) -> None:
    assert "`ddfs ls`" in refused(404, lambda: ddfs.get("none"))
    refused(404, lambda: ddfs.setattr("none", "a", "b"))
    refused(404, lambda: ddfs.untag("none", ["http://a"]))
    assert not ddfs.exists("none")
    ddfs.delete("none")


def test_a_tag_that_was_deleted_can_be_made_again(ddfs: DDFS) -> None:
    ddfs.tag("t", ["http://a/1"])
    assert ddfs.delete("t") == "tag://t"
    assert not ddfs.exists("t")
    ddfs.tag("t", ["http://a/2"])

    assert ddfs.urls("t") == [["http://a/2"]]


def test_tags_are_listed_by_the_beginning_of_their_names_however_long(ddfs: DDFS) -> None:
    long = "data:" + "x" * 500
    for name in ("data:b", "data:a", "other", long):
        ddfs.touch(name)

    assert ddfs.list() == ["data:a", "data:b", long, "other"]
    assert ddfs.list("data:") == ["data:a", "data:b", long]
    assert ddfs.list("data:" + "x" * 400) == [long]
    assert ddfs.list("none") == []


def test_a_store_that_nobody_wrote_to_is_empty(ddfs: DDFS) -> None:
    assert ddfs.list() == []
    assert ddfs.collect().tags == 0


def test_a_name_that_no_tag_can_have_is_refused(ddfs: DDFS) -> None:
    with pytest.raises(InvalidTag, match="invalid tag name 'a b'"):
        ddfs.touch("a b")


# --- attributes -------------------------------------------------------------------------------


def test_attributes_are_set_read_and_removed(ddfs: DDFS) -> None:
    ddfs.touch("t")
    ddfs.setattr("t", "a", "1")
    ddfs.setattr("t", "b", "zwei €")
    ddfs.delattr("t", "a")
    ddfs.delattr("t", "a")

    assert ddfs.attrs("t") == {"b": "zwei €"}
    assert ddfs.getattr("t", "b") == "zwei €"
    assert "there are: b" in refused(404, lambda: ddfs.getattr("t", "a"))


def test_links_are_an_attribute_too(ddfs: DDFS) -> None:
    ddfs.touch("t")
    ddfs.setattr("t", "ddfs:urls", [["http://a/1"]])

    assert ddfs.getattr("t", "ddfs:urls") == [["http://a/1"]]


# --- tokens -----------------------------------------------------------------------------------


def test_the_token_that_a_tag_is_made_with_is_needed_from_then_on(ddfs: DDFS) -> None:
    ddfs.tag("t", ["http://a/1"], token="secret")

    assert ddfs.urls("t", token="secret") == ddfs.urls("tag://secret@/t") == [["http://a/1"]]
    for call in (
        lambda: ddfs.get("t"),
        lambda: ddfs.get("t", token="wrong"),
        lambda: ddfs.tag("t", ["http://a/2"], token="wrong"),
        lambda: ddfs.setattr("t", "a", "b"),
        lambda: ddfs.delete("t"),
    ):
        assert "secret" not in refused(401, call)
    assert ddfs.exists("t")
    assert ddfs.urls("tag://user:secret@host/t") == [["http://a/1"]]


def test_tokens_are_changed_and_taken_away(ddfs: DDFS) -> None:
    ddfs.touch("t")
    ddfs.setattr("t", "ddfs:write-token", "w")
    ddfs.setattr("t", "ddfs:read-token", "r", token="w")

    assert ddfs.urls("t", token="r") == ddfs.urls("t", token="w") == []
    refused(401, lambda: ddfs.get("t"))
    refused(401, lambda: ddfs.delattr("t", "ddfs:read-token", token="r"))
    refused(403, lambda: ddfs.getattr("t", "ddfs:read-token", token="w"))
    ddfs.delattr("t", "ddfs:read-token", token="w")
    assert ddfs.urls("t") == []


def test_the_settings_have_tokens_for_all_tags(root: str) -> None:
    DDFS(root).touch("t", token="secret")
    settings = DiscoSettings(DDFS_READ_TOKEN="secret", DDFS_WRITE_TOKEN="secret")
    ddfs = DDFS(root, settings=settings)

    ddfs.tag("t", ["http://a/1"])

    assert ddfs.urls("t") == [["http://a/1"]]


# --- links between tags -----------------------------------------------------------------------


def test_blobs_of_a_tag_are_those_of_the_tags_it_has_links_to(ddfs: DDFS) -> None:
    ddfs.tag("a", ["http://a/1", "http://a/2"])
    ddfs.tag("b", ["http://b/1", "tag://a"])
    ddfs.tag("c", ["tag://b", "tag://gone"])

    assert list(ddfs.blobs("c")) == [["http://b/1"], ["http://a/1"], ["http://a/2"]]
    assert [(path[-1], tags, blobs) for path, tags, blobs in ddfs.walk("c")] == [
        ("tag://c", [["tag://b"], ["tag://gone"]], []),
        ("tag://b", [["tag://a"]], [["http://b/1"]]),
        ("tag://a", [], [["http://a/1"], ["http://a/2"]]),
        ("tag://gone", [], []),
    ]


def test_a_missing_tag_is_an_error_if_that_matters(ddfs: DDFS) -> None:
    ddfs.tag("c", ["tag://gone"])

    refused(404, lambda: list(ddfs.blobs("c", ignore_missing=False)))
    refused(404, lambda: list(ddfs.findtags(["c"], ignore_missing=False)))


def test_circles_are_fine_to_find_tags_in_and_an_error_to_walk(ddfs: DDFS) -> None:
    ddfs.tag("a", ["tag://b", "http://a/1"])
    ddfs.tag("b", ["tag://a"])

    assert list(ddfs.findtags(["a"])) == [
        ("tag://a", ["tag://b"], [["http://a/1"]]),
        ("tag://b", ["tag://a"], []),
    ]
    assert "tag://a -> tag://b -> tag://a" in refused(508, lambda: list(ddfs.walk("a")))


def test_the_token_of_a_tag_is_tried_on_those_below_it(ddfs: DDFS) -> None:
    ddfs.tag("a", ["http://a/1"], token="secret")
    ddfs.tag("b", ["tag://a"])

    assert list(ddfs.blobs("tag://secret@/b")) == [["http://a/1"]]
    refused(401, lambda: list(ddfs.blobs("b")))


# --- delayed updates --------------------------------------------------------------------------

ENDS = """
from disco.ddfs import DDFS
DDFS().tag("t", ["http://a/1"], delayed=True)
"""
DIES = ENDS + "import os; os.kill(os.getpid(), 9)"


def test_delayed_updates_are_there_for_who_made_them_and_for_all_after_a_flush(root: str) -> None:
    mine, other = DDFS(root), DDFS(root)
    mine.tag("t", ["http://a/1"], delayed=True)
    mine.tag("t", ["http://a/2"], delayed=True)
    assert not other.exists("t")

    assert mine.urls("t") == [["http://a/2"], ["http://a/1"]]
    assert other.urls("t") == [["http://a/2"], ["http://a/1"]]
    with mine:
        mine.tag("t", ["http://a/3"], delayed=True)
    assert len(other.urls("t")) == 3


def test_delayed_updates_are_made_when_the_program_ends_but_not_when_it_is_killed(
    root: str, script: Callable[..., subprocess.Popen[str]]
) -> None:
    script(DIES).communicate(timeout=60)
    assert not DDFS(root).exists("t")

    said, _ = script(ENDS).communicate(timeout=60)
    assert DDFS(root).urls("t") == [["http://a/1"]], said


# --- damage -----------------------------------------------------------------------------------


def test_a_damaged_tag_is_told_is_not_changed_and_can_be_deleted(ddfs: DDFS) -> None:
    ddfs.touch("t")
    store = ddfs.roots.first
    found = store.read("tag/t")
    assert found is not None
    assert store.swap("tag/t", found.data[:20], found.version)

    for call in (lambda: ddfs.get("t"), lambda: ddfs.tag("t", ["http://a/1"])):
        with pytest.raises(DiscoError, match="tag/t is damaged"):
            call()
    ddfs.delete("t")
    assert not ddfs.exists("t")

from dataclasses import replace
from typing import Any

import pytest

from disco.ddfs import tags
from disco.ddfs.tags import Tag
from disco.error import DiscoError

A, B = ("ddfs://01/blob/aa/a$1-2-3",), ("ddfs://01/blob/bb/b$1-2-3",)
A_AGAIN = ("ddfs://01/blob/cc/a$4-5-6",)


def test_new_links_come_first() -> None:
    tag = tags.with_links(Tag(name="t", links=(A,)), [B, A_AGAIN], only_new=False)

    assert tag.links == (B, A_AGAIN, A)


def test_an_update_leaves_out_blobs_whose_name_is_there_or_comes_twice() -> None:
    tag = tags.with_links(Tag(name="t", links=(A,)), [A_AGAIN, B, B], only_new=True)

    assert tag.links == (B, A)


def test_an_update_leaves_out_tags_and_foreign_urls_that_are_there() -> None:
    there = (("tag://x",), ("http://example.org/a",))

    tag = tags.with_links(Tag(name="t", links=there), [*there, ("tag://y",)], only_new=True)

    assert tag.links == (("tag://y",), *there)


def test_a_link_is_removed_by_any_of_its_replicas() -> None:
    tag = Tag(name="t", links=(("http://a/1", "http://b/1"), ("http://a/2",)))

    assert tags.without_links(tag, ["http://b/1", "http://nowhere"]).links == (("http://a/2",),)


def test_what_is_stored_is_read_back() -> None:
    tag = tags.stamped(
        Tag(name="t", links=(A, B), attributes={"ключ": "значение"}, read_token="h"), "0f", 1000.5
    )

    assert tags.decoded(tags.encoded(tag), "somewhere") == tag
    assert tag.id == "t$3e8-0f"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"version": 1, "urls": 3}'])
def test_what_is_damaged_is_told_with_its_place(data: bytes) -> None:
    with pytest.raises(tags.TagCorruptError, match="s3://bucket/tag/t is damaged"):
        tags.decoded(data, "s3://bucket/tag/t")


def test_what_a_newer_version_wrote_is_not_guessed_at() -> None:
    with pytest.raises(tags.TagCorruptError, match="another version"):
        tags.decoded(b'{"version": 2}', "place")


def test_only_so_many_updates_are_remembered() -> None:
    tag = Tag(name="t")
    for number in range(300):
        tag = tags.stamped(tag, f"{number:x}", 1.0)

    assert len(tag.updates) == 200
    assert tag.updates[0] == f"{299:x}"


@pytest.mark.parametrize(
    "urls", ["http://a", b"x", 7, [7], [[]], [["a", 7]], [""], [["http://a\0"]]]
)
def test_what_is_no_list_of_urls_is_refused(urls: Any) -> None:
    with pytest.raises(DiscoError, match=r"expected a|NUL"):
        tags.as_links(urls)


def test_plain_urls_and_lists_of_replicas_are_links() -> None:
    assert tags.as_links(["http://a", ["http://b", "http://c"], "tag://t"]) == (
        ("http://a",),
        ("http://b", "http://c"),
        ("tag://t",),
    )


# --- attributes and tokens --------------------------------------------------------------------


def test_attributes_are_set_replaced_and_removed() -> None:
    tag = tags.with_attribute(tags.with_attribute(Tag(name="t"), "a", "1"), "a", "2")

    assert tag.attributes == {"a": "2"}
    assert tags.without_attribute(tag, "a").attributes == {}
    assert tags.without_attribute(tag, "b") == tag


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("", "x", "1 to 1024 bytes"),
        ("ä" * 513, "x", "1 to 1024 bytes"),
        ("a", "ä" * 2049, "4,098 bytes"),
        ("a", 7, "are texts"),
        ("ddfs:mine", "x", "DDFS's own"),
    ],
)
def test_attributes_have_discos_limits(name: str, value: Any, what: str) -> None:
    with pytest.raises(DiscoError, match=what):
        tags.with_attribute(Tag(name="t"), name, value)


def test_a_tag_has_a_thousand_attributes_and_no_more() -> None:
    tag = replace(Tag(name="t"), attributes={str(number): "" for number in range(1000)})

    assert tags.with_attribute(tag, "0", "changed").attributes["0"] == "changed"
    with pytest.raises(DiscoError, match="delete some first"):
        tags.with_attribute(tag, "one more", "")


def test_a_token_opens_what_its_hash_is_in_and_the_hash_does_not_tell_it() -> None:
    tag = tags.token_change(tags.READ_TOKEN, "secret")(Tag(name="t"))

    assert tags.may_read(tag, "secret")
    assert not tags.may_read(tag, "Secret")
    assert not tags.may_read(tag, None)
    assert tags.may_write(tag, None)
    assert b"secret" not in tags.encoded(tag)


def test_a_write_token_opens_for_readers_too_and_alone_leaves_reading_free() -> None:
    writing = tags.token_change(tags.WRITE_TOKEN, "w")(Tag(name="t"))
    both = tags.token_change(tags.READ_TOKEN, "r")(writing)

    assert tags.may_read(writing, None)
    assert tags.may_read(both, "w")
    assert not tags.may_write(both, "r")
    assert not tags.may_read(both, None)


def test_two_tags_with_the_same_token_have_different_hashes() -> None:
    assert tags.hashed("secret") != tags.hashed("secret")


@pytest.mark.parametrize("token", ["", 7])
def test_an_empty_token_is_refused(token: Any) -> None:
    with pytest.raises(DiscoError, match="not empty"):
        tags.token_change(tags.READ_TOKEN, token)

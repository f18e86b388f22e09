from typing import Any

import pytest

from disco.ddfs import (
    DDFS,
    InvalidTag,
    canonizetag,
    canonizetags,
    istag,
    relativizetag,
    relativizetags,
    tagname,
)
from disco.ddfs.names import blob_path, digest_in, split_link, tag_address, tag_path


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("data:a", "tag://data:a"),
        ("tag://data:a", "tag://data:a"),
        (["tag://data:a", "data:b"], "tag://data:a"),
        ("tag://host/data:a", "tag://host/data:a"),
    ],
)
def test_a_tag_is_a_name_a_url_or_a_list_that_begins_with_either(given: Any, url: str) -> None:
    assert canonizetag(given) == url
    assert istag(given) == url


@pytest.mark.parametrize("given", ["", "a/b", "http://example.org/x", "./file", [], None, 7])
def test_what_has_a_slash_or_is_no_text_is_not_a_tag(given: Any) -> None:
    assert istag(given) is None
    with pytest.raises(InvalidTag, match="invalid tag"):
        canonizetag(given)


def test_several_tags_and_one_are_made_urls_alike() -> None:
    assert canonizetags("a") == ["tag://a"]
    assert canonizetags(["a", "tag://b"]) == ["tag://a", "tag://b"]


def test_a_link_is_meant_with_the_host_and_token_of_the_tag_that_has_it() -> None:
    assert relativizetag("a", "tag://secret@host/b") == "tag://secret@host/a"
    assert relativizetag("tag://other/a", "tag://host/b") == "tag://other/a"
    assert relativizetags(["a"], "b") == ["tag://a"]
    assert tagname("tag://host/a") == tagname("a") == "a"


@pytest.mark.parametrize(
    ("url", "name", "token"),
    [
        ("disco:results:Job@5f3:a:b", "disco:results:Job@5f3:a:b", None),
        ("tag://user:secret@host/a", "a", "secret"),
        ("tag://secret@host/a", "a", "secret"),
        ("tag://host:8989/a", "a", None),
    ],
)
def test_the_token_stands_before_the_host(url: str, name: str, token: str | None) -> None:
    assert tag_address(url) == (name, token)


@pytest.mark.parametrize("name", ["a b", "a.b", "ä", "a" * 512, "tag://host/"])
def test_a_name_with_other_characters_or_too_long_is_refused(name: str) -> None:
    with pytest.raises(InvalidTag, match="invalid tag name"):
        tag_address(name)


def test_the_file_of_a_very_long_tag_has_a_short_name_that_no_other_tag_shares() -> None:
    names = ["a" * 511, "a" * 510 + "b", "a" * 200, "short"]

    paths = {tag_path(name) for name in names}

    assert len(paths) == len(names)
    assert all(len(path) <= 255 for path in paths)


def test_a_blob_has_the_name_that_it_was_pushed_with_made_safe() -> None:
    path = blob_path("über/a b.txt", 1000, "0f", "ab" * 16)

    assert path == f"blob/ab/_ber_a_b_txt$3e8-0f-{'ab' * 16}"
    assert DDFS.blob_name(f"s3://bucket/{path}") == "_ber_a_b_txt"
    assert digest_in(path) == "ab" * 16
    assert split_link(f"ddfs://0123/{path}") == ("0123", path)


def test_a_blob_is_never_called_so_that_fsspec_takes_it_for_a_chain_of_urls() -> None:
    assert "::" not in blob_path("a:::b::c", 1, "0f", "ab" * 16)


def test_what_is_no_blob_of_ours_has_no_digest_and_no_root() -> None:
    assert digest_in("blob/ab/name$other") is None
    assert split_link("ddfs://zz/tag/x") is None
    assert split_link("ddfs://0123/blob/ab/../../../etc/passwd") is None


def test_the_tags_of_a_job_have_discos_names() -> None:
    assert DDFS.job_tag("Job@1:2:3") == "disco:results:Job@1:2:3"
    assert DDFS.job_oob("Job@1:2:3") == "disco:job:oob:Job@1:2:3"
    assert DDFS.job_blob("Job@1:2:3", "/a/reduce.0") == "disco:blob:Job@1:2:3:reduce_0"
    assert DDFS.safe_name("a/b.c") == "a_b_c"

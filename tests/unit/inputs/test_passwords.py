"""Which URLs have a password in them, and what is shown of them."""

import pytest

from disco_engine.passwords import password_problem, without_passwords

REFUSED = [
    ("http://user:pass@host/a", "http://user:***@host/a"),
    ("HTTP://user:1234@[::1]:80/a", "HTTP://user:***@[::1]:80/a"),
    ("http://user:p@ss@host/a", "http://user:***@host/a"),
    ("s3://AKIA:ab/c+d@bucket/a", "s3://AKIA:***@bucket/a"),
    ("simplecache::ftp://u:p@host/a", "simplecache::ftp://u:***@host/a"),
    ("zip://a.txt::s3://k:s@bucket/a.zip", "zip://a.txt::s3://k:***@bucket/a.zip"),
    ("url://http://u:p@host", "url://http://u:***@host"),
    ("thing @ https://u:p@host/t.whl", "thing @ https://u:***@host/t.whl"),
    ("tag://token@host/name", "tag://***@host/name"),
    ("tag://user:token@host/name", "tag://***@host/name"),
]
"""URLs with a password, and how they are shown."""

FINE = [
    "http://host:80",
    "http://host:80/a:b@c",
    "http://[::1]:80/a@b",
    "http://host/a?u=a:b@c",
    "http://host?a:b@c",
    "http://user:***@host/a",
    "sftp://user@host/a",
    "ftp://anonymous:@host/a",
    "disco://127.0.0.1:7070/uid/1/2",
    "ddfs://ab12/blob/00/a:b@c$1-2-3",
    "tag://data:b@c",
    "raw://a:b@c",
    "raw://see http://u:p@host",
    "RAW://see http://u:p@host",
    "file:///data/a:b@c",
    "/data/a:b@c",
]
"""URLs that look as if they had one."""


@pytest.mark.parametrize(("url", "shown"), REFUSED)
def test_a_password_in_a_url_is_found_and_not_shown(url: str, shown: str) -> None:
    assert without_passwords(f"cannot read '{url}': no") == f"cannot read '{shown}': no"
    assert password_problem(url).startswith(f"{shown} has a password in it, and everybody who")


@pytest.mark.parametrize("url", FINE)
def test_what_looks_like_a_password_but_is_none_is_allowed(url: str) -> None:
    assert password_problem(url) == ""


def test_long_texts_are_looked_through_in_no_time() -> None:
    assert without_passwords("://u:x" * 100_000).startswith("://u:x")

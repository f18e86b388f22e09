"""What URLs of results name."""

from functools import partial

import pytest

from disco_engine.core.parts import ServedPart, StoredPart, part_of

stored = partial(StoredPart, address="127.0.0.1:7", uid="words-0a1b", stage=2)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("disco://127.0.0.1:7/words-0a1b/2/30", stored(task=30)),
        ("disco://127.0.0.1:7/words-0a1b/2/0?label=-3", stored(task=0, label=-3)),
        ("disco://127.0.0.1:7/words-0a1b/2?label=5", stored(task=None, label=5)),
        (
            "disco://h:7/u/2?label=5&records=17",
            StoredPart(address="h:7", uid="u", stage=2, task=None, label=5, records=17),
        ),
        (
            "disco://host:7070/team/words-x7/0a1b-2/4",
            ServedPart(
                server="host:7070", namespace="team", name="words-x7", uid="0a1b-2", number=4
            ),
        ),
    ],
)
def test_a_url_says_what_it_names_and_comes_back(url: str, part: StoredPart | ServedPart) -> None:
    assert part_of(url) == part
    assert str(part) == url


@pytest.mark.parametrize(
    "url",
    [
        "disco://nowhere",
        "disco://h:1/uid/2",
        "disco://h:1/uid/two/0",
        "disco://h:1/uid/2/0?label=x",
        "disco:///uid/2/0",
        "disco://h:1/ns/name/uid/part",
        "http://h:1/uid/2/0",
    ],
)
def test_what_names_no_part_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is no part of a result: expected disco://host:port/uid"):
        part_of(url)

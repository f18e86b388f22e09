from collections.abc import Sequence

import pytest

from disco.ddfs.delayed import Delayed
from disco.ddfs.names import TagAddress
from disco.ddfs.tags import Link
from disco.error import CommError

T, U = TagAddress("t"), TagAddress("u")
A, B, C = ("http://a",), ("http://b",), ("http://c",)


class Made:
    """What was appended, and the time, which a test sets."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, list[Link], bool]] = []
        self.now_s = 0.0
        self.fails = False

    def append(self, address: TagAddress, links: Sequence[Link], *, only_new: bool) -> None:
        if self.fails:
            raise CommError("the storage fails", "root")
        self.updates.append((address.name, list(links), only_new))


def test_updates_wait_and_become_one_per_tag_with_the_newest_first() -> None:
    made = Made()
    delayed = Delayed(made.append, lambda: made.now_s)
    delayed.add(T, [A], only_new=False)
    delayed.add(U, [C], only_new=False)
    delayed.add(T, [B], only_new=False)
    assert made.updates == []

    delayed.flush()
    delayed.flush()

    assert made.updates == [("t", [B, A], False), ("u", [C], False)]


def test_an_update_does_not_wait_longer_than_a_second_for_the_next() -> None:
    made = Made()
    delayed = Delayed(made.append, lambda: made.now_s)
    delayed.add(T, [A], only_new=True)
    made.now_s = 1.0
    delayed.add(T, [B], only_new=True)

    assert made.updates == [("t", [B, A], True)]


def test_what_could_not_be_made_still_waits() -> None:
    made = Made()
    delayed = Delayed(made.append, lambda: made.now_s)
    delayed.add(T, [A], only_new=False)
    made.fails = True
    with pytest.raises(CommError):
        delayed.flush()
    made.fails = False

    delayed.flush()

    assert made.updates == [("t", [A], False)]

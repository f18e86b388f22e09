from pathlib import Path

import pytest

from disco.ddfs import tags
from disco.ddfs.directory import DirectoryStore
from disco.ddfs.names import TagAddress
from disco.ddfs.registry import Change, Registry
from disco.error import CommError

T = TagAddress("t")
A, B = ("http://a",), ("http://b",)


class Forgetful(DirectoryStore):
    """A directory that writes, and then says that it did not: as when an answer gets lost."""

    def swap(self, name: str, data: bytes, expected: str | None) -> bool:
        super().swap(name, data, expected)
        return False


class Busy(DirectoryStore):
    """A directory in which somebody else changes the tag just before we do, a few times."""

    def __init__(self, path: str, times: int) -> None:
        super().__init__(path)
        self.times = times

    def swap(self, name: str, data: bytes, expected: str | None) -> bool:
        if self.times:
            self.times -= 1
            Registry(DirectoryStore(self.url), lambda: 1.0).change(T, added(B))
        return super().swap(name, data, expected)


def added(link: tags.Link) -> Change:
    return lambda tag: tags.with_links(tag, [link], only_new=False)


def test_a_change_whose_answer_gets_lost_is_made_once(tmp_path: Path) -> None:
    registry = Registry(Forgetful(str(tmp_path)), lambda: 1.0, pause=lambda seconds: None)

    registry.change(T, added(A))
    registry.change(T, added(B))

    assert registry.get(T).links == (B, A)


def test_a_change_is_made_on_top_of_those_that_came_before_it(tmp_path: Path) -> None:
    pauses: list[float] = []
    registry = Registry(Busy(str(tmp_path), 3), lambda: 1.0, pauses.append)

    changed = registry.change(T, added(A))

    assert changed.links == registry.get(T).links == (A, B, B, B)
    assert len(pauses) == 3


def test_a_tag_that_is_deleted_under_a_change_is_made_anew(tmp_path: Path) -> None:
    class Deleting(DirectoryStore):
        deletions = 1

        def swap(self, name: str, data: bytes, expected: str | None) -> bool:
            if expected and self.deletions:
                self.deletions -= 1
                self.remove(name)
            return super().swap(name, data, expected)

    registry = Registry(Deleting(str(tmp_path)), lambda: 1.0, pause=lambda seconds: None)
    registry.change(T, added(A))

    registry.change(T, added(B))

    assert registry.get(T).links == (B,)


def test_a_change_that_must_not_make_the_tag_does_not(tmp_path: Path) -> None:
    registry = Registry(DirectoryStore(str(tmp_path)), lambda: 1.0)

    with pytest.raises(CommError, match="no tag 't'"):
        registry.change(T, added(A), create=False)

    assert not registry.exists("t")

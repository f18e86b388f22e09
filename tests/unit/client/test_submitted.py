"""Which jobs a user is known to have submitted."""

import stat
from pathlib import Path

import pytest

from disco.client import submitted
from disco.client.submitted import KEPT, is_ours, remember, state_file


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as another process of the same user."""
    monkeypatch.setattr(submitted, "_here", set())


def test_a_later_process_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    remember("one")
    remember("two")
    forget(monkeypatch)
    assert is_ours("one")
    assert is_ours("two")
    assert not is_ours("three")
    assert not is_ours("")
    assert stat.S_IMODE(state_file().stat().st_mode) == 0o600


def test_the_file_is_bounded_and_keeps_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    state_file().parent.mkdir()
    state_file().write_text("".join(f"job-{number}\n" for number in range(2 * KEPT)))
    remember("newest")
    forget(monkeypatch)
    assert len(state_file().read_text().split()) == KEPT + 1
    assert is_ours("newest")
    assert is_ours(f"job-{2 * KEPT - 1}")
    assert not is_ours("job-0")


def test_where_nothing_can_be_written_this_process_knows_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISCO_STATE", str(tmp_path / "file" / "submitted"))
    remember("one")
    assert is_ours("one")
    forget(monkeypatch)
    assert not is_ours("one")


def test_the_file_is_in_the_user_s_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISCO_STATE")
    assert state_file().name == "submitted"
    assert state_file().parent.name == "disco"

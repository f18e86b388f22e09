"""A user of nobody's machine."""

from pathlib import Path

import pytest

from disco.client import submitted


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give where a user's files are, of which there are none."""
    place = tmp_path / "home"
    names = ("SERVER", "NAMESPACE", "TOKEN", "TOKEN_FILE", "CA_FILE", "CONTEXT", "MASTER")
    for name in names:
        monkeypatch.delenv(f"DISCO_{name}", raising=False)
    monkeypatch.setenv("DISCO_CONFIG", str(place / "config.yaml"))
    monkeypatch.setenv("DISCO_STATE", str(place / "submitted"))
    monkeypatch.setattr(submitted, "_here", set())
    return place

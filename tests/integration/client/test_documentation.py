"""What the manual of the client shows does run, against a real server."""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from disco.client.config import load, save, set_context

MANUAL = Path(__file__).parents[3] / "docs" / "client.md"
_DISCO = [sys.executable, "-P", "-m", "disco.cli.main"]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start ``disco serve`` for a user with a home of his own, and the context "serve"."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DISCO_STATE")
    command = [*_DISCO, "serve", "--listen", "127.0.0.1:0", "--no-http", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            readable, _, _ = select.select([process.stdout], [], [], 60)
            assert readable, "the server does not start"
            first = process.stdout.readline().decode()
            assert "Serving jobs on 127.0.0.1:" in first
            config = load()
            (context,) = config.contexts.values()
            save(set_context(config, "serve", context))
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


def test_the_snippets_of_the_manual_run(server: None, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    snippets = re.findall(r"^```python\n(.*?)^```$", MANUAL.read_text(), re.DOTALL | re.MULTILINE)
    outputs = []
    for number, snippet in enumerate(snippets):
        named = re.match(r"# (\w+\.py)\n", snippet)
        path = place / (named.group(1) if named else f"snippet_{number}.py")
        path.write_text(snippet)
        ended = subprocess.run(
            [sys.executable, str(path)],
            cwd=place,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        outputs.append(ended.stdout.splitlines())
    counted, listed, scripted, looped = outputs
    assert sorted(counted) == ["a 2", "is 1", "rose 2"]
    assert re.fullmatch(r"wordcount-\w+ ready \[\['map'.*\]\]", listed[0])
    assert re.fullmatch(r"sends wordcount\.py, \d+ bytes", scripted[0])
    assert scripted[-1] == "[('a', 2), ('is', 1), ('rose', 2)]"
    assert looped == ["[(1, 1), (2, 4), (3, 9)]"] * 2

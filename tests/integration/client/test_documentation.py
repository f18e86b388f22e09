"""What the manual of the client shows does run, against a real server."""

import os
import re
import subprocess
import sys
from pathlib import Path

from disco.client.config import Context, load, save, set_context

MANUAL = Path(__file__).parents[3] / "docs" / "client.md"


def test_the_snippets_of_the_manual_run(served: Context, tmp_path: Path) -> None:
    save(set_context(load(), "serve", served))
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

"""What is promised is shown: every test that the page names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=[test for _, test in NAMED])
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    assert re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)


def test_every_line_of_a_table_that_says_so_names_what_shows_it() -> None:
    shows = False
    for line in PAGE.splitlines():
        if line.startswith("| "):
            shows = shows or "| shown by |" in line
            bare = not line.strip("| -") or "shown by" in line
            assert bare or not shows or "::" in line, line
        else:
            shows = False

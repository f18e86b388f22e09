from pathlib import Path

from disco.cli.reference import PATH, reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_reference_is_what_the_commands_say() -> None:
    assert (ROOT / PATH).read_text() == reference(), "run `make docs`"


def test_every_command_is_in_it_with_its_flags() -> None:
    page = reference()

    for heading in ("### disco submit", "### disco config set-context", "### disco serve"):
        assert heading in page
    assert "| `--follow` |" in page
    assert page.count("| `--context NAME` |") == 1, "said once, at the top"

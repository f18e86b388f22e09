"""Writes what is generated from the model: ``python -m disco_operator.crd REPOSITORY``."""

import sys
from pathlib import Path

from disco_operator.crd.documentation import markdown_text
from disco_operator.crd.resource import yaml_text


def main(repository: Path) -> None:
    """Write the generated files of *repository*."""
    for name, text in generated().items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def generated() -> dict[str, str]:
    """Return the content of the generated files, by path in the repository."""
    return {
        "charts/disco/files/crd.yaml": yaml_text(),
        "docs/reference/discojob.md": markdown_text(),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))

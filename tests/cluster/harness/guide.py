"""A guide's files and commands, in the hands of a reader who types them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.kubectl import kubectl
from harness.namespaces import Namespace

DOCS = Path(__file__).resolve().parents[3] / "docs"


class Guide:
    """One section of a page of the documentation.

    Args:
        page: The file's name.
        section: Its title.
    """

    def __init__(self, page: str, section: str) -> None:
        text = (DOCS / page).read_text()
        found = re.search(rf"^#+ {section}\n(.*?)(?=^#|\Z)", _without_code(text), re.M | re.S)
        assert found is not None, f"{page} has no section {section!r}"
        self._text = text[found.start(1) : found.end(1)]

    def block(self, language: str, content: str) -> str:
        """Return the block in a language that has this content."""
        blocks = re.findall(rf"^```{language}\n(.*?)^```", self._text, re.M | re.S)
        (found,) = [block for block in blocks if content in block]
        return str(found)

    def commands(self) -> Sequence[str]:
        """Return what is to be typed, in order."""
        blocks = re.findall(r"^```console\n(.*?)^```", self._text, re.M | re.S)
        return [line for block in blocks for line in re.findall(r"^\$ (.*)", block, re.M)]


class Reader:
    """Somebody at a shell in a folder of his own, whose kubectl knows the test's namespace.

    Attributes:
        folder: Where he is.
    """

    def __init__(self, folder: Path, namespace: Namespace) -> None:
        self.folder = folder
        config = folder / "kubeconfig"
        shutil.copyfile(os.environ["KUBECONFIG"], config)
        context = ("config", "set-context", "--current", "--namespace", namespace.name)
        kubectl("--kubeconfig", str(config), *context)
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(config),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def types(self, *commands: str) -> str:
        """Type commands into one shell, which ends at the first that fails; return what they print.

        Raises:
            AssertionError: One failed.
        """
        done = subprocess.run(
            ["bash", "-ec", "\n".join(commands)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, f"{'; '.join(commands)}\n{done.stdout}{done.stderr}"
        return done.stdout


def _without_code(text: str) -> str:
    """Return a page with blanks for its code, where a # begins a comment and no section."""
    return re.sub(
        r"^```.*?^```", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.M | re.S
    )

"""Which files stay at home although a job imports them: those that ``.discoignore`` excludes.

The file stands in the directory that modules are named from, beside the job's script or above its
package, and has the syntax of ``.gitignore``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from disco.error import DiscoError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".discoignore"


class IgnoreFiles:
    """The ignore files of all directories that were asked about, each read once."""

    def __init__(self) -> None:
        self._rules: dict[Path, GitIgnoreSpec | None] = {}

    def exclude(self, root: Path, name: str) -> bool:
        """Return whether the ignore file in *root* excludes the file *name* below it.

        Raises:
            DiscoError: It cannot be read or makes no sense.
        """
        if root not in self._rules:
            self._rules[root] = _rules_in(root / IGNORE_FILE)
        rules = self._rules[root]
        return rules is not None and rules.match_file(name)


def _rules_in(path: Path) -> "GitIgnoreSpec | None":
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DiscoError(f"{path} cannot be read: {error}") from error
    from pathspec import GitIgnoreSpec  # most jobs have no such file

    try:
        return GitIgnoreSpec.from_lines(text.splitlines())
    except ValueError as error:
        raise DiscoError(f"{path}: {error}; its syntax is that of .gitignore") from error

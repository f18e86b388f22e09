"""``python -m disco_engine.prepare``: what must be there before a worker starts."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from disco_engine.prepare.archive import unpack_from
from disco_engine.prepare.packages import install
from disco_engine.prepare.telling import PrepareError, without_secrets


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare what the flags say; return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.sha256 and not given.archive:
        parser.error("--sha256 says which --archive is meant, so give that too")
    try:
        if given.archive:
            unpack_from(given.archive, given.sha256 or "", given.target / "code")
        if given.requirement:
            install(given.requirement, given.target / "packages")
    except PrepareError as error:
        sys.stdout.flush()
        print(f"The job's code is not ready: {without_secrets(str(error))}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m disco_engine.prepare",
        description="Unpack a job's code to TARGET/code and install packages in TARGET/packages.",
    )
    parser.add_argument("--target", type=Path, required=True, help="a directory; made if missing")
    parser.add_argument("--archive", metavar="URL", help="a ZIP or tar.gz file")
    parser.add_argument("--sha256", type=_sha256, metavar="HEX", help="of that file (default: any)")
    parser.add_argument(
        "--requirement",
        action="append",
        default=[],
        metavar="TEXT",
        help="a line of a requirements file; once for each",
    )
    return parser


def _sha256(text: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 64 hexadecimal digits")
    return text.lower()


if __name__ == "__main__":
    sys.exit(main())

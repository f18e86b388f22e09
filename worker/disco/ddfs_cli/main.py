"""``ddfs``: its commands, and how it ends."""

import logging
import os
import signal
import sys
from typing import Any

import click

from disco.ddfs_cli import contents, listing, tagging
from disco.ddfs_cli.options import common
from disco.error import DiscoError
from disco_engine.logs import TextFormatter
from disco_engine.program import ProgramError

_EPILOG = """
\b
Examples:
  ddfs push data:logs ./monday.log ./tuesday.log     store files, and call them data:logs
  ddfs chunk data:logs:records ./huge.log            cut it into parts for as many tasks
  ddfs ls data:                                      tags that begin so
  ddfs xcat data:logs:records                        the records
  disco run wordcount.py tag://data:logs             a job over them
  ddfs rm data:logs; ddfs gc                         what no tag has, goes after five days

A name without a slash is a tag; a file in this directory is ./file.

\b
Exit status:
  0  done      1  it failed, or `exists` says no      2  wrong use      130  interrupted
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(package_name="disco-k8s", prog_name="ddfs")
@common
def cli() -> None:
    """Tags and blobs: the data that jobs read and share.

    They are in a directory or in an object store: -M, or the setting DISCO_DDFS, says where.
    """


for _module in (tagging, listing, contents):
    for _command in _module.COMMANDS:
        cli.add_command(_command)


def main() -> None:
    """Run the command line and exit."""
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    status: Any
    try:
        status = cli.main(prog_name="ddfs", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # whoever reads our output has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 # for what is flushed at the exit
        status = 128 + signal.SIGPIPE
    except (DiscoError, ProgramError, OSError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()

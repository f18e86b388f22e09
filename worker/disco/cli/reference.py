"""Writes the reference of the command line: ``python -m disco.cli.reference REPOSITORY``.

Whatever is in it, the commands say of themselves.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from disco.cli.commands import SECTIONS
from disco.cli.connection_options import connection_options
from disco.cli.errors import EXIT_STATUS
from disco.cli.main import cli

PATH = Path("docs/reference/cli.md")

_HEAD = """\
# The command line

<!-- Made of worker/disco/cli/ by `make docs`. Change that. -->

`disco COMMAND --help` says the same as this page.

Commands that talk to a server find it in their flags, else in the environment (`DISCO_SERVER`,
`DISCO_NAMESPACE`, `DISCO_TOKEN`, `DISCO_TOKEN_FILE`, `DISCO_CA_FILE`, `DISCO_CONTEXT`), else in the
current context of the settings file (`disco config`), else in the service account of the pod that
they run in. JOB is then a name, or NAMESPACE/NAME. Their flags, which may stand before the command
as well:
"""

_STATUS = """\
## Exit status

| status | of `disco run` and `disco serve` | of commands that talk to a server |
| --- | --- | --- |
| 0 | the job succeeded; the server was ended | done; the job that was followed succeeded |
| 1 | the job failed; an address is taken | the job failed or was cancelled; it has no results \
yet, or has lost them; nothing to retry |
| 2 | wrong use | wrong use: flags, names of jobs that do not exist, manifest, job file, settings |
| 3 | | the server does not answer, is overloaded, or does not let you |
| 4 | | it took longer than `--timeout` |
| 130 | interrupted by Ctrl-C; the job was cancelled | interrupted by Ctrl-C; the job goes on |

Other signals end with 128 and their number, as in a shell. Results and documents are on standard
output, all else is on standard error; there are no colours in files and pipes, nor with `NO_COLOR`.
"""


def reference() -> str:
    """Return the page."""
    lines = [*_HEAD.splitlines(), "", *_options(_connection()), "", *_STATUS.splitlines()]
    context = click.Context(cli, info_name="disco", max_content_width=100)
    for title, names in SECTIONS.items():
        lines += ["", f"## {title}"]
        for name in names:
            command = cli.get_command(context, name)
            assert command is not None
            lines += _command(command, click.Context(command, context, info_name=name))
    return "\n".join(lines) + "\n"


def _connection() -> list[click.Option]:
    """Return the flags that all commands that talk to a server have."""

    @click.command()
    @connection_options
    def example() -> None:
        pass

    return [parameter for parameter in example.params if isinstance(parameter, click.Option)]


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield the lines about a command, and those below it."""
    yield from ("", f"### {context.command_path}", "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("```", f"{context.command_path} {usage}", "```", "")
    yield from _prose(command.help or "")
    shared = {option.name for option in _connection()}
    own = [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and (parameter.name not in shared or parameter.expose_value)
    ]
    if own:
        yield from ("", *_options(own))
    if examples := (command.epilog or "").replace(EXIT_STATUS, ""):
        yield from ("", *_blocks(examples))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _command(below, click.Context(below, context, info_name=name))


def _prose(text: str) -> Iterator[str]:
    yield from inspect.cleandoc(text).splitlines()


def _blocks(epilog: str) -> Iterator[str]:
    """Yield the parts of an epilog as they are; click's mark for such a part is a backspace."""
    for number, block in enumerate(filter(None, map(str.strip, epilog.split("\b\n")))):
        if number:
            yield ""
        yield from ("```", *block.splitlines(), "```")


def _options(options: list[click.Option]) -> Iterator[str]:
    yield from ("| flag | meaning |", "| --- | --- |")
    context = click.Context(click.Command("disco"))
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            flags, text = (cell.replace("|", "\\|") for cell in record)
            yield f"| `{flags}` | {text} |"


if __name__ == "__main__":
    target = Path(sys.argv[1]) / PATH
    target.write_text(reference())
    print(f"wrote {target}")

"""The list of all commands, in the order and groups in which people look for them.

A command's module is imported when the command is used, or the help of all is shown: ``disco``
itself, and the completion of names in a shell, answer at once.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from disco.cli.errors import reader_gone

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "On this machine": ("run", "job", "serve"),
    "On a server": ("submit", "ls", "status", "watch", "wait", "events", "logs", "results"),
    "Beside its records": ("oob", "pstats"),
    "Jobs of a server": ("cancel", "retry", "delete"),
    "Around them": ("render", "config", "completion", "version"),
    "Names that Disco had": (
        *("jobs", "jobdict", "kill", "purge", "stageresults", "deref", "nodeinfo"),
        *("client_version", "master_version"),
    ),
}


class Commands(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None if there is none of that name."""
        if cmd_name not in self.list_commands(ctx):
            return _without_meaning(cmd_name)
        module = import_module(f"disco.cli.{_HOMES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, _ALIASES.get(cmd_name, cmd_name))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; return its exit status."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would make of it what a failed job is
            return reader_gone()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in their sections."""
        for title, names in SECTIONS.items():
            rows = [
                (name, command.get_short_help_str(70))
                for name in names
                if (command := self.get_command(ctx, name)) is not None
            ]
            with formatter.section(title):
                formatter.write_dl(rows, col_max=14)


_HOMES = {
    "ls": "listing",
    **dict.fromkeys(("cancel", "retry", "delete"), "acting"),
    **dict.fromkeys(("oob", "pstats"), "values"),
    **dict.fromkeys(("kill", "purge"), "acting"),
    **dict.fromkeys(
        ("jobs", "jobdict", "stageresults", "deref", "nodeinfo", "client_version"), "disco_names"
    ),
    "master_version": "disco_names",
}
"""Modules that are not named like their command."""

_ALIASES = {"kill": "cancel", "purge": "delete"}
"""What commands are called in their modules, if otherwise."""


def _without_meaning(name: str) -> click.Command | None:
    """Return the command that says what does what Disco's did; None: Disco had none either."""
    from disco.cli.disco_names import INSTEAD, refusal

    return refusal(name) if name in INSTEAD else None

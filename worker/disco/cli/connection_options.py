"""The flags that say which server is meant and who is asking; kubectl's names where it has them.

They may stand before the command or after it; after it takes precedence.
"""

import shlex
from dataclasses import dataclass
from typing import Any

import click

from disco.cli.job_options import Decorator, together


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the flags say; None: not said, so environment and settings decide.

    Attributes:
        context: Name of a context of the settings file.
        server: Address, such as disco://host:7070.
        namespace: Of the jobs that are meant.
        token_file: File with the bearer token.
    """

    context: str | None = None
    server: str | None = None
    namespace: str | None = None
    token_file: str | None = None

    def again(self, job: str, namespace: str | None = None) -> str:
        """Return how to name a job in the next command, with the flags of this one."""
        flags = {
            "--context": self.context,
            "--server": self.server,
            "--token-file": self.token_file,
            "-n": namespace or self.namespace,
        }
        given = [f"{flag} {shlex.quote(value)}" for flag, value in flags.items() if value]
        return " ".join([*given, job])


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Remember a flag where the command and the group above it find it."""
    if value is not None:
        said = context.find_root().meta.setdefault(__name__, {})
        said[parameter.name] = value  # the group's come first, so the command's take precedence


def _complete_contexts(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    from disco.client.config import load

    return [name for name in load().contexts if name.startswith(incomplete)]


def _option(*names: str, **more: Any) -> Any:
    return click.option(*names, expose_value=False, callback=_keep, **more)


connection_options: Decorator[Any] = together(
    _option(
        "--context", metavar="NAME", shell_complete=_complete_contexts,
        help="Context of the settings file.  [the current one]",
    ),
    _option("-s", "--server", metavar="URL", help="The server, such as disco://host:7070."),
    _option("-n", "--namespace", metavar="NAME", help="Namespace of the jobs."),
    _option(
        "--token-file", type=click.Path(), metavar="FILE",
        help="File with the bearer token that is shown to the server.",
    ),
)  # fmt: skip
"""Gives a command the flags; ``where`` tells what they say."""


def _keep_master(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Remember what Disco's programs call a server: its address, or the name of a context."""
    if value is not None:
        said = context.find_root().meta.setdefault(__name__, {})
        said["server" if ":" in value else "context"] = value


def _refuse_token(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.BadParameter(
            "all users of a machine see what is on a command line: give --token-file FILE, or set"
            " DISCO_TOKEN"
        )


def _tell_settings(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    from disco.settings import DiscoSettings

    settings = DiscoSettings()
    for name in settings.names():
        shown = "(set)" if name.endswith("_TOKEN") and settings[name] else settings[name]
        click.echo(f"{name}\t{shown}", err=True)


master_option: Decorator[Any] = click.option(
    "-M", "--master", metavar="HOST:PORT|CONTEXT", expose_value=False, callback=_keep_master,
    help="As --server, or as --context.",
)  # fmt: skip

disco_options: Decorator[Any] = together(
    master_option,
    click.option(
        "-v", "--verbose", is_flag=True, expose_value=False, callback=_tell_settings,
        help="Tell the settings that programs have.",
    ),
    click.option("-t", "--token", hidden=True, expose_value=False, callback=_refuse_token),
)  # fmt: skip
"""Those that Disco's command has before all of its commands."""


def where() -> Where:
    """Return what the flags of the command that runs, and of the group, say."""
    said: dict[str, Any] = click.get_current_context().find_root().meta.get(__name__, {})
    return Where(**said)

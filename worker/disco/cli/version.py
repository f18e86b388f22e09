"""``disco version``: of this program, and of the server if there is one."""

import click

from disco.cli.connection_options import connection_options
from disco.cli.documents import document, form_option
from disco.cli.server import open_server


@click.command(short_help="Tell the versions of this program and of the server.")
@click.option("--client", "client_only", is_flag=True, help="Do not ask the server.")
@form_option("json", "yaml")
@connection_options
def version(client_only: bool, form: str | None) -> None:
    """Tell the version of this program, and what the server says of itself.

    A server that does not answer is no error here.
    """
    import platform
    from importlib import metadata
    from typing import Any

    from disco.cli.errors import CommandError
    from disco.cli.plain_messages import plain

    told: dict[str, Any] = {
        "client": {"version": metadata.version("disco-k8s"), "python": platform.python_version()}
    }
    if not client_only:
        try:
            with open_server(patience_s=0) as client:
                told["server"] = plain(client.about())
        except CommandError as error:
            told["server"] = None
            told["why_not"] = error.message
    if form:
        click.echo(document(told, form))
        return
    click.echo(f"client  {told['client']['version']}, Python {told['client']['python']}")
    if server := told.get("server"):
        who = f", you are {server['user']}" if server["user"] else ""
        click.echo(f"server  {server['version']}, {server['kind']}, Python {server['python']}{who}")
    elif not client_only:
        click.echo(f"server  none: {told['why_not']}")

"""``disco config``: the servers that this user talks to, by name, in the settings file."""

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from disco.cli.documents import document, form_option
from disco.cli.errors import EXIT_WRONG_USE, CommandError
from disco.cli.job_options import given
from disco.cli.server import client_errors

if TYPE_CHECKING:
    from disco.client.config import Context

_EPILOG = """
\b
Examples:
  disco config set-context prod --server disco://disco.example.org:443 --token-file ~/.disco-token
  disco config set-context staging --kubectl-context staging --namespace team-a
  disco config use-context prod
  disco ls --context staging

\b
Exit status:
  0  done      2  wrong use: flags, names, or a settings file that makes no sense
"""


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from disco.client.config import load

    return [name for name in load().contexts if name.startswith(incomplete)]


_NAME = click.argument("name", shell_complete=_complete)


@click.group(epilog=_EPILOG, short_help="Name servers, and choose one.")
def config() -> None:
    """Name servers, and choose the one that commands talk to."""


@config.command()
def path() -> None:
    """Print where the settings file is, or would be."""
    from disco.client.config import config_path

    click.echo(config_path())


@config.command()
@form_option("yaml", "json", default="yaml")
def view(form: str) -> None:
    """Print the settings file, without tokens."""
    from disco.client import config as settings

    with client_errors():
        click.echo(document(settings.view(settings.load()), form))


@config.command("get-contexts")
@form_option("table", "name", default="table")
def get_contexts(form: str) -> None:
    """List the contexts; * is the current one."""
    from disco.cli.columns import columns
    from disco.client.config import load

    with client_errors():
        loaded = load()
    if form == "name":
        for name in loaded.contexts:
            click.echo(name)
        return
    rows = [
        (
            "*" if name == loaded.current_context else "",
            name,
            context.server or "kubectl",
            context.namespace or "-",
        )
        for name, context in loaded.contexts.items()
    ]
    for cells in columns([("CURRENT", "NAME", "SERVER", "NAMESPACE"), *rows]):
        click.echo("   ".join(cells).rstrip())


@config.command("use-context")
@_NAME
def use_context(name: str) -> None:
    """Make NAME the context of commands that name none."""
    from disco.client import config as settings

    with client_errors():
        settings.save(settings.use_context(settings.load(), name))
    click.echo(f"Commands now talk to {name}.")


@config.command("delete-context")
@_NAME
def delete_context(name: str) -> None:
    """Remove the context NAME from the settings file."""
    from disco.client import config as settings

    with client_errors():
        settings.save(settings.delete_context(settings.load(), name))
    click.echo(f"Deleted context {name}.")


@config.command("set-context")
@_NAME
@click.option("-s", "--server", metavar="URL", help="Address, such as disco://host:7070.")
@click.option("-n", "--namespace", metavar="NAME", help="Namespace of jobs.")
@click.option("--token-file", type=click.Path(), metavar="FILE", help="File with the bearer token.")
@click.option(
    "--token-stdin", is_flag=True, help="Keep the token that comes on standard input instead."
)
@click.option(
    "--ca-file",
    type=click.Path(),
    metavar="FILE",
    help="Certificates that the server's must come from, PEM.",
)
@click.option("--server-name", metavar="NAME", help="Name that the server's certificate must have.")
@click.option(
    "--insecure/--secure",
    default=None,
    help="Without TLS, or with it.  [without on this machine only]",
)
@click.option(
    "--kubectl-context",
    metavar="NAME",
    help="Reach the server through kubectl's port-forward in this kubeconfig context.",
)
@click.option("--kubectl-namespace", metavar="NAME", help="Where the gateway is.  [disco-system]")
@click.option("--kubectl-service", metavar="NAME", help="Its Service.  [disco-gateway]")
@click.option(
    "--service-account",
    metavar="[NAMESPACE/]NAME",
    help="Ask kubectl for a token of this ServiceAccount.  [the kubeconfig's own token]",
)
@click.option("--current", is_flag=True, help="Make it the current context, too.")
def set_context(name: str, current: bool, token_stdin: bool, **flags: Any) -> None:
    """Make the context NAME, or change what is given of it."""
    from disco.client import config as settings
    from disco.client.connection import address_of

    with client_errors():
        if flags["server"]:
            address_of(flags["server"])
        loaded = settings.load()
        before = loaded.contexts.get(name, settings.Context())
        changed = _changed(before, given(flags), sys.stdin.read().strip() if token_stdin else None)
        loaded = settings.set_context(loaded, name, changed)
        if current:
            loaded = settings.use_context(loaded, name)
        where = settings.save(loaded)
    suffix = "; it is the current one" if loaded.current_context == name else ""
    click.echo(f"Wrote context {name} to {where}{suffix}.")


def _changed(before: "Context", flags: dict[str, Any], token: str | None) -> "Context":
    """Return the context with what was given in its place."""
    from pathlib import Path

    from disco.client.config import Kubectl

    if token == "":
        raise CommandError("--token-stdin: standard input is empty", EXIT_WRONG_USE)
    if token and "token_file" in flags:
        raise CommandError("give --token-file or --token-stdin, and not both", EXIT_WRONG_USE)
    through = {
        field: flags.pop(flag)
        for flag, field in (
            ("kubectl_context", "context"),
            ("kubectl_namespace", "namespace"),
            ("kubectl_service", "service"),
            ("service_account", "service_account"),
        )
        if flag in flags
    }
    for name in ("token_file", "ca_file"):
        if flags.get(name):
            flags[name] = str(Path(flags[name]).expanduser().absolute())
    changed = replace(before, **flags)
    if "token_file" in flags:
        changed = replace(changed, token="")
    if token:
        changed = replace(changed, token=token, token_file="")
    if through:
        return replace(changed, kubectl=replace(before.kubectl or Kubectl(), **through), server="")
    return replace(changed, kubectl=None) if "server" in flags else changed

"""``disco completion``: the script that has a shell complete commands, flags and names of jobs."""

import click

_EPILOG = """
\b
To have it in every shell:
  bash   disco completion bash > ~/.local/share/bash-completion/completions/disco
  zsh    disco completion zsh > "${fpath[1]}/_disco"
  fish   disco completion fish > ~/.config/fish/completions/disco.fish
"""


@click.command(epilog=_EPILOG, short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes disco's commands in SHELL.

    It asks disco itself, so names of jobs and contexts are completed, too.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    root = context.find_root()
    if found is not None:  # it is one of click's own
        click.echo(found(root.command, {}, "disco", "_DISCO_COMPLETE").source())

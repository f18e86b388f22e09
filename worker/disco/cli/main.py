"""The ``disco`` command: its subcommands, its version, and how it ends."""

import io
import os
import sys

import click

from disco.cli.commands import Commands
from disco.cli.connection_options import connection_options, disco_options
from disco.cli.errors import EXIT_INTERRUPTED, output_full, reader_gone

_EPILOG = """
\b
Examples:
  disco run wordcount.py book.txt          run the job of a file over a text, here
  disco run job.yaml                       run a manifest, as on a cluster
  disco submit wordcount.py s3://b/texts/  the same job on a server; --follow shows it
  disco ls; disco status NAME              what runs there, and how it stands
  disco COMMAND --help                     everything that a command can do
"""


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(package_name="disco-k8s", prog_name="disco")
@connection_options
@disco_options
@click.pass_context
def cli(context: click.Context) -> None:
    """MapReduce and multi-stage pipelines in plain Python.

    A job is a Python class with a map and a reduce, or with a pipeline of stages. "disco run" runs
    it on this machine: a coordinator, partition services and worker processes are started for it,
    and are gone when it has ended. "disco submit" hands the same job to a server: one in front of
    a Kubernetes cluster, or "disco serve" on a machine.
    """
    if os.environ.get("NO_COLOR"):
        context.color = False


def main() -> None:
    """Run the command line and exit; ``disco.cli.errors`` says which status means what."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # what it cannot say in its encoding, it escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it prints of connections, we say better
    try:
        status = cli.main(prog_name="disco", standalone_mode=False)
        if sys.stdout is not None:  # as after ">&-"
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        status = reader_gone()
    except OSError as error:
        status = output_full(error)
    sys.exit(status)


if __name__ == "__main__":
    main()

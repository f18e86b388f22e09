"""The ``disco`` command: its subcommands, its version, and how it ends."""

import sys

import click

from disco.cli.run import run

EXIT_INTERRUPTED = 130

_EPILOG = """
\b
Examples:
  disco run wordcount.py book.txt          run the job of a file over a text
  disco run job.yaml                       run a manifest, as on a cluster
  disco run --help                         everything that run can do
"""


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(package_name="disco-k8s", prog_name="disco")
def cli() -> None:
    """MapReduce and multi-stage pipelines in plain Python.

    A job is a Python class with a map and a reduce, or with a pipeline of stages. Here it runs on
    this machine: a coordinator, partition services and worker processes are started for it, and
    are gone when it has ended. The same job runs on Kubernetes.
    """


cli.add_command(run)


def main() -> None:
    """Run the command line and exit: 0 success, 1 the job failed, 2 wrong use, 130 interrupted."""
    try:
        status = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        status = EXIT_INTERRUPTED
    sys.exit(status)


if __name__ == "__main__":
    main()

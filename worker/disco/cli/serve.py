"""``disco serve``: the flags, and what they mean; ``disco.cli.serving`` does the rest."""

from typing import Any

import click

from disco.cli.errors import CommandError
from disco.cli.flags import COUNT, NUMBER

DEFAULT_LISTEN = "127.0.0.1:7070"
DEFAULT_HTTP = "127.0.0.1:7073"

_EPILOG = """
\b
Examples:
  disco serve
      For you alone. The context "serve" leads to it: disco --context serve submit ...
  disco serve --workers 4 --policy fifo --max-queued 50
      Four worker processes for all jobs together; who came first gets them.
  disco serve --users /etc/disco/users --listen 0.0.0.0:7070 --http 0.0.0.0:7073 \\
      --tls-cert server.crt --tls-key server.key
      For the users in a file, who may be on other machines.

\b
A file of users has a line for each, and mode 0600:
  token,user[,group...]
Everybody sees all jobs. Who may cancel, retry or delete one is its owner, and members of the group
"admin". All code runs as the operating system's user that started the server, whoever submits it.

\b
Exit status:
  0  ended by Ctrl-C or SIGTERM    130  a second one had to end everything at once
  1  an address cannot be had      2    wrong use: flags, files
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--listen", metavar="HOST:PORT", default=DEFAULT_LISTEN, show_default=True,
    help="Where to answer gRPC.",
)  # fmt: skip
@click.option(
    "--http", metavar="HOST:PORT", default=DEFAULT_HTTP, show_default=True,
    help="Where to answer HTTP with JSON.",
)  # fmt: skip
@click.option("--no-http", is_flag=True, help="Do not answer HTTP.")
@click.option("--workers", type=COUNT, help="Worker processes of all jobs.  [one per core]")
@click.option(
    "--slots", type=COUNT, default=1, show_default=True,
    help="Tasks that a worker runs at the same time, of jobs that do not say.",
)  # fmt: skip
@click.option("--max-workers-per-job", type=COUNT, help="Worker processes of one job.  [all]")
@click.option(
    "--policy", type=click.Choice(["fair", "fifo"]), default="fair", show_default=True,
    help="Users share the workers equally, or who came first gets all.",
)  # fmt: skip
@click.option(
    "--max-queued", type=NUMBER, default=1000, show_default=True, help="Jobs that may wait."
)
@click.option(
    "--keep-finished", type=NUMBER, default=100, show_default=True,
    help="Finished jobs that are kept; older ones are deleted.",
)  # fmt: skip
@click.option(
    "--keep-results",
    type=NUMBER,
    default=20,
    show_default=True,
    help="Finished jobs whose results are kept; each takes a process of about 20 MB.",
)
@click.option("--users", metavar="FILE", help="Who may come, and with which token.  [only you]")
@click.option("--tls-cert", metavar="FILE", help="Certificate to show, PEM.")
@click.option("--tls-key", metavar="FILE", help="The private key to it, PEM.")
@click.option("--code-dir", metavar="DIR", help="Where uploaded code waits.  [a private directory]")
@click.option("--quiet", is_flag=True, help="Print errors, nothing else.")
def serve(**flags: Any) -> int:
    """Run jobs of several submissions, or users, on this machine.

    Answers the same calls as the gateway of a cluster: "disco submit", the Python client and any
    program with the .proto files can use it. Jobs wait in a queue until there are workers for them,
    which users, and each user's jobs, share equally. Nothing is kept when the server ends: running
    jobs are cancelled, and results that were not written to an output are gone.
    """
    from disco.cli.serving import ServeError, run_server

    try:
        return run_server(flags)
    except ServeError as error:
        raise CommandError(str(error), error.exit_code) from error

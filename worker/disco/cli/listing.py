"""``disco ls``: the jobs of a namespace, or of all."""

import time
from datetime import UTC, datetime, timedelta

import click

from disco.cli.connection_options import connection_options
from disco.cli.documents import form_option, print_jobs
from disco.cli.errors import EXIT_STATUS
from disco.cli.flags import DURATION
from disco.cli.server import open_server

PHASES = (
    *("pending", "planning", "running", "committing", "suspended"),
    *("succeeded", "failed", "cancelled"),
)

_EPILOG = (
    """
\b
Examples:
  disco ls
  disco ls -A --phase running --phase pending
  disco ls -l team=search --since 2h -o json
  disco cancel $(disco ls --phase running -o name)
"""
    + EXIT_STATUS
)


@click.command(epilog=_EPILOG)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option(
    "--phase",
    "phases",
    type=click.Choice(PHASES),
    multiple=True,
    metavar="PHASE",
    help=f"In this phase; may be repeated: {', '.join(PHASES)}.",
)
@click.option("-l", "--selector", default="", help="With these labels: team=a,stage in (x,y),!old.")
@click.option("--since", type=DURATION, help="Made within this time, such as 2h or 7d.")
@form_option("table", "json", "yaml", "name", default="table")
@connection_options
def ls(
    all_namespaces: bool,
    phases: tuple[str, ...],
    selector: str,
    since: float | None,
    form: str,
) -> None:
    """List jobs, newest first."""
    from disco.cli.job_table import job_rows
    from disco.v1 import coordinator_pb2

    with open_server() as client:
        found = client.list(
            all_namespaces=all_namespaces,
            phases=[coordinator_pb2.JobPhase.Value(f"JOB_PHASE_{name.upper()}") for name in phases],
            label_selector=selector,
            created_from=None if since is None else datetime.now(UTC) - timedelta(seconds=since),
        )
        jobs = sorted(found, key=lambda job: job.created.ToNanoseconds(), reverse=True)
    if form != "table":
        print_jobs(jobs, form, namespaces=all_namespaces)
    elif jobs:
        for line in job_rows(jobs, time.time(), namespaces=all_namespaces):
            click.echo(line)
    else:
        click.echo("There are no such jobs.", err=True)

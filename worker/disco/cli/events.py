"""``disco events``: what happened to a job, in order."""

import click

from disco.cli.connection_options import connection_options
from disco.cli.errors import EXIT_STATUS
from disco.cli.flags import NUMBER
from disco.cli.server import JobName, job_argument, open_server

_PRINTED = frozenset({"output", "status"})
"""Kinds that ``disco logs`` shows."""


@click.command(epilog=EXIT_STATUS, short_help="Tell what happened to a job.")
@job_argument()
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option(
    "-o", "--offset", type=NUMBER, default=0, help="Only events with greater numbers (see --json)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@connection_options
def events(job: JobName, follow: bool, offset: int, as_json: bool) -> None:
    """Tell what happened to JOB: stages, workers, failures, retries.

    The newest events are kept; what the job's code has printed is told by "disco logs".
    """
    from disco.cli.event_lines import event_line
    from disco.cli.plain_messages import json_line

    with open_server(namespace=job.namespace) as client:
        for reply in client.watch(job.name):
            for event in reply.events:
                if event.number <= offset:
                    continue
                if as_json:
                    click.echo(json_line(event))
                elif event.kind not in _PRINTED:
                    click.echo(event_line(event))
            if not follow:  # the first reply has all that has happened
                break

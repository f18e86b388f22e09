"""``disco logs``: what a job's code has printed."""

import click

from disco.cli.connection_options import connection_options
from disco.cli.errors import EXIT_STATUS
from disco.cli.flags import NUMBER
from disco.cli.server import JobName, job_argument, open_server

_EPILOG = (
    """
\b
Examples:
  disco logs wordcount-x7k2p
  disco logs wordcount-x7k2p --stage map --task 3 -f
"""
    + EXIT_STATUS
)


@click.command(epilog=_EPILOG, short_help="Print what a job's code has printed.")
@job_argument()
@click.option("--stage", default="", metavar="NAME", help="Only of this stage.")
@click.option("--task", type=NUMBER, help="Only of this task, from 0.")
@click.option("--attempt", type=NUMBER, help="Only of this attempt at it, from 1.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@connection_options
def logs(
    job: JobName, stage: str, task: int | None, attempt: int | None, follow: bool, as_json: bool
) -> None:
    """Print what the code of JOB has printed, each line with its task: "map:3 | …".

    The last 16 KiB of each attempt are kept.
    """
    from disco.cli.plain_messages import json_line
    from disco.cli.wording import event_lines

    with open_server(namespace=job.namespace) as client:
        replies = client.logs(job.name, stage=stage, task=task, attempt=attempt, follow=follow)
        for reply in replies:
            for entry in reply.entries:
                for line in [json_line(entry)] if as_json else event_lines(entry):
                    click.echo(line)

"""``disco status``: everything about one job."""

import time

import click

from disco.cli.connection_options import connection_options
from disco.cli.documents import form_option, print_job
from disco.cli.errors import EXIT_STATUS
from disco.cli.server import JobName, job_argument, open_server


@click.command(epilog=EXIT_STATUS, short_help="Tell everything about one job.")
@job_argument()
@form_option("json", "yaml", "name")
@connection_options
def status(job: JobName, form: str | None) -> None:
    """Tell how JOB stands: stages, workers, failures, results, and why it is as it is.

    JOB is a name, or NAMESPACE/NAME.
    """
    with open_server(namespace=job.namespace) as client:
        found = client.get(job.name)
    if form:
        print_job(found, form)
        return
    from disco.cli.job_view import job_view
    from disco.cli.screen import page

    console = page()
    console.print(job_view(found, time.time(), width=console.width))

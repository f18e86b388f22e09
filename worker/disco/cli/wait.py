"""``disco wait``: nothing but a job's end."""

import click

from disco.cli.connection_options import connection_options
from disco.cli.errors import EXIT_FAILED, EXIT_STATUS, EXIT_TIMEOUT, CommandError
from disco.cli.flags import DURATION
from disco.cli.server import JobName, job_argument, open_server


@click.command(epilog=EXIT_STATUS, short_help="Wait for a job's end.")
@job_argument()
@click.option(
    "--for",
    "wanted",
    type=click.Choice(["succeeded", "ended"]),
    default="succeeded",
    show_default=True,
    help="Which end is a success of this command.",
)
@click.option("--timeout", type=DURATION, help="How long to wait, such as 30m.  [for ever]")
@connection_options
def wait(job: JobName, wanted: str, timeout: float | None) -> int:
    """Wait until JOB has ended, and say how it did."""
    from disco.cli import wording
    from disco.cli.remote_progress import phase_name
    from disco.manifest.quantities import duration_text
    from disco.v1 import coordinator_pb2

    with open_server(namespace=job.namespace) as client:
        try:
            ended = client.wait(job.name, timeout_s=timeout)
        except TimeoutError as error:
            waited = duration_text(timeout or 0)
            raise CommandError(
                f"{job} has not ended within {waited}; it goes on", EXIT_TIMEOUT
            ) from error
    click.echo(f"{ended.name} {phase_name(ended.phase)}")
    if ended.phase == coordinator_pb2.JOB_PHASE_SUCCEEDED:
        return 0
    for line in wording.printable_lines(ended.message):
        click.echo(line, err=True)
    return 0 if wanted == "ended" else EXIT_FAILED

"""``disco cancel``, ``retry`` and ``delete``: something is done to each of several jobs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from disco.cli.connection_options import connection_options
from disco.cli.errors import EXIT_STATUS
from disco.cli.server import JobName, exit_status, job_argument, open_server

if TYPE_CHECKING:
    from disco.client.sync import Client


@click.command(epilog=EXIT_STATUS, short_help="Stop jobs for good.")
@job_argument(nargs=-1, required=True, metavar="JOB...")
@click.option("--reason", default="", help="Why, for whoever looks at the job later.")
@connection_options
def cancel(job: tuple[JobName, ...], reason: str) -> int:
    """Stop each JOB for good; what it has not written is lost.

    It answers at once; "disco wait --for ended JOB" tells when the last process is gone. Nothing
    happens to a job that has ended.
    """

    def act(client: "Client", name: JobName) -> str:
        from disco.cli.remote_progress import phase_name
        from disco_engine.phases import ENDED

        told = client.cancel(name.name, namespace=name.namespace, reason=reason)
        if told.phase in ENDED:
            return f"is over: {phase_name(told.phase)}"
        return "is being cancelled"

    return _each(job, act)


@click.command(epilog=EXIT_STATUS, short_help="Run what is missing of failed jobs.")
@job_argument(nargs=-1, required=True, metavar="JOB...")
@connection_options
def retry(job: tuple[JobName, ...]) -> int:
    """Run what is missing of each JOB that has failed."""

    def act(client: "Client", name: JobName) -> str:
        client.retry(name.name, namespace=name.namespace)
        return "runs again"

    return _each(job, act)


@click.command(epilog=EXIT_STATUS, short_help="Remove jobs and what they left.")
@job_argument(nargs=-1, required=True, metavar="JOB...")
@connection_options
def delete(job: tuple[JobName, ...]) -> int:
    """Remove each JOB and all that it left, its results included; not what it wrote to an output.

    A job that runs is stopped.
    """

    def act(client: "Client", name: JobName) -> str:
        client.delete(name.name, namespace=name.namespace)
        return "deleted"

    return _each(job, act)


def _each(names: tuple[JobName, ...], act: Callable[["Client", JobName], str]) -> int:
    """Do it to each, say what came of it, and return the worst exit status."""
    from disco.cli.wording import printable
    from disco.client.errors import ClientError, NotConnectedError

    status = 0
    with open_server() as client:
        for name in names:
            try:
                click.echo(f"{name}: {act(client, name)}")
            except NotConnectedError:
                raise  # nor would the others be reached
            except ClientError as error:
                click.secho(f"{name}: {printable(str(error))}", err=True, fg="red")
                status = max(status, exit_status(error))
    return status

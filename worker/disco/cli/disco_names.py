"""Commands of the Disco project's program that have other names here, or that there are none of.

``commands`` knows which are only other names; these do what nothing else does in the same way.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from disco.cli.connection_options import connection_options
from disco.cli.errors import EXIT_FAILED, EXIT_STATUS, EXIT_WRONG_USE, CommandError
from disco.cli.server import (
    JobName,
    client_errors,
    job_argument,
    job_called,
    named_server,
    open_server,
)

if TYPE_CHECKING:
    from disco.remote_master import RemoteMaster

INSTEAD = {
    "start": "disco serve runs a server on this machine, on a cluster helm install does",
    "stop": "disco serve ends with Ctrl-C or SIGTERM, on a cluster helm uninstall ends it",
    "restart": "end disco serve and start it again; on a cluster kubectl rollout restart does it",
    "nodaemon": "disco serve stays in the foreground",
    "debug": "disco serve prints what goes wrong, disco run --keep-logs keeps all logs, and on a"
    " cluster kubectl logs has them",
    "test": "make test, in the project's repository",
}
"""Commands of Disco's that control its daemon, and what does it here."""


def refusal(name: str) -> click.Command:
    """Return the command that only says what to use instead."""

    def refuse() -> None:
        raise CommandError(f'there is no "disco {name}": {INSTEAD[name]}', EXIT_WRONG_USE)

    context = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, hidden=True, context_settings=context)


@contextmanager
def _open_master(namespace: str | None = None) -> Iterator["RemoteMaster"]:
    from disco.remote_master import RemoteMaster
    from disco.servers import Server

    with client_errors():
        master = RemoteMaster(Server(named_server(namespace)))
        try:
            yield master
        finally:
            master.client.close()


@click.command(epilog=EXIT_STATUS, short_help="Print the names of jobs, newest first.")
@click.option("-S", "--status", is_flag=True, help='"active", "ready" or "dead" before the name.')
@connection_options
def jobs(status: bool) -> None:
    """Print the names of all jobs, newest first; "disco ls" tells more."""
    with _open_master() as master:
        for _, state, name in master.jobs():
            click.echo(f"{state}\t{name}" if status else name)


@click.command(epilog=EXIT_STATUS, short_help="Print what there is to know of a job, as JSON.")
@job_argument()
@connection_options
def jobdict(job: JobName) -> None:
    """Print what "Disco.jobinfo" tells of JOB; "disco status JOB -o json" tells more."""
    with _open_master(job.namespace) as master:
        click.echo(json.dumps(master.info(job.name), indent=2))


@click.command(epilog=EXIT_STATUS, short_help="Print the URLs of what a stage has written.")
@job_argument()
@click.option("-S", "--stage", default="map", show_default=True, help="Which stage.")
@connection_options
def stageresults(job: JobName, stage: str) -> None:
    """Print the URLs of what a stage of JOB has written; a server knows those of the last one."""
    with _open_master(job.namespace) as master:
        for url in master.stage_urls(job.name, stage):
            click.echo(url)


@click.command(epilog=EXIT_STATUS, short_help="Tell of the machines that run jobs.")
@connection_options
def nodeinfo() -> None:
    """Tell of the machines that run jobs: kubectl get nodes does, servers do not."""
    with _open_master() as master:
        click.echo(json.dumps(master.nodes(), indent=2))


@click.command(epilog=EXIT_STATUS, short_help="Print the URLs that others stand for.")
@click.argument("urls", nargs=-1, metavar="[URL|JOB]...")
@click.option("-r", "--resolve", is_flag=True, help="Accepted: what is printed is resolved.")
@click.option("-j", "--job-mode", is_flag=True, help="They are jobs: print the URLs of results.")
@connection_options
def deref(urls: tuple[str, ...], resolve: bool, job_mode: bool) -> None:
    """Print what each URL stands for, a line for an input, its replicas separated by tabs.

    tag:// stands for its blobs, dir:// for the files of an index, all else for itself. Without
    arguments the lines of standard input are read.
    """
    given = urls or tuple(line.strip() for line in sys.stdin if line.strip())
    if job_mode:
        given = tuple(url for name in given for url in _result_urls(job_called(name)))
    from disco.inputlists import deref as dereferenced

    with client_errors():
        for replicas in dereferenced(given, resolve=resolve):
            click.echo("\t".join(replicas))


def _result_urls(job: JobName) -> list[str]:
    with _open_master(job.namespace) as master:
        state, urls = master.status(job.name)
    if state != "ready":
        status = EXIT_WRONG_USE if state == "unknown job" else EXIT_FAILED
        raise CommandError(f"{job} has no results: it is {state}", status)
    return urls


@click.command(short_help="Print the version of this program.")
def client_version() -> None:
    """Print the version of this program; "disco version" tells more."""
    from disco.version import client_version as own_version

    click.echo(own_version())


@click.command(epilog=EXIT_STATUS, short_help="Print the version of the server.")
@connection_options
def master_version() -> None:
    """Print the version of the server; "disco version" tells more."""
    with open_server() as client:
        click.echo(client.about().version)

"""``disco submit``: a job to a server, and what is shown of it there."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from disco.cli.connection_options import connection_options, where
from disco.cli.documents import form_option, print_job
from disco.cli.errors import EXIT_STATUS, EXIT_WRONG_USE, CommandError, wrong_use
from disco.cli.job_options import (
    display_options,
    given,
    job_options,
    record_options,
    travel_options,
)
from disco.cli.server import open_server

if TYPE_CHECKING:
    from disco.cli.request import Showing
    from disco.client.sync import Client
    from disco.v1 import jobs_pb2

_EPILOG = (
    """
\b
Examples:
  disco submit wordcount.py s3://bucket/texts/ --follow
      Like "disco run", but elsewhere: shows it live, then the first results.
  disco submit wordcount.py:WordCount s3://bucket/texts/ --output s3://bucket/counts --workers 20
  job=$(disco submit wordcount.py s3://bucket/texts/) && disco wait $job && disco results $job
  disco submit etl.py s3://bucket/in/ --requirements requirements.txt --file lookup.csv
  disco submit job.yaml --param since=2024 --name clean-2024
"""
    + EXIT_STATUS
)


@click.command(epilog=_EPILOG, short_help="Send a job to a server.")
@job_options
@travel_options
@click.option(
    "--remote-paths",
    is_flag=True,
    help="Paths are those of the workers: do not look whether they are files here.",
)
@click.option(
    "--request-id",
    default="",
    metavar="ID",
    help="A second request with it finds the job of the first, and makes none.",
)
@click.option("--dry-run", is_flag=True, help="Have the server check everything, and make nothing.")
@click.option("--follow", is_flag=True, help="Show it live, then its results, as disco run does.")
@click.option("--wait", is_flag=True, help="Wait for its end; the exit status says how it ended.")
@record_options
@display_options
@form_option("json", "yaml", "name")
@connection_options
def submit(
    job: str,
    inputs: tuple[str, ...],
    remote_paths: bool,
    request_id: str,
    dry_run: bool,
    follow: bool,
    wait: bool,
    head: int | None,
    top: int | None,
    quiet: bool,
    as_json: bool,
    form: str | None,
    **flags: Any,
) -> int:
    """Send JOB over the INPUTs to a server; print its name there.

    JOB and INPUT are what "disco run" takes. The code goes along: the job's file, or the module
    beside a manifest that has no spec.code, and the modules beside it that it imports; no image is
    built. INPUTs must be where the workers can read them: s3://, http://, a volume; with
    "disco serve" on this machine, its files.
    """
    from disco.cli.request import Showing
    from disco.cli.sending import next_lines, sent_lines, warning_lines
    from disco.cli.submission import outgoing, ready

    with wrong_use():
        out = outgoing(job, inputs, given(flags))
    namespace = _one_namespace(where().namespace, out.namespace)
    showing = Showing(head=head, top=top, quiet=quiet, as_json=as_json)
    silent = quiet or as_json
    with open_server(namespace=namespace) as client:
        submission = ready(out, client.about(), paths_are_remote=remote_paths)
        _say(() if silent else sent_lines(out))
        made = client.submit(submission, request_id=request_id, dry_run=dry_run)
        again = where().again(made.name, namespace)
        if dry_run:
            _say([f"{made.name} would be submitted; nothing was made.", *warning_lines(made)])
        elif not silent:
            _say(next_lines(made, again) if not follow else warning_lines(made))
        _print(made, form, as_json=as_json, name_too=not (follow or wait or dry_run))
        if dry_run or not (follow or wait):
            return 0
        return _follow(client, made, showing, again, live=follow)


def _one_namespace(asked: str | None, of_manifest: str) -> str | None:
    """Return the namespace that is meant, as kubectl decides it."""
    if asked and of_manifest and asked != of_manifest:
        raise CommandError(
            f"the manifest says namespace {of_manifest}, the flag {asked}: leave one out",
            EXIT_WRONG_USE,
        )
    return asked or of_manifest or None


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line, err=True)


def _print(made: "jobs_pb2.Job", form: str | None, *, as_json: bool, name_too: bool) -> None:
    """Print the job on standard output, for whoever goes on with it."""
    from disco.cli.display import JsonDisplay
    from disco.cli.plain_messages import plain

    if as_json:
        JsonDisplay(sys.stdout).write("submitted", {"job": plain(made)})
    elif form:
        print_job(made, form)
    elif name_too:
        click.echo(made.name)


def _follow(
    client: "Client", made: "jobs_pb2.Job", showing: "Showing", again: str, *, live: bool
) -> int:
    """Wait for the job's end and tell it, with its results if it was shown *live*."""
    from dataclasses import replace

    from disco.cli.display import QuietDisplay, display_for
    from disco.cli.following import StoppedWatchingError, follow, tell_stopped
    from disco.cli.remote_ending import tell_end

    display = (
        display_for(quiet=showing.quiet, as_json=showing.as_json, title=made.name)
        if live
        else QuietDisplay()
    )
    try:
        ended = follow(client, made, display)
    except StoppedWatchingError as stopped:
        display.close()
        return tell_stopped(again, stopped)
    finally:
        display.close()
    if not live:
        showing = replace(showing, head=0, top=None)
    return tell_end(
        ended, showing, client.records(ended.name, namespace=ended.namespace), name=again
    )

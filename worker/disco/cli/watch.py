"""``disco watch``: a job, live, until it has ended."""

import time

import click

from disco.cli.connection_options import connection_options, where
from disco.cli.errors import EXIT_STATUS
from disco.cli.job_options import display_options
from disco.cli.server import JobName, job_argument, open_server

_PAST_EVENTS = 10


@click.command(epilog=EXIT_STATUS, short_help="Show a job live until it has ended.")
@job_argument()
@display_options
@connection_options
def watch(job: JobName, quiet: bool, as_json: bool) -> int:
    """Show JOB live until it has ended; the exit status says how it did.

    Ctrl-C stops the watching, and not the job.
    """
    from disco.cli.display import display_for
    from disco.cli.following import StoppedWatchingError, follow, tell_stopped
    from disco.cli.remote_ending import tell_end
    from disco.cli.remote_progress import age_s
    from disco.cli.request import Showing
    from disco_engine.phases import ENDED

    showing = Showing(head=0, quiet=quiet, as_json=as_json)
    again = where().again(job.name, job.namespace)
    with open_server(namespace=job.namespace) as client:
        found = client.get(job.name)
        if found.phase in ENDED:
            return tell_end(found, showing, (), name=again)
        display = display_for(
            quiet=quiet, as_json=as_json, title=found.name, age_s=age_s(found, time.time())
        )
        try:
            found = follow(client, found, display, past_events=_PAST_EVENTS)
        except StoppedWatchingError as stopped:
            display.close()
            return tell_stopped(again, stopped)
        finally:
            display.close()
    return tell_end(found, showing, (), name=again)

"""``disco oob`` and ``disco pstats``: what a job's tasks put beside their records."""

import sys

import click

from disco.cli.connection_options import connection_options
from disco.cli.errors import EXIT_STATUS, EXIT_WRONG_USE, CommandError
from disco.cli.server import JobName, job_argument, open_server

_OOB_EPILOG = (
    """
\b
Examples:
  disco oob wordcount-x7k2p
  disco oob get thresholds wordcount-x7k2p > thresholds.pickle
"""
    + EXIT_STATUS
)
_PSTATS_EPILOG = (
    """
\b
Examples:
  disco pstats wordcount-x7k2p
  disco pstats wordcount-x7k2p --stage map -k tottime -k calls
"""
    + EXIT_STATUS
)


@click.command(
    epilog=_OOB_EPILOG,
    short_help="Tell what a job's tasks put beside records.",
    options_metavar="[get KEY] [OPTIONS]",
)
@click.argument("words", nargs=-1, required=True, metavar="JOB")
@connection_options
def oob(words: tuple[str, ...]) -> None:
    """Tell the keys under which tasks of JOB that have finished put values (put(key, value)).

    With "get KEY" the bytes of one value are written, as they are.
    """
    if len(words) == 1:
        with open_server(namespace=(job := _job(words[0])).namespace) as client:
            for key in client.values(job.name, keys_only=True):
                click.echo(key)
    elif len(words) == 3 and words[0] == "get":
        with open_server(namespace=(job := _job(words[2])).namespace) as client:
            found = client.values(job.name, key=words[1])
        if words[1] not in found:
            raise CommandError(f"{job} has no value {words[1]!r}", EXIT_WRONG_USE)
        click.echo(found[words[1]], nl=False)
    else:
        raise click.UsageError('expected "JOB" or "get KEY JOB"')


@click.command(epilog=_PSTATS_EPILOG, short_help="Tell where a job's functions spend their time.")
@job_argument()
@click.option(
    "-k",
    "--sort-stats",
    "keys",
    multiple=True,
    metavar="KEY",
    help="What comes first: cumulative, tottime, calls, name, …; may be repeated.  [cumulative]",
)
@click.option("--stage", default="", metavar="NAME", help="Only of stages that begin like this.")
@connection_options
def pstats(job: JobName, keys: tuple[str, ...], stage: str) -> None:
    """Print the statistics of JOB, which was run with "profile=True" or --profile.

    They are those of all tasks that were measured, and have the job's own functions and what those
    call; all that the framework did is one line.
    """
    from disco import profiling

    with open_server(namespace=job.namespace) as client:
        profiles = client.values(job.name, prefix=profiling.prefix_of(stage))
    if not profiles:
        raise CommandError(
            f"{job} has no profile{' of that stage' * bool(stage)}: it is one of a job that was run"
            " with profile=True, or --profile",
            EXIT_WRONG_USE,
        )
    stats = profiling.merged(profiles.values(), sys.stdout)
    try:
        stats.sort_stats(*(keys or ("cumulative",))).print_stats()
    except KeyError as error:
        raise CommandError(f"-k {error}: no such order", EXIT_WRONG_USE) from error


def _job(text: str) -> JobName:
    namespace, slash, name = text.rpartition("/")
    if not name or (slash and not namespace):
        raise click.UsageError(f'expected the name of a job, found "{text}"')
    return JobName(namespace or None, name)

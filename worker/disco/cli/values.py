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


class _ListUnlessTold(click.Group):
    """Takes ``disco oob JOB`` for ``disco oob list JOB``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find out which command is meant."""
        named = not args or args[0] in self.commands or args[0] in ctx.help_option_names
        return super().parse_args(ctx, args if named else ["list", *args])


@click.group(
    cls=_ListUnlessTold,
    epilog=_OOB_EPILOG,
    short_help="Tell what a job's tasks put beside records.",
)
def oob() -> None:
    """Tell what tasks of a job that have finished put beside their records: put(key, value).

    "disco oob JOB" is short for "disco oob list JOB".
    """


@oob.command("list", epilog=EXIT_STATUS, short_help="Tell the keys.")
@job_argument()
@connection_options
def keys_of(job: JobName) -> None:
    """Tell the keys of JOB's values, ascending."""
    with open_server(namespace=job.namespace) as client:
        for key in client.values(job.name, keys_only=True):
            click.echo(key)


@oob.command("get", epilog=EXIT_STATUS, short_help="Write a value.")
@click.argument("key")
@job_argument()
@connection_options
def value_of(key: str, job: JobName) -> None:
    """Write what is kept under KEY of JOB, as it is."""
    with open_server(namespace=job.namespace) as client:
        found = client.values(job.name, key=key)
    if key not in found:
        raise CommandError(f"{job} has no value {key!r}", EXIT_WRONG_USE)
    click.echo(found[key], nl=False)


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

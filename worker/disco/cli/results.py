"""``disco results``: the records of a job that has succeeded, on the screen or in files."""

import click

from disco.cli.connection_options import connection_options, where
from disco.cli.errors import EXIT_STATUS, EXIT_WRONG_USE, CommandError
from disco.cli.flags import NUMBER
from disco.cli.job_options import FORMATS, FORMATS_TEXT, record_options
from disco.cli.server import JobName, job_argument, open_server

_EPILOG = (
    """
\b
Examples:
  disco results wordcount-x7k2p --top 10
  disco results wordcount-x7k2p --output counts.csv
  disco results wordcount-x7k2p --output counts --format parquet
      A file per part in the new directory "counts".
  disco results wordcount-x7k2p --head all --format jsonl | jq .key
"""
    + EXIT_STATUS
)


@click.command(epilog=_EPILOG, short_help="Print or save a job's records.")
@job_argument()
@record_options
@click.option(
    "--output",
    type=click.Path(),
    metavar="PATH",
    help="Save them: in one file, if its name ends like one of a format; else in this new"
    " directory, a file per part.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help=f"Of files, or of what is printed: {FORMATS_TEXT}.",
)
@click.option("--part", type=NUMBER, help="Only this part, from 0.")
@click.option(
    "--trust",
    is_flag=True,
    help="Read pickled records of a job that somebody else has submitted: they can run any code"
    " here.",
)
@click.option("--quiet", is_flag=True, help="Print results and errors, nothing else.")
@connection_options
def results(
    job: JobName,
    head: int | None,
    top: int | None,
    output: str | None,
    form: str | None,
    part: int | None,
    trust: bool,
    quiet: bool,
) -> None:
    """Print the records of JOB, or save them in files."""
    from disco.cli.reading_results import Reader

    if output == "":
        raise CommandError("--output is empty: expected a file or directory", EXIT_WRONG_USE)
    with open_server(namespace=job.namespace) as client:
        reader = Reader(client, client.get(job.name), part=part, trust=trust)
        if output is not None:
            told = reader.save(output, form)
        elif form is not None:
            told = reader.print_as(form, head=head, top=top)
        else:
            told = reader.print_lines(
                head=head, top=top, name=where().again(job.name, job.namespace)
            )
    if not quiet:
        click.echo(told, err=True)

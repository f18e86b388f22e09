"""``disco run``: a job on this machine; ``disco.cli.execution`` does it.

Nothing slow is imported here, so that ``--help`` answers at once.
"""

from typing import Any

import click

from disco.cli.disco_flags import disco_flags, translated
from disco.cli.errors import wrong_use
from disco.cli.job_options import display_options, given, job_options, record_options

_EPILOG = """
\b
Examples:
  disco run wordcount.py books/*.txt
      The only job of the file; its results are printed, the first 20 of them.
  disco run wordcount.py:WordCount s3://bucket/logs/ --output counts --format csv
      One file per partition in the new directory "counts".
  disco run wordcount.py book.txt --top 10
      The ten results with the largest values.
  disco run jobs.etl:Clean data.jsonl --param since=2024 --param fields='["a","b"]'
      A job in an installed module; params are JSON, or else text.
  disco run job.yaml --workers 4
      A DiscoJob manifest; flags take precedence over what it says.

\b
Exit status:
  0  the job succeeded            2    wrong use: flags, manifest or job file
  1  the job failed               130  interrupted by Ctrl-C (a second one ends everything at once)
"""


@click.command(epilog=_EPILOG)
@job_options
@record_options
@display_options
@disco_flags
@click.option("--keep-logs", is_flag=True, help="Keep the logs of all processes, and say where.")
def run(
    job: str,
    inputs: tuple[str, ...],
    head: int | None,
    top: int | None,
    quiet: bool,
    as_json: bool,
    keep_logs: bool,
    **flags: Any,
) -> int:
    """Run JOB over the INPUTs on this machine.

    JOB is a file and, if the file has several jobs, a name in it (wordcount.py:WordCount); or a
    module and a name (package.jobs:WordCount, or package.jobs.WordCount); or a DiscoJob manifest
    (job.yaml), the very one that kubectl apply takes.

    INPUT is a path, a glob in quotes, a directory, or a URL (http://, s3://, …, raw://text).
    gzip, bzip2, xz and zstd are read as they are. Without any, the job's own or the manifest's
    inputs are read.
    """
    from disco.cli.execution import execute
    from disco.cli.request import Showing, request_from

    showing = Showing(
        head=head, top=top, quiet=quiet, as_json=as_json, profile=bool(flags.get("profile"))
    )
    with wrong_use():
        asked = translated(given(flags))
        return execute(request_from(job, inputs, asked), showing, keep_logs=keep_logs)

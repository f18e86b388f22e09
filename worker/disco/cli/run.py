"""``disco run``: the flags, and what they mean; ``disco.cli.execution`` does the rest.

Nothing slow is imported here, so that ``--help`` answers at once.
"""

import json
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from disco.manifest.quantities import DURATION_EXPECTED, SIZE_EXPECTED, duration_s, size_bytes

FORMATS = ("text", "jsonl", "csv", "parquet", "pickle")
DEFAULT_HEAD = 20
_FORMATS = "text (default), jsonl, csv, parquet or pickle"

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


class _Parsed(click.ParamType[Any]):
    """A flag's value that a function parses."""

    def __init__(self, name: str, parse: Callable[[str], Any], expected: str) -> None:
        self.name = name
        self._parse = parse
        self._expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value, or say what was expected and what was found."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError:
            self.fail(f"expected {self._expected}, found {json.dumps(value)}", param, ctx)


def _param(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError("not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _count(text: str) -> int:
    if int(text) < 1:
        raise ValueError("less than 1")
    return int(text)


def _head(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal():
        raise ValueError("not a number")
    return int(text)


_SIZE = _Parsed("size", size_bytes, SIZE_EXPECTED)
_DURATION = _Parsed("duration", duration_s, DURATION_EXPECTED)
_PARAM = _Parsed("name=value", _param, "NAME=VALUE")
_HEAD = _Parsed("n|all", _head, "a number or all")
_COUNT = _Parsed("n", _count, "an integer of at least 1")


class _WrongUse(click.ClickException):
    """Like click's UsageError, without the usage: flags are not what is wrong."""

    exit_code = 2


@click.command(epilog=_EPILOG)
@click.argument("job")
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("--param", "params", type=_PARAM, multiple=True, help="Set one of the job's params.")
@click.option("--name", help="Name of the job, for people.")
@click.option("--partitions", type=_COUNT, help="Partitions of a classic job's map output.")
@click.option("--output", metavar="URL", help="Write the results to files in this new directory.")
@click.option(
    "--format", type=click.Choice(FORMATS), metavar="FORMAT", help=f"Of those files: {_FORMATS}."
)
@click.option("--workers", type=_COUNT, help="Worker processes.  [one per core]")
@click.option("--slots", type=_COUNT, help="Tasks that a worker runs at the same time.  [1]")
@click.option("--partition-services", type=_COUNT, help="Processes that keep outputs.  [1]")
@click.option("--memory", type=_SIZE, help="Memory of one slot, such as 512Mi.  [no limit]")
@click.option("--sort-memory", type=_SIZE, help="Records sorted in memory, per slot.  [128Mi]")
@click.option("--split-size", type=_SIZE, help="Input text per task.  [32Mi]")
@click.option(
    "--task-timeout", type=_DURATION, help="Time of one attempt, such as 10m.  [no limit]"
)
@click.option("--deadline", type=_DURATION, help="Time of the whole job.  [no limit]")
@click.option("--max-attempts", type=_COUNT, help="Attempts of a task that may fail.  [4]")
@click.option(
    "--head", type=_HEAD, metavar="N|all", default=str(DEFAULT_HEAD), show_default=True,
    help="How many results to print when there is no output: a number, or all.",
)  # fmt: skip
@click.option("--top", type=_COUNT, help="Print the results with the largest values instead.")
@click.option("--quiet", is_flag=True, help="Print results and errors, nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option("--keep-logs", is_flag=True, help="Keep the logs of all processes, and say where.")
def run(job: str, inputs: tuple[str, ...], **flags: Any) -> int:
    """Run JOB over the INPUTs on this machine.

    JOB is a file and, if the file has several jobs, a name in it (wordcount.py:WordCount); or a
    module and a name (package.jobs:WordCount); or a DiscoJob manifest (job.yaml), the very one
    that kubectl apply takes.

    INPUT is a path, a glob in quotes, a directory, or a URL (http://, s3://, …, raw://text).
    gzip, bzip2, xz and zstd are read as they are. Without any, the job's own or the manifest's
    inputs are read.
    """
    from disco.cli.execution import execute
    from disco.cli.request import WrongUseError, request_from

    context = click.get_current_context()
    given = {
        name: value
        for name, value in flags.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    try:
        return execute(request_from(job, inputs, given))
    except WrongUseError as error:
        raise _WrongUse(str(error)) from error

"""The flags that say which job, how it runs and what is shown: the same wherever a job is run.

Nothing slow is imported here, so that ``--help`` answers at once.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from disco.cli.flags import COUNT, DURATION, HEAD, LABEL, PARAM, SIZE

FORMATS = ("text", "jsonl", "csv", "parquet", "pickle")
FORMATS_TEXT = "text (default), jsonl, csv, parquet or pickle"
DEFAULT_HEAD = 20

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]

_JOB = (
    click.argument("job"),
    click.argument("inputs", nargs=-1, metavar="[INPUT]..."),
    click.option(
        "--param", "params", type=PARAM, multiple=True, help="Set one of the job's params."
    ),
    click.option("--name", help="Name of the job."),
    click.option("--partitions", type=COUNT, help="Partitions of a classic job's map output."),
    click.option(
        "--output", metavar="URL", help="Write the results to files in this new directory."
    ),
    click.option(
        "--format",
        type=click.Choice(FORMATS),
        metavar="FORMAT",
        help=f"Of those files: {FORMATS_TEXT}.",
    ),
    click.option("--workers", type=COUNT, help="Worker processes, or pods.  [one per core, or 2]"),
    click.option("--slots", type=COUNT, help="Tasks that a worker runs at the same time.  [1]"),
    click.option("--partition-services", type=COUNT, help="Processes that keep outputs.  [1]"),
    click.option("--memory", type=SIZE, help="Memory of one slot, such as 512Mi.  [no limit]"),
    click.option("--sort-memory", type=SIZE, help="Records sorted in memory, per slot.  [128Mi]"),
    click.option("--split-size", type=SIZE, help="Input text per task.  [32Mi]"),
    click.option(
        "--task-timeout", type=DURATION, help="Time of one attempt, such as 10m.  [no limit]"
    ),
    click.option("--deadline", type=DURATION, help="Time of the whole job.  [no limit]"),
    click.option(
        "--profile", is_flag=True, help="Measure where the job's functions spend their time."
    ),
    click.option("--max-attempts", type=COUNT, help="Attempts of a task that may fail.  [4]"),
    click.option(
        "--file", "required_files", metavar="PATH", multiple=True,
        help="A file that travels with the job, to lib/ beside its code; may be repeated.",
    ),
    click.option(
        "--module", "required_modules", metavar="NAME", multiple=True,
        help="A module that travels although nothing imports it by name; may be repeated.",
    ),
)  # fmt: skip

_TRAVEL = (
    click.option(
        "--label", "labels", type=LABEL, multiple=True, help="Of the job; may be repeated."
    ),
    click.option(
        "--requirement", "requirements", metavar="TEXT", multiple=True,
        help="A package that pip installs for the job, such as numpy>=2; may be repeated.",
    ),
    click.option(
        "--requirements", "requirements_file", type=click.Path(), metavar="FILE",
        help="A requirements.txt with such packages.",
    ),
    click.option(
        "--allow-secret", "allow_secrets", metavar="NAME", multiple=True,
        help="Send a file of this name although it looks like a secret; may be repeated.",
    ),
)  # fmt: skip

_RECORDS = (
    click.option(
        "--head", type=HEAD, metavar="N|all", default=str(DEFAULT_HEAD), show_default=True,
        help="How many results to print when there is no output: a number, or all.",
    ),
    click.option("--top", type=COUNT, help="Print the results with the largest values instead."),
)  # fmt: skip

_DISPLAY = (
    click.option("--quiet", is_flag=True, help="Print results and errors, nothing else."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line."),
)


def together(*decorators: Any) -> Decorator[Any]:
    """Return the decorator that applies all of these, so that help shows them in this order."""

    def decorate(function: Any) -> Any:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


job_options: Decorator[Any] = together(*_JOB)
"""JOB, the INPUTs, and how it runs."""

TRAVEL_FLAGS = frozenset({"labels", "requirements", "requirements_file", "allow_secrets"})
"""Names of the flags of ``travel_options``."""

travel_options: Decorator[Any] = together(*_TRAVEL)
"""What a job that goes elsewhere is given."""

record_options: Decorator[Any] = together(*_RECORDS)
"""Which results are printed."""

display_options: Decorator[Any] = together(*_DISPLAY)
"""How much is shown while the job runs, and for whom."""


def given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return those flags of the command that runs which the user gave, by name."""
    context = click.get_current_context()
    return {
        name: value
        for name, value in flags.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }

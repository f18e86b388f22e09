"""Flags that the ``disco run`` of the Disco project has, beside those of ours that do the same."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from disco.cli.job_options import Decorator, together

scheduler_flag: Decorator[Any] = click.option(
    "-S",
    "--scheduler",
    nargs=2,
    multiple=True,
    metavar="KEY VALUE",
    help="A parameter of the scheduler, such as max_cores 4; may be repeated.",
)

disco_flags: Decorator[Any] = together(
    click.option("-n", "short_name", metavar="TEXT", help="As --name."),
    click.option(
        "-P",
        "pairs",
        nargs=2,
        multiple=True,
        metavar="NAME VALUE",
        help="As --param, but the value is a Python literal, module.name, or else text.",
    ),
    click.option("-m", "--map", metavar="MODULE.NAME", help="The job's map function."),
    click.option("-r", "--reduce", metavar="MODULE.NAME", help="The job's reduce function."),
    click.option("--save", is_flag=True, help="Keep the results in DDFS, under a tag."),
    scheduler_flag,
)


def translated(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return *flags* as ``disco.cli.request`` takes them."""
    from disco.functions import reify

    found = dict(flags)
    if not found.keys() & {"short_name", "pairs", "map", "reduce", "save", "scheduler"}:
        return found
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # where the job is looked for, too
    if "short_name" in found:
        found.setdefault("name", found.pop("short_name"))
    if "pairs" in found:
        pairs = tuple((name, reify(value)) for name, value in found.pop("pairs"))
        found["params"] = (*found.get("params", ()), *pairs)
    for name in found.keys() & {"map", "reduce"}:
        found[name] = reify(found[name])
    if "save" in found:
        found["save_results"] = found.pop("save")
    if "scheduler" in found:
        found["scheduler"] = {key: reify(value) for key, value in found["scheduler"]}
    return found

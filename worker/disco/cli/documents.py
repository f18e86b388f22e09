"""Objects as documents: what ``-o json``, ``-o yaml`` and ``-o name`` print."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from disco.cli.job_options import Decorator

if TYPE_CHECKING:
    from disco.v1 import jobs_pb2


def form_option(*forms: str, default: str = "") -> Decorator[Any]:
    """Return ``-o``, with these forms; without a default the command prints for people."""
    return click.option(
        "-o", "form", type=click.Choice(forms), default=default or None, metavar="|".join(forms),
        help="What to print.",
    )  # fmt: skip


def document(value: Any, form: str) -> str:
    """Return *value* as JSON or YAML, without a newline at the end."""
    if form == "json":
        return json.dumps(value, ensure_ascii=False, indent=2, default=str)
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines, such as code, as blocks that people can read."""

    def text_node(dumper: Dumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
        )

    Dumper.add_representer(str, text_node)
    written: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)
    return written.rstrip("\n")


def print_job(job: "jobs_pb2.Job", form: str) -> None:
    """Print one job in one of the forms."""
    from disco.cli.plain_messages import plain

    click.echo(job.name if form == "name" else document(plain(job), form))


def print_jobs(jobs: Sequence["jobs_pb2.Job"], form: str, *, namespaces: bool) -> None:
    """Print several jobs in one of the forms; names are what other commands take as JOB."""
    from disco.cli.plain_messages import plain

    if form == "name":
        for job in jobs:
            click.echo(f"{job.namespace}/{job.name}" if namespaces else job.name)
        return
    click.echo(document({"jobs": [plain(job) for job in jobs]}, form))

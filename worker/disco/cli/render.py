"""``disco render``: the manifest of a job, for ``kubectl apply``; nothing is sent."""

from typing import TYPE_CHECKING, Any

import click

from disco.cli.documents import document, form_option
from disco.cli.errors import wrong_use
from disco.cli.job_options import given, job_options, travel_options

if TYPE_CHECKING:
    from disco.client.submitting import Submission

_EPILOG = """
\b
Examples:
  disco render wordcount.py s3://bucket/texts/ --workers 20 > job.yaml
  disco render wordcount.py s3://bucket/texts/ | kubectl apply -f -

\b
Exit status:
  0  done      2  wrong use: flags, manifest or job file
"""


@click.command(epilog=_EPILOG, short_help="Print the manifest of a job, for kubectl.")
@job_options
@travel_options
@click.option("-n", "--namespace", default="", metavar="NAME", help="Namespace of the objects.")
@form_option("yaml", "json", default="yaml")
def render(job: str, inputs: tuple[str, ...], namespace: str, form: str, **flags: Any) -> None:
    """Print the DiscoJob that JOB over the INPUTs is on a cluster; no server is needed.

    If the job's code is a few files without directories, a ConfigMap with them comes first, and
    "kubectl apply" runs the job. Otherwise what is missing is told, on standard error and in a
    comment.
    """
    from disco.cli.connection_options import where
    from disco.cli.manifest_documents import rendered
    from disco.cli.submission import outgoing

    with wrong_use():
        out = outgoing(job, inputs, given(flags))
    place = namespace or where().namespace or out.namespace
    objects, missing = rendered(out.submission, namespace=place)
    for line in (*_unreadable(out.submission), *out.notes):
        click.echo(line, err=True)
    comment = [f"The code is not in here: {reason}." for reason in missing]
    if missing:
        comment.append("disco submit sends it; or put it in the image, or set spec.code.archive.")
        for line in comment:
            click.echo(line, err=True)
    if form == "json":
        whole = {"apiVersion": "v1", "kind": "List", "items": objects}
        click.echo(document(objects[0] if len(objects) == 1 else whole, "json"))
        return
    for line in comment:
        click.echo(f"# {line}")
    click.echo("\n---\n".join(document(item, "yaml") for item in objects))


def _unreadable(submission: "Submission") -> list[str]:
    """Return what the pods of a cluster could not read."""
    from disco.client.errors import CannotTravelError
    from disco.client.submitting import fitted
    from disco.v1 import jobs_pb2

    anywhere = jobs_pb2.AboutReply(
        kind="kubernetes", python=submission.pickled_by, max_code_bytes=2**62
    )
    try:
        fitted(submission, anywhere)
    except CannotTravelError as error:
        return [f"Warning: {error}"]
    return []

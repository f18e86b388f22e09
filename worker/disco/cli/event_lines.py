"""An event of a job as a line, for ``disco events``."""

import click

from disco.cli import wording
from disco.v1 import coordinator_pb2


def event_line(event: coordinator_pb2.JobEvent) -> str:
    """Return when it was, of which kind, and what the server says of it."""
    colour = "yellow" if event.kind in wording.WARNINGS else None
    kind = click.style(f"{wording.printable(event.kind):<16}", fg=colour)
    text = event.text or event.stage_name
    if event.stage_name and event.stage_name not in text:
        text = f"{event.stage_name}: {text}"
    return f"{wording.local_time(event.time_s)}  {kind}  {wording.printable(text)}"

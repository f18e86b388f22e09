"""Shows a job of a server until it has ended, or until somebody has seen enough."""

import queue
import signal
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from disco.cli.display import Display
from disco.cli.interrupts import Interrupts
from disco.cli.remote_progress import progress_of
from disco.cli.wording import printable
from disco.v1 import coordinator_pb2, jobs_pb2

if TYPE_CHECKING:
    from disco.client.sync import Client

_TICK_S = 1.0

_Item = jobs_pb2.WatchJobReply | str | signal.Signals | Exception | None


class StoppedWatchingError(Exception):
    """A signal has ended the watching, and not the job.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number


def follow(
    client: "Client", job: jobs_pb2.Job, display: Display, *, past_events: int | None = None
) -> jobs_pb2.Job:
    """Show the job until it has ended, and return it as it is then.

    Args:
        client: Of the server that has it.
        job: As it was told last.
        display: Where to show it; not closed.
        past_events: How many of the events before now to show; None: all that are kept.

    Raises:
        StoppedWatchingError: Ctrl-C, SIGTERM or a closed terminal came first.
        ClientError: The server could not tell it.
    """
    items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    replies = client.watch(job.name, namespace=job.namespace, on_silence=items.put)
    with Interrupts(items):
        threading.Thread(
            target=_pump, args=(replies, items), name="pump-watch", daemon=True
        ).start()
        while True:
            try:
                item = items.get(timeout=_TICK_S)
            except queue.Empty:
                display.tick()
                continue
            match item:
                case jobs_pb2.WatchJobReply():
                    job = item.job
                    events = item.events if past_events is None else item.events[-past_events:]
                    past_events = None
                    display.show(
                        coordinator_pb2.WatchReply(
                            progress=progress_of(job, time.time()), events=events
                        )
                    )
                case str():
                    display.lose(printable(item))
                case signal.Signals():
                    raise StoppedWatchingError(item)
                case Exception():
                    raise item
                case _:
                    return job


def _pump(replies: Iterator[jobs_pb2.WatchJobReply], items: "queue.SimpleQueue[_Item]") -> None:
    """Make items of what the server tells; None is the last."""
    try:
        for reply in replies:
            items.put(reply)
    except Exception as error:
        items.put(error)
    else:
        items.put(None)


def tell_stopped(name: str, stopped: StoppedWatchingError) -> int:
    """Say that the job goes on, and what can be done with it; return the exit status.

    Args:
        name: The job, with the flags that find it again.
        stopped: What ended the watching.
    """
    click.echo(
        f"{stopped.number.name}: stopped watching; the job goes on.\n"
        f"  to watch it again:  disco watch {name}\n"
        f"  to stop it:         disco cancel {name}",
        err=True,
    )
    return 128 + stopped.number

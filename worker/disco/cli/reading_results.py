"""Reads the records of one job from its server, and writes them where they are wanted."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from disco.cli import wording
from disco.cli.ending import whereabouts
from disco.cli.errors import EXIT_FAILED, EXIT_WRONG_USE, CommandError
from disco.cli.record_lines import print_records, selected
from disco.cli.remote_ending import advice_on
from disco.cli.remote_progress import phase_name
from disco.cli.saving import format_by_name, print_encoded, save_directory, save_file
from disco.v1 import jobs_pb2

if TYPE_CHECKING:
    from disco.client.sync import Client

_BINARY = frozenset({"parquet", "pickle"})


class Reader:
    """The results of one job.

    Args:
        client: Of the server that has them.
        job: The job.
        part: Only this part; None: all.
        trust: Read pickles, whoever wrote them.

    Raises:
        CommandError: The job has no results, or no such part.
    """

    def __init__(
        self, client: "Client", job: jobs_pb2.Job, *, part: int | None, trust: bool
    ) -> None:
        if not job.HasField("results"):
            raise CommandError(
                f"{job.name} has no results: it is {phase_name(job.phase)}, and they are there once"
                " a job has succeeded",
                EXIT_FAILED,
            )
        if part is not None and part >= job.results.parts:
            parts = wording.plural(job.results.parts, "part")
            raise CommandError(
                f"{job.name} has no part {part}: it has {parts}, counted from 0", EXIT_WRONG_USE
            )
        self._client = client
        self._job = job
        self._part = part
        self._trust = trust

    def print_lines(self, *, head: int | None, top: int | None, name: str) -> str:
        """Print lines for people; return what to say then.

        Args:
            head: How many at most; None: all.
            top: Those with the largest values instead.
            name: The job, with the flags that find it again.
        """
        shown = print_records(selected(self._all(), head=head, top=top))
        total = self._job.results.records
        if self._part is not None:
            return f"Shown: {wording.plural(shown, 'record')} of part {self._part}."
        return whereabouts(shown, total, advice_on(self._job, name)) if total else "No records."

    def print_as(self, form: str, *, head: int | None, top: int | None) -> str:
        """Print records in a format; return what to say then."""
        if form in _BINARY and sys.stdout.isatty():
            raise CommandError(
                f"--format {form} is not for terminals: give --output, or redirect", EXIT_WRONG_USE
            )
        records = selected(self._all(), head=head, top=top)
        shown = print_encoded(sys.stdout.buffer, form, records)
        return f"Shown: {shown} of {wording.plural(self._job.results.records, 'record')}."

    def save(self, path: str, form: str | None) -> str:
        """Write all records to a file or a directory; return what to say then."""
        by_name = format_by_name(path)
        if by_name is not None:
            count = save_file(path, form or by_name, self._all())
            return f"{wording.plural(count, 'record')} written to {path}, as {form or by_name}."
        form = form or "text"
        parts = self._parts()
        count = save_directory(path, form, parts)
        return f"{wording.plural(count, 'record')} written to the directory {path}, as {form}."

    def _parts(self) -> Iterator[Iterator[tuple[Any, Any]]]:
        """Yield the records of each part, one part after the other."""
        parts = self._job.results.parts
        if self._part is not None or not parts:
            yield self._all()
            return
        for number in range(parts):
            yield self._read(number, 1)

    def _all(self) -> Iterator[tuple[Any, Any]]:
        return self._read(self._part or 0, 0 if self._part is None else 1)

    def _read(self, first: int, count: int) -> Iterator[tuple[Any, Any]]:
        return self._client.records(
            self._job.name,
            namespace=self._job.namespace,
            first_part=first,
            parts=count,
            trust=self._trust,
        )

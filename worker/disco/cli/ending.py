"""The last words of a run: its results, where they are, how long it took; or why it failed."""

import heapq
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from disco.cli import wording
from disco.cli.display import JsonDisplay
from disco.cli.plain_messages import plain
from disco.cli.request import RunRequest
from disco.manifest.quantities import count_text, duration_text
from disco.v1 import coordinator_pb2, job_pb2

_SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
_CANCELLED = coordinator_pb2.JOB_PHASE_CANCELLED


class Ending:
    """Tells how a job ended, on the streams that fit: results on stdout, all else on stderr.

    Args:
        request: What the user asked for.
        spec: The job as it was run.
    """

    def __init__(self, request: RunRequest, spec: job_pb2.JobSpec) -> None:
        self._request = request
        self._spec = spec
        self._began = time.monotonic()

    def tell(
        self, progress: coordinator_pb2.JobProgress, records: Iterable[tuple[Any, Any]]
    ) -> int:
        """Tell how the job ended and return the exit status.

        Args:
            progress: The job's last.
            records: Its results; read only if the job succeeded without an output.
        """
        succeeded = progress.phase == _SUCCEEDED
        shown: list[tuple[Any, Any]] = []
        if succeeded and not self._spec.HasField("output"):
            shown = self._selected(records)
        if self._request.as_json:
            self._write_json(progress, shown)
        elif succeeded:
            self._say_success(progress, shown)
        else:
            self._say_failure(progress)
        return 0 if succeeded else 1

    def broken(self, what: str) -> int:
        """Tell what the engine could not do ("cannot go on: …"); return the exit status."""
        message = f"the local engine {what}"
        if self._request.as_json:
            self._write("failed", message)
        else:
            _say(f"Error: {message}", fg="red")
        return 1

    def killed(self) -> int:
        """Tell that everything was ended at once; return the exit status."""
        message = "everything was ended at once; partial output may be left"
        if self._request.as_json:
            self._write("cancelled", message)
        else:
            _say(message)
        return 1

    def logs_are_in(self, directory: Path) -> None:
        """Tell where the processes' logs were kept."""
        if self._request.as_json:
            JsonDisplay(sys.stdout).write("logs", {"directory": str(directory / "logs")})
        else:
            _say(f"The logs of all processes are in {directory / 'logs'}")

    def _write(self, outcome: str, message: str, **more: Any) -> None:
        fields = {"outcome": outcome, "message": message, **more}
        JsonDisplay(sys.stdout).write("result", fields)

    def _selected(self, records: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
        """Return the records to print."""
        if self._request.top is not None:
            try:
                return heapq.nlargest(self._request.top, records, key=lambda pair: pair[1])
            except TypeError as error:
                _say(
                    f"--top: these values have no order ({error}); here are the first", fg="yellow"
                )
                return list(islice(records, self._request.top))
        return list(islice(records, self._request.head))

    def _say_success(
        self, progress: coordinator_pb2.JobProgress, shown: list[tuple[Any, Any]]
    ) -> None:
        for key, value in shown:
            click.echo(_line(key, value))
        if self._request.quiet:
            return
        stages = progress.stages
        records_in = stages[0].records_in if stages else 0
        total = sum(part.totals.records for part in progress.results)
        _say(
            f"{self._spec.name} succeeded in {self._took()}:"
            f" {wording.plural(records_in, 'record')} read,"
            f" {wording.plural(total or _written(progress), 'result')}.",
            fg="green",
        )
        for line in self._whereabouts(total, len(shown)):
            _say(line)

    def _whereabouts(self, total: int, shown: int) -> Iterator[str]:
        """Yield where the results are, and how to see those that were not printed."""
        if self._spec.HasField("output"):
            yield f"They are in {self._spec.output.url}, as {self._spec.output.format}."
        elif shown < total:
            yield (
                f"Shown: {count_text(shown)} of {count_text(total)}."
                " To see all: --head all. To keep them: --output DIRECTORY."
            )
        elif total:
            yield "All are shown. To keep them: --output DIRECTORY."

    def _say_failure(self, progress: coordinator_pb2.JobProgress) -> None:
        how = "was cancelled" if progress.phase == _CANCELLED else "failed"
        _say(f"Error: {self._spec.name} {how} after {self._took()}", fg="red")
        lines = (
            [progress.message] if progress.phase == _CANCELLED else wording.failure_lines(progress)
        )
        for line in lines:
            _say(line)

    def _write_json(
        self, progress: coordinator_pb2.JobProgress, shown: list[tuple[Any, Any]]
    ) -> None:
        told = plain(progress)
        failed = told["phase"] == "failed"
        failure = wording.decisive_failure(progress) if failed else None
        output = self._spec.output
        self._write(
            told["phase"],
            told["message"],
            seconds=round(time.monotonic() - self._began, 3),
            stages=told["stages"],
            output=plain(output) if self._spec.HasField("output") else None,
            results_total=sum(part.totals.records for part in progress.results),
            results=[{"key": _json(key), "value": _json(value)} for key, value in shown],
            failure=None if failure is None else plain(failure),
        )

    def _took(self) -> str:
        return duration_text(time.monotonic() - self._began)


def _written(progress: coordinator_pb2.JobProgress) -> int:
    return progress.stages[-1].records_out if progress.stages else 0


def _say(text: str, fg: str | None = None) -> None:
    click.secho(text, err=True, fg=fg)


def _line(key: Any, value: Any) -> str:
    """Return a record as the text format writes it, but always on one line."""
    return _cell(key) if value is None else f"{_cell(key)}\t{_cell(value)}"


def _cell(value: Any) -> str:
    text = value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _json(value: Any) -> Any:
    """Return *value* if JSON has it; bytes as text, anything else as its ``repr``."""
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else repr(value)

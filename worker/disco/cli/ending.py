"""The last words of a run: its results, where they are, how long it took; or why it failed."""

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from disco.cli import wording
from disco.cli.display import JsonDisplay
from disco.cli.plain_messages import plain
from disco.cli.record_lines import json_value, print_records, selected
from disco.cli.request import Showing
from disco.manifest.quantities import count_text, duration_text
from disco.v1 import coordinator_pb2, job_pb2

_SUCCEEDED = coordinator_pb2.JOB_PHASE_SUCCEEDED
_CANCELLED = coordinator_pb2.JOB_PHASE_CANCELLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to type next.

    Attributes:
        look: To see some results; empty: what shows them is running.
        see: To see all results.
        keep: To have them in files.
        failed: Lines for whoever has a job that failed.
    """

    look: str = ""
    see: str = "--head all"
    keep: str = "--output DIRECTORY"
    failed: tuple[str, ...] = ()


class Ending:
    """Tells how a job ended, on the streams that fit: results on stdout, all else on stderr.

    Args:
        name: The job's.
        showing: What the user asked for.
        advice: What to type next.
    """

    def __init__(self, name: str, showing: Showing, advice: Advice | None = None) -> None:
        self._name = name
        self._showing = showing
        self._advice = advice or Advice()
        self._began = time.monotonic()

    def tell(
        self,
        progress: coordinator_pb2.JobProgress,
        records: Iterable[tuple[Any, Any]],
        *,
        output: job_pb2.Output | None,
        took_s: float | None = None,
    ) -> int:
        """Tell how the job ended and return the exit status.

        Args:
            progress: The job's last.
            records: Its results; read only if the job succeeded without an output.
            output: Where they were written; None: nowhere.
            took_s: How long it ran; None: since this object was made.
        """
        succeeded = progress.phase == _SUCCEEDED
        took = time.monotonic() - self._began if took_s is None else took_s
        shown: Iterator[tuple[Any, Any]] = iter(())
        if succeeded and output is None:
            shown = selected(records, head=self._showing.head, top=self._showing.top)
        if self._showing.as_json:
            self._write_json(progress, list(shown), output, took)
        elif succeeded:
            self._say_success(progress, shown, output, took)
        else:
            self._say_failure(progress, took)
        return 0 if succeeded else 1

    def broken(self, what: str) -> int:
        """Tell what the engine could not do ("cannot go on: …"); return the exit status."""
        message = f"the local engine {what}"
        if self._showing.as_json:
            self._write("failed", message)
        else:
            _say(f"Error: {message}", fg="red")
        return 1

    def killed(self) -> int:
        """Tell that everything was ended at once; return the exit status."""
        message = "everything was ended at once; partial output may be left"
        if self._showing.as_json:
            self._write("cancelled", message)
        else:
            _say(message)
        return 1

    def logs_are_in(self, directory: Path) -> None:
        """Tell where the processes' logs were kept."""
        if self._showing.as_json:
            JsonDisplay(sys.stdout).write("logs", {"directory": str(directory / "logs")})
        else:
            _say(f"The logs of all processes are in {directory / 'logs'}")

    def _write(self, outcome: str, message: str, **more: Any) -> None:
        fields = {"outcome": outcome, "message": message, **more}
        JsonDisplay(sys.stdout).write("result", fields)

    def _say_success(
        self,
        progress: coordinator_pb2.JobProgress,
        records: Iterator[tuple[Any, Any]],
        output: job_pb2.Output | None,
        took_s: float,
    ) -> None:
        shown = print_records(records)
        if self._showing.quiet:
            return
        stages = progress.stages
        records_in = stages[0].records_in if stages else 0
        total = sum(part.totals.records for part in progress.results)
        _say(
            f"{self._name} succeeded in {duration_text(took_s)}:"
            f" {wording.plural(records_in, 'record')} read,"
            f" {wording.plural(total or _written(progress), 'result')}.",
            fg="green",
        )
        if output is not None:
            _say(f"They are in {output.url}, as {output.format}.")
        elif _is_saved(progress):
            _say('They are kept in DDFS: "ddfs ls disco:results:" lists the tags.')
        elif total:
            _say(whereabouts(shown, total, self._advice))

    def _say_failure(self, progress: coordinator_pb2.JobProgress, took_s: float) -> None:
        cancelled = progress.phase == _CANCELLED
        how = "was cancelled" if cancelled else "failed"
        _say(f"Error: {self._name} {how} after {duration_text(took_s)}", fg="red")
        told = (
            wording.printable_lines(progress.message)
            if cancelled
            else wording.failure_lines(progress)
        )
        for line in told:
            _say(line)
        for line in self._advice.failed:
            _say(line)

    def _write_json(
        self,
        progress: coordinator_pb2.JobProgress,
        shown: list[tuple[Any, Any]],
        output: job_pb2.Output | None,
        took_s: float,
    ) -> None:
        told = plain(progress)
        failed = told["phase"] == "failed"
        failure = wording.decisive_failure(progress) if failed else None
        self._write(
            told["phase"],
            told["message"],
            seconds=round(took_s, 3),
            stages=told["stages"],
            output=None if output is None else plain(output),
            results_total=sum(part.totals.records for part in progress.results),
            results=[{"key": json_value(key), "value": json_value(value)} for key, value in shown],
            failure=None if failure is None else plain(failure),
        )


def whereabouts(shown: int, total: int, advice: Advice) -> str:
    """Return how to see the results that were not printed, and how to keep them."""
    if not shown and advice.look:
        return f"To see them: {advice.look}. To keep them: {advice.keep}."
    if shown >= total:
        return f"All are shown. To keep them: {advice.keep}."
    return (
        f"Shown: {count_text(shown)} of {count_text(total)}."
        f" To see all: {advice.see}. To keep them: {advice.keep}."
    )


def _is_saved(progress: coordinator_pb2.JobProgress) -> bool:
    from disco.saved import TAG_STAGE

    return bool(progress.stages) and progress.stages[-1].name == TAG_STAGE


def _written(progress: coordinator_pb2.JobProgress) -> int:
    return progress.stages[-1].records_out if progress.stages else 0


def _say(text: str, fg: str | None = None) -> None:
    click.secho(text, err=True, fg=fg)

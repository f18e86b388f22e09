"""A job that stands still in the middle until the test lets it go on."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.jobs import discojob, results
from harness.namespaces import Namespace
from harness.programs import GATED
from harness.volumes import Volume, wait_for_files

COUNT_TASKS = 6
SUM_TASKS = 9
"""More than there are workers; which of them have begun when one is seen inside is open."""
_WORDS = 12


class GatedJob:
    """A word count whose second stage waits for `open_gate`.

    Args:
        namespace: Where.
        volume: Shared with its pods.
        name: Of the job.
        crew: So many workers have begun a task of the first stage before one goes on.
        spec: All other fields.

    Attributes:
        job: The DiscoJob.
    """

    def __init__(
        self,
        namespace: Namespace,
        volume: Volume,
        name: str = "gated",
        crew: int = 1,
        **spec: Any,
    ) -> None:
        self._volume = volume
        lines = [
            f"file{i} {' '.join(f'word{w}' for w in range(_WORDS))}" for i in range(COUNT_TASKS)
        ]
        for folder in ("count", "sum"):
            volume.write(f"{folder}/.there", "")
        volume.write("crew", f"{crew}")
        for i, line in enumerate(lines):
            volume.write(f"input/{i}.txt", f"{line}\n" * (i + 1))
        self.expected = Counter(
            word for i, line in enumerate(lines) for word in line.split() * (i + 1)
        )
        given = {"output": {"url": "/shared/results"}, **spec}
        self.job = namespace.submit(
            discojob(name, job="gated:Gated", code=GATED, inputs=["/shared/input/*.txt"], **given)
        )

    def wait_until_inside(self, attempts: int = 1, timeout: float = 120) -> Sequence[str]:
        """Return the pods in which attempts at tasks of the second stage were begun.

        Args:
            attempts: How many must have been, in all.
            timeout: Seconds.
        """
        names = wait_for_files(self._volume, "sum", attempts, timeout)
        return [name.split(".")[1] for name in names]

    def count_attempts(self) -> int:
        """Return how many attempts at tasks of the first stage there were."""
        return len(self._volume.names("count"))

    def counted(self) -> Sequence[tuple[str, str]]:
        """Return (task, pod) of each attempt at a task of the first stage."""
        names = (name.split(".") for name in self._volume.names("count"))
        return [(task, pod) for task, pod, _ in names]

    def open_gate(self) -> None:
        """Let the tasks of the second stage go on."""
        self._volume.write("gate", "")

    def check_result(self, folder: str = "results") -> None:
        """Check that the result has every word exactly as often as the input."""
        found = {word: int(total) for word, total in results(self._volume, folder).items()}
        assert found == dict(self.expected)

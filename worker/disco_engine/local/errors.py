"""What can go wrong with the processes of a local run, and the disk they are on."""

from pathlib import Path


class EngineError(Exception):
    """The local engine cannot go on: one of its processes does not stay alive.

    Not raised when the user's job fails; that is an ordinary end of a run.

    Attributes:
        logs: The directory with the processes' logs, which is kept; None: they are gone.
    """

    def __init__(self, message: str, logs: Path | None = None) -> None:
        super().__init__(f"{message}\nThe logs of all processes are in {logs}" if logs else message)
        self.logs = logs


class NoRoomError(OSError):
    """The disk has no room for the files of a run: make some, or have the run on another."""

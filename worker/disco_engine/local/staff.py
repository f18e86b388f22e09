"""The worker processes of one run: how many there are to be, and who goes if that is fewer."""

import threading
from collections.abc import Sequence

from disco_engine.local.commands import Commands
from disco_engine.local.supervisor import Supervisor

_DRAIN_PATIENCE_S = 30.0  # for workers that are not needed: longer than they give themselves


class Staff:
    """The workers, of which there are none at first. May be used from any thread.

    Args:
        commands: Say how each is started.
        supervisor: Starts them, and again when they die.
    """

    def __init__(self, commands: Commands, supervisor: Supervisor) -> None:
        self._commands = commands
        self._supervisor = supervisor
        self._hiring = threading.Lock()  # guards the rest
        self._staff: list[str] = []
        self._hired = 0
        self._hires = True

    def scale(self, workers: int) -> list[str]:
        """Start workers that are missing; tell those that are too many, the youngest, to end.

        Nothing happens after ``hire_no_more``.

        Returns:
            Ids of those that were told to end.

        Raises:
            OSError: A process cannot be started; those that could be, are there.
        """
        with self._hiring:
            if not self._hires:
                return []
            surplus = self._staff[workers:]
            del self._staff[workers:]
            self._supervisor.retire(surplus)
            while len(self._staff) < workers:
                child = self._commands.worker(self._hired)
                self._supervisor.start(child)
                self._hired += 1  # never the id of another: that one may still be at work
                self._staff.append(child.id)
        return surplus

    def hire_no_more(self) -> None:
        """Leave the number as it is from now on, whatever is asked."""
        with self._hiring:
            self._hires = False

    def see_off(self, workers: Sequence[str]) -> None:
        """Wait until workers that were told to end have; kill them if need be."""
        self._supervisor.see_off(workers, grace_s=_DRAIN_PATIENCE_S)

"""What one attempt leaves beside its records, and what it has been told that others left."""

from collections.abc import Callable

from disco_engine.core.model import Values
from disco_engine.core.values import (
    MAX_TASK_BYTES,
    MAX_VALUE_BYTES,
    key_problem,
    size_of,
)
from disco_engine.records.frozen import shown


class AttemptValues:
    """The values of one attempt, and those it has asked for.

    It sees its own at once. What it was told once stays the same for it, whatever other tasks leave
    meanwhile: asking for each record costs nothing, and gives no two answers.

    Args:
        ask: Returns the value that a sealed task left under a key; None: none did.
    """

    def __init__(self, ask: Callable[[str], bytes | None]) -> None:
        self._ask = ask
        self._own: dict[str, bytes] = {}
        self._size = 0
        self._told: dict[str, bytes] = {}

    def put(self, key: str, value: bytes) -> None:
        """Leave *value* under *key*, in place of what this attempt left there before.

        Raises:
            ValueError: The key cannot be one, or the value is too large, or all are.
        """
        problem = key_problem(key)
        if problem:
            raise ValueError(f"the value {shown(key)} cannot be put: {problem}")
        if len(value) > MAX_VALUE_BYTES:
            raise ValueError(
                f"the value {key!r} has {len(value):,} bytes, and {MAX_VALUE_BYTES:,} are the most:"
                " emit what is larger as records"
            )
        before = self._own.get(key)
        size = self._size + size_of(key, value) - (0 if before is None else size_of(key, before))
        if size > MAX_TASK_BYTES:
            raise ValueError(
                f"with the value {key!r} this task would put {size:,} bytes, and"
                f" {MAX_TASK_BYTES:,} are the most: emit what is larger as records"
            )
        self._size = size
        self._own[key] = value

    def get(self, key: str) -> bytes | None:
        """Return the value of *key*: this attempt's own, or that of another task; None: none.

        Raises:
            ValueError: The key cannot be one.
            ProgramError: Nobody could be asked.
        """
        problem = key_problem(key)
        if problem:
            raise ValueError(f"there is no value {shown(key)}: {problem}")
        value = self._own.get(key)
        if value is None:
            value = self._told.get(key)
        if value is None:
            value = self._ask(key)
            if value is not None:
                self._told[key] = value
        return value

    def left(self) -> Values:
        """Return what the attempt leaves."""
        return tuple(self._own.items())

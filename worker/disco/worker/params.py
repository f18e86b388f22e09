"""What a job hands to all of its functions, and each task's own copy of it."""

import pickle
import reprlib
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

import cloudpickle

from disco.error import DiscoError


class Params:
    """A bag of named values: ``Params(threshold=3).threshold``."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"Params({values})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Params) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


def merged_params(own: Any, given: Mapping[str, Any]) -> Any:
    """Return a job's params with those *given* in their place; *own* stays as it is.

    Raises:
        DiscoError: *own* has no named values.
    """
    if isinstance(own, Mapping):
        return {**own, **given}
    if not isinstance(own, Params):
        raise DiscoError(
            f"the job's params are of type {type(own).__name__}: they can be set one by one only if"
            " they are Params or a dictionary"
        )
    merged = copy(own)
    for name, value in given.items():
        setattr(merged, name, value)
    return merged


class ParamsCopies:
    """Makes a copy of the job's ``params`` for each task, so that tasks cannot disturb another.

    What a task changes, its later calls see, and nobody else.
    """

    def __init__(self, params: object) -> None:
        self._params = params
        self._immutable = params is None or type(params) in (str, bytes, int, float, bool)
        self._pickle: bytes | None = None

    def copy(self) -> Any:
        """Return a copy that nobody else has.

        Raises:
            DiscoError: They cannot be pickled.
        """
        if self._immutable:
            return self._params
        if type(self._params) is Params and not self._params.__dict__:
            return Params()
        if self._pickle is None:  # before the first task could change anything
            self._pickle = _pickled(self._params)
        return pickle.loads(self._pickle)


def _pickled(params: object) -> bytes:
    try:
        data: bytes = cloudpickle.dumps(params, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever the user's own objects raise
        raise DiscoError(
            f"cannot pickle the job's params, {reprlib.repr(params)}: {type(error).__name__}:"
            f" {error}; keep what has no copies (open files, locks, connections) out of them, and"
            " make it in map_init or in a stage's init"
        ) from error
    return data

"""Readers for new programs: what a task's input is made of.

    class Totals(Job):
        map_reader = csv_rows

    pipeline = [(split, Stage("count", process=count, input_chain=[task_input_stream, json_lines]))]

A reader that is *splittable* also reads a part of a file (text is cut at line boundaries, Parquet
at row groups), so one large file becomes many tasks.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

from disco_engine.core.model import TaskInput
from disco_engine.inputs import formats

Function = TypeVar("Function", bound=Callable[..., Any])


class Reader:
    """A reader that the engine has built in.

    It is also a stream function, for use after ``task_input_stream`` or by ``result_iterator``.

    Attributes:
        splittable: It reads parts of files, too.
    """

    def __init__(
        self, name: str, read: Callable[[TaskInput], Iterable[Any]], *, splittable: bool
    ) -> None:
        self.__name__ = self.__qualname__ = name
        self.splittable = splittable
        self._read = read

    def __call__(self, stream: Any, size: int | None, url: str) -> Iterable[Any]:
        """Return the records of *url*, which is opened afresh; *stream* is not used."""
        return self._read(TaskInput(urls=(url,)))

    def read(self, item: TaskInput) -> Iterable[Any]:
        """Return the records of an input or a part of one."""
        return self._read(item)

    def __repr__(self) -> str:
        return f"disco.readers.{self.__name__}"

    def __reduce__(self) -> Any:
        if globals().get(self.__name__) is self:
            return self.__name__  # a name of this module: there is only one of it
        return super().__reduce__()


def splittable(reader: Function) -> Function:
    """Mark a reader of your own as one that may be given a part of a file.

    Its stream then has only the lines that begin in the part; the url is the file's.
    """
    reader.splittable = True  # type: ignore[attr-defined]
    return reader


text_lines = Reader("text_lines", formats.text_lines, splittable=True)
"""Yields str, one per line, without the newline. Text that is not UTF-8 is an error that names the
file, the byte and the line."""

json_lines = Reader("json_lines", formats.json_lines, splittable=True)
"""Yields the value of each line; empty lines do not count."""

csv_rows = Reader("csv_rows", formats.csv_rows, splittable=False)
"""Yields a dict of column name to str for each row; the first row has the names."""

parquet_rows = Reader("parquet_rows", formats.parquet_rows, splittable=True)
"""Yields a dict of column name to value for each row. Needs the extra ``parquet``."""


def csv_reader(delimiter: str = ",", columns: Sequence[str] | None = None) -> Reader:
    """Return a reader of another kind of CSV.

    Args:
        delimiter: What is between fields.
        columns: Names of the columns, if the first row does not have them.
    """
    read = partial(formats.csv_rows, delimiter=delimiter, columns=columns)
    return Reader("csv_reader", read, splittable=False)


def parquet_reader(columns: Sequence[str]) -> Reader:
    """Return a reader of some columns of Parquet files; the others are not even read."""
    return Reader("parquet_reader", partial(formats.parquet_rows, columns=columns), splittable=True)

"""Records as Parquet: the columns ``key`` and ``value``, their types taken from the records."""

from typing import IO, Any

from disco_engine.program import fatal
from disco_engine.records.frozen import (
    EarlierRecordError,
    freeze,
    kept_bytes,
    shown,
    thaw,
    type_name,
)

try:
    import pyarrow
    import pyarrow.parquet
except ImportError as missing:
    raise fatal(
        "writing Parquet needs the package pyarrow: pip install 'disco-k8s[parquet]'"
    ) from missing

_GROUP_RECORDS = 65_536
_GROUP_BYTES = 64 * 1024 * 1024
"""What makes a row group: so many records, or so much of memory."""

_UNTYPED_RECORDS = 1_048_576
"""How many records are kept while a column has nothing but None, in the hope of a value."""

_SCALARS = (bool, int, float, str, bytes)
_ARROW_ERRORS = (pyarrow.ArrowException, ValueError, TypeError, OverflowError)


class ParquetEncoder:
    """Writes row groups; the first fixes the columns' types for the file.

    int and float may be mixed in the first group, which makes a column of float; nothing else may.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._columns: dict[str, list[Any]] = {"key": [], "value": []}
        self._bytes = 0
        self._schema: Any = None
        self._writer: Any = None

    def add(self, key: Any, value: Any) -> None:
        """Write one record, or keep it for the next row group."""
        key, value = freeze(key), freeze(value)
        keys = self._columns["key"]
        keys.append(key)
        self._columns["value"].append(value)
        self._bytes += kept_bytes(key) + kept_bytes(value)
        if len(keys) % _GROUP_RECORDS == 0 or self._bytes >= _GROUP_BYTES:
            small = len(keys) < _UNTYPED_RECORDS and self._bytes < _GROUP_BYTES
            if not (small and self._schema is None and self._has_untyped_column()):
                self._flush()

    def close(self) -> None:
        """Write the last row group and the footer."""
        try:
            if self._columns["key"] or self._writer is None:
                self._flush()
        finally:
            if self._writer is not None:
                self._writer.close()

    def _has_untyped_column(self) -> bool:
        return any(set(map(type, column)) == {type(None)} for column in self._columns.values())

    def _flush(self) -> None:
        columns = {name: list(map(thaw, column)) for name, column in self._columns.items()}
        arrays = [self._array(name, columns) for name in columns]
        if self._writer is None:
            self._schema = pyarrow.schema(
                [(name, array.type) for name, array in zip(columns, arrays, strict=True)]
            )
            self._writer = pyarrow.parquet.ParquetWriter(self._file, self._schema)
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._columns = {"key": [], "value": []}
        self._bytes = 0

    def _array(self, name: str, columns: dict[str, list[Any]]) -> Any:
        """Return a column of this group, of the type that the file's has.

        Raises:
            RecordError: A record does not fit the others.
        """
        column = columns[name]
        _check_kinds(name, columns)
        wanted = None if self._schema is None else self._schema.field(name).type
        try:
            array = pyarrow.array(column)
            if wanted is not None and array.type != wanted:
                # Converting to the wanted type would drop the fields of a dict that are new.
                if not _holds(wanted, array.type):
                    raise TypeError(f"{array.type} does not fit {wanted}")
                array = pyarrow.array(column, type=wanted)
        except _ARROW_ERRORS as error:
            index = _first_misfit(column, wanted)
            record = shown((columns["key"][index], columns["value"][index]))
            raise EarlierRecordError(
                f"the {name} of the record {record} does not fit its Parquet column"
                f"{f' of {wanted}' if wanted is not None else ''}: {error}; "
                "make all of one type, or write the format 'jsonl'"
            ) from error
        return array


def _check_kinds(name: str, columns: dict[str, list[Any]]) -> None:
    """Refuse what Arrow would convert without a word, such as str among bytes."""
    column = columns[name]
    kinds = {_kind(kind) for kind in set(map(type, column))} - {type(None)}
    if len(kinds) <= 1 or kinds == {int, float}:
        return
    first = next(item for item in column if item is not None)
    index = next(
        index
        for index, item in enumerate(column)
        if item is not None and _kind(type(item)) is not _kind(type(first))
    )
    raise EarlierRecordError(
        f"the {name} of the record {shown((columns['key'][index], columns['value'][index]))} is of "
        f"type {type_name(column[index])}, that of an earlier one of {type_name(first)}: a Parquet "
        "column has one type; make them one, or write the format 'jsonl'"
    )


def _kind(kind: type) -> type:
    """Return the plain type that a type (an enum, a numpy scalar) counts as."""
    return next((scalar for scalar in _SCALARS if issubclass(kind, scalar)), kind)


def _holds(wanted: Any, found: Any) -> bool:
    """Tell whether every value of the type *found* has its place in *wanted*, unchanged."""
    types = pyarrow.types
    if types.is_null(found) or found == wanted:
        return True
    if not types.is_nested(wanted):
        return bool(types.is_floating(wanted) and types.is_integer(found))
    try:
        merged = pyarrow.unify_schemas(
            [pyarrow.schema([("x", wanted)]), pyarrow.schema([("x", found)])],
            promote_options="permissive",
        )
    except pyarrow.ArrowException:
        return False
    return bool(merged.field("x").type == wanted)


def _first_misfit(column: list[Any], wanted: Any) -> int:
    """Return the index of the first item that cannot be converted by itself, or of the last."""
    for index, item in enumerate(column):
        try:
            found = pyarrow.array([item])
            if wanted is not None and not _holds(wanted, found.type):
                return index
        except _ARROW_ERRORS:
            return index
    return len(column) - 1

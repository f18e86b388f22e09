"""How records become the bytes of an output file: one encoder per format.

All take (key, value) pairs and one file. A record that a format cannot hold raises RecordError,
which names the record and says what to change; nothing is replaced or left out silently. A record
is encoded, or copied, when it is given: the user's generator may change its objects afterwards.
"""

import csv
import json
import struct
from collections.abc import Callable
from typing import IO, Any, NamedTuple, Protocol

from disco_engine.inputs.urls import FRAMES_SUFFIX
from disco_engine.program import fatal
from disco_engine.records.blocks import encode_parts, store
from disco_engine.records.frozen import RecordError, freeze, kept_bytes, shown

FRAMES_MAGIC = b"disco records 1\n"
"""What a file of pickle frames begins with. Each frame follows its length; length 0 is the end."""

FRAME_LENGTH = struct.Struct("<Q")

_FRAMES_BYTES = 4 * 1024 * 1024
"""Keys and values that are kept before they are encoded."""


class Encoder(Protocol):
    """Writes records into one file, which it does not close."""

    def add(self, key: Any, value: Any) -> None:
        """Write one record.

        Raises:
            RecordError: The format cannot hold it.
        """
        ...

    def close(self) -> None:
        """Write what is still kept, and what ends the file."""
        ...


class Format(NamedTuple):
    """One format: how its files are called, and who writes them."""

    extension: str
    encoder: Callable[[IO[bytes]], Encoder]


def format_of(name: str) -> Format:
    """Return the format of that name.

    Raises:
        ProgramError: FATAL: there is none.
    """
    if name not in FORMATS:
        raise fatal(f"output format {name!r} is unknown: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


class _Text:
    """``key<TAB>value`` lines, as Hadoop writes them; only the key if the value is None.

    Bytes are written as they are, everything else as ``str()`` of it in UTF-8. Tabs and newlines
    in keys and values are written as they are, too: use another format if there are any.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._write = file.write

    def add(self, key: Any, value: Any) -> None:
        try:
            if value is None:
                line = b"%b\n" % _text(key)
            elif isinstance(key, bytes) or isinstance(value, bytes):
                line = b"%b\t%b\n" % (_text(key), _text(value))
            else:
                line = f"{key!s}\t{value!s}\n".encode()
        except UnicodeEncodeError as error:
            raise _not_utf8(key, value, error) from error
        self._write(line)

    def close(self) -> None:
        pass


class _JsonLines:
    """``{"key": ..., "value": ...}`` lines; bytes become the text they hold."""

    def __init__(self, file: IO[bytes]) -> None:
        self._write = file.write
        self._encode = json.JSONEncoder(
            ensure_ascii=False, allow_nan=False, default=_json_value
        ).encode

    def add(self, key: Any, value: Any) -> None:
        try:
            line = self._encode({"key": key, "value": value}).encode() + b"\n"
        except UnicodeError as error:
            raise _not_utf8(key, value, error) from error
        except (TypeError, ValueError, RecursionError) as error:
            raise RecordError(
                f"the record {shown((key, value))} cannot be written as JSON: {error}; "
                "make it of str, numbers, None, lists and dicts with str keys"
            ) from error
        self._write(line)

    def close(self) -> None:
        pass


class _Csv:
    """Rows of two columns under the header ``key,value``; None is an empty field."""

    def __init__(self, file: IO[bytes]) -> None:
        self._row = csv.writer(_Utf8(file), lineterminator="\n").writerow
        self._row(("key", "value"))

    def add(self, key: Any, value: Any) -> None:
        try:
            self._row((_cell(key), _cell(value)))
        except UnicodeError as error:
            raise _not_utf8(key, value, error) from error

    def close(self) -> None:
        pass


class _Frames:
    """The engine's own frames: keys and values come back as they were, of whatever type."""

    def __init__(self, file: IO[bytes]) -> None:
        self._write = file.write
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._bytes = 0
        self._write(FRAMES_MAGIC)

    def add(self, key: Any, value: Any) -> None:
        key, value = freeze(key), freeze(value)
        self._keys.append(key)
        self._values.append(value)
        self._bytes += kept_bytes(key) + kept_bytes(value)
        if self._bytes >= _FRAMES_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._write(FRAME_LENGTH.pack(0))

    def _flush(self) -> None:
        for _records, frame in encode_parts(store(self._keys, self._values)):
            self._write(FRAME_LENGTH.pack(len(frame)))
            self._write(frame)
        self._keys, self._values, self._bytes = [], [], 0


class _Utf8:
    """A file for text over one for bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())


def _parquet(file: IO[bytes]) -> Encoder:
    # Imported for those who use it: pyarrow takes 100 ms.
    from disco_engine.outputs.parquet import ParquetEncoder

    return ParquetEncoder(file)


FORMATS = {
    "text": Format(".txt", _Text),
    "jsonl": Format(".jsonl", _JsonLines),
    "csv": Format(".csv", _Csv),
    "parquet": Format(".parquet", _parquet),
    "pickle": Format(FRAMES_SUFFIX, _Frames),
}
"""All formats by the name that users give."""


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _cell(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{type(value).__qualname__} is not a type that JSON has")


def _not_utf8(key: Any, value: Any, error: UnicodeError) -> RecordError:
    return RecordError(
        f"the record {shown((key, value))} is not UTF-8: {error}; decode its bytes in the job, or "
        "write the format 'pickle'"
    )

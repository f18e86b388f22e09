"""Programs in any language as the map or the reduce of a classic job.

    Job().run(map=external(["extmap", "stopwords.txt"]), ...)

Such a program is started once per task, as ``op map`` or ``op reduce``, in a directory that has all
of its files. It reads its parameters, then pairs from standard input, until that ends; a pair is

    length of the key, key, length of the value, value

with lengths of four bytes, little end first. What it writes to standard output are lists: how many
pairs, in four bytes, then the pairs. A map writes one list for each pair that it reads, in order; a
reduce as many as it likes. Lines ``**<MSG> text`` on standard error are messages to the user, and
``**<ERR> text`` says why the job can never work; what else it writes there, is logged.

The parameters, ``ext_params``, come before all pairs: bytes or a text as they are; a dict as the
number of bytes that follow, a newline, and a line ``length key length value`` for each of its
items.
"""

import io
import selectors
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disco.error import DiscoError
from disco.fileutils import DiscoOutputStream_v0
from disco.worker.children import Child
from disco.worker.jobhome import make_home, travelled
from disco_engine.core.model import Failure, FailureKind
from disco_engine.program import ProgramError, TaskContext, fatal
from disco_engine.records.frozen import RecordError, shown, type_name

MAX_ITEM_SIZE = 1024**3

OP = "op"
"""Name of the program itself among its files."""

_NUMBER = struct.Struct("<I")
_CHUNK_BYTES = 64 * 1024
_TICK_S = 1.0  # between two looks whether a program has ended whose pipes are open
_LAST_S = 10.0  # between the end of its output and its own
_WELL = "it exited with status 0"
_SHOWN_BYTES = 4_000

Pair = tuple[bytes, bytes]


def package(files: str | Path | Sequence[str | Path]) -> dict[str, bytes]:
    """Return a program and the files that it needs, as ``map`` and ``reduce`` take them.

    Args:
        files: Paths, the program's first. They will be beside each other, under their names.

    Raises:
        DiscoError: One of them is not there.
    """
    paths = [files] if isinstance(files, str | Path) else list(files)
    if not paths:
        raise DiscoError("external() needs at least the path of a program")
    contents = [_content(Path(path)) for path in paths]
    names = (OP, *(Path(path).name for path in paths[1:]))
    return dict(zip(names, contents, strict=True))


def _content(path: Path) -> bytes:
    """Return what is in a file here, or in one of this name that has travelled with the job."""
    place = path if path.is_file() else travelled(path.name)
    if place is None:
        raise DiscoError(
            f"external(): there is no file {path}; on workers, files are there that required_files"
            " names"
        )
    return place.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class External:
    """A program as the map or the reduce of a job.

    Attributes:
        mode: "map" or "reduce".
        files: Content by name, the program's own being "op".
        params: For the program; None: it has none.
    """

    mode: str
    files: Mapping[str, bytes]
    params: Any = None

    def __repr__(self) -> str:
        return f"the external {self.mode}"

    def check(self) -> None:
        """Refuse what cannot be started.

        Raises:
            DiscoError: There is no program, or the parameters make no sense.
        """
        if OP not in self.files or not all(isinstance(each, bytes) for each in self.files.values()):
            raise DiscoError(
                f"{self.mode} must be a function, or a dict of a program's files, as external()"
                f" makes it; got a dict of {', '.join(map(repr, self.files)) or 'nothing'}"
            )
        _packed_params(self.params)

    def pairs(self, entries: Iterable[Any], context: TaskContext) -> Iterator[Pair]:
        """Yield the pairs that the program makes of *entries*.

        Args:
            entries: Pairs of bytes or texts; or each a value, whose key is empty.
            context: Of the task.

        Raises:
            ProgramError: The program failed.
            RecordError: An entry is something else.
        """
        home = make_home(context.scratch, self.files)
        try:
            program = Child([str(home / OP), self.mode], home=home)
        except OSError as error:
            raise fatal(f"{self} cannot be started: {error.strerror}") from error
        with program:
            yield from _Exchange(self, program, entries, context).pairs()


class ListReader:
    """Cuts what arrives, in whatever pieces, into the pairs of lists.

    Attributes:
        begun: Lists whose number of pairs has arrived.
    """

    def __init__(self) -> None:
        self.begun = 0
        self._due = 0  # pairs of the list that has begun last
        self._data = bytearray()

    @property
    def is_amid_list(self) -> bool:
        """Some of a list has arrived, and not all of it."""
        return self._due > 0 or bool(self._data)

    def add(self, data: bytes) -> None:
        """Take what has arrived."""
        self._data += data

    def pairs(self) -> Iterator[Pair]:
        """Yield the pairs that are complete; read them all before more is added.

        Raises:
            ValueError: A key or value is longer than it may be.
        """
        at = 0
        try:
            while len(self._data) >= at + _NUMBER.size:
                if not self._due:
                    (self._due,) = _NUMBER.unpack_from(self._data, at)
                    self.begun += 1
                    at += _NUMBER.size
                    continue
                middle = self._end_of_item(at)
                end = middle and self._end_of_item(middle)
                if not end or not middle:
                    return
                self._due -= 1
                start, at = at, end
                key = bytes(self._data[start + _NUMBER.size : middle])
                yield key, bytes(self._data[middle + _NUMBER.size : end])
        finally:
            del self._data[:at]

    def _end_of_item(self, start: int) -> int | None:
        """Return where the key or value ends that begins at *start*; None: it has not arrived."""
        if len(self._data) < start + _NUMBER.size:
            return None
        (length,) = _NUMBER.unpack_from(self._data, start)
        if length > MAX_ITEM_SIZE:
            raise ValueError(f"a key or value of {length:,} bytes: the most is {MAX_ITEM_SIZE:,}")
        end: int = start + _NUMBER.size + length
        return end if len(self._data) >= end else None


class _Exchange:
    """What is written to a program and read from it, both at once."""

    def __init__(
        self, external: External, program: Child, entries: Iterable[Any], context: TaskContext
    ) -> None:
        self._name = str(external)
        self._is_map = external.mode == "map"
        self._program = program
        self._entries = iter(entries)
        self._context = context
        self._unsent = bytearray(_packed_params(external.params))
        self._sent = 0  # entries
        self._all_sent = False
        self._lists = ListReader()
        self._line = b""  # of standard error, as far as it has arrived
        self._words = b""  # the last that are no messages
        self._selector = selectors.DefaultSelector()

    def pairs(self) -> Iterator[Pair]:
        """Yield what the program makes of the entries."""
        program = self._program
        with self._selector as selector:
            selector.register(program.stdin, selectors.EVENT_WRITE, self._write_some)
            selector.register(program.stdout, selectors.EVENT_READ)
            selector.register(program.stderr, selectors.EVENT_READ, self._read_messages)
            while not self._is_over():
                gone = program.has_ended  # before the look, so that nothing is missed
                ready = selector.select(0 if gone else _TICK_S)
                if gone and not ready:
                    break
                for key, _ in ready:
                    if key.data is None:
                        yield from self._read_pairs()
                    else:
                        key.data()
            self._read_messages()
        self._check_end()

    def _is_over(self) -> bool:
        pipes = self._selector.get_map()
        silent = self._program.stdout not in pipes and self._program.stderr not in pipes
        return silent or self._is_answered

    @property
    def _is_answered(self) -> bool:
        """It is a map, and has answered each of the entries."""
        complete = self._lists.begun == self._sent and not self._lists.is_amid_list
        return self._is_map and self._all_sent and complete

    def _write_some(self) -> None:
        stdin = self._program.stdin
        while len(self._unsent) < _CHUNK_BYTES and not self._all_sent:
            try:
                entry = next(self._entries)
            except StopIteration:
                self._all_sent = True
            else:
                self._unsent += _packed(entry)
                self._sent += 1
        try:
            written = stdin.write(self._unsent)
        except BrokenPipeError:  # why it reads no more, its end will tell
            self._selector.unregister(stdin)
            return
        del self._unsent[: written or 0]
        if self._all_sent and not self._unsent:
            self._selector.unregister(stdin)
            stdin.close()

    def _read_pairs(self) -> Iterator[Pair]:
        data = self._program.stdout.read(_CHUNK_BYTES)
        if data:
            self._lists.add(data)
            try:
                yield from self._lists.pairs()
            except ValueError as error:
                raise self._failed(f"it wrote {error}") from error
        elif data is not None:
            self._selector.unregister(self._program.stdout)

    def _read_messages(self) -> None:
        stderr = self._program.stderr
        data = stderr.read(_CHUNK_BYTES)
        if data == b"" and stderr in self._selector.get_map():
            self._selector.unregister(stderr)
        *lines, self._line = (self._line + (data or b"")).split(b"\n")
        if len(self._line) > _CHUNK_BYTES:
            lines, self._line = [*lines, self._line], b""
        for line in lines:
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        text = line.decode(errors="backslashreplace")
        if text.startswith("**<ERR>"):
            raise fatal(f"{self._name}: {text[7:].strip()[:_SHOWN_BYTES]}")
        if text.startswith("**<MSG>"):
            text = text[7:].strip()
            self._context.status(text)
        else:
            self._words = (self._words + line + b"\n")[-_SHOWN_BYTES:]
        print(text)

    def _check_end(self) -> None:
        """Refuse an end before all of the input has been read, and all of the output written.

        Raises:
            ProgramError: USER: how the program ended.
        """
        if self._is_answered:
            return
        how = self._program.how_it_ended(_LAST_S) or "it closed its standard output"
        if not self._all_sent or self._unsent:
            raise self._failed(f"{how} before it had read all of its input")
        if self._lists.is_amid_list or self._is_map:
            raise self._failed(f"{how} before it had written all of its output")
        if how != _WELL:
            raise self._failed(how)

    def _failed(self, reason: str) -> ProgramError:
        words = (self._words + self._line).decode(errors="backslashreplace")
        return ProgramError(
            Failure(
                kind=FailureKind.USER,
                message=f"{self._name} failed: {reason}",
                traceback=f"Its last words:\n{words}" if words else "",
            )
        )


def _packed(entry: Any) -> bytes:
    key, value = entry if isinstance(entry, tuple) and len(entry) == 2 else (b"", entry)
    return _packed_item(key, entry) + _packed_item(value, entry)


def _packed_item(item: Any, entry: Any) -> bytes:
    data = item.encode() if isinstance(item, str) else item
    if not isinstance(data, bytes):
        raise RecordError(
            f"an external program reads bytes and texts, but the entry {shown(entry)} has a"
            f" {type_name(item)}: let the reader or the map before it make a text of it"
        )
    return _NUMBER.pack(len(data)) + data


def _packed_params(params: Any) -> bytes:
    """Return what a program is sent before all pairs.

    Raises:
        DiscoError: The parameters are no bytes, no text and no dict.
    """
    match params:
        case bytes():
            return params
        case str():
            return params.encode()
        case Mapping() if params:
            lines = io.BytesIO()
            writer = DiscoOutputStream_v0(lines)
            for key, value in params.items():
                writer.add(key, value)
            return b"%d\n%s" % (lines.tell(), lines.getvalue())
        case None | Mapping():
            return b"0\n"
        case _:
            raise DiscoError(f"ext_params must be bytes, a text or a dict, got {params!r}")

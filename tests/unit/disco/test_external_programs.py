"""Programs as the map and the reduce of a classic job: lists of pairs over standard streams."""

import re
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disco import Job
from disco.error import DiscoError
from disco.util import external
from disco.worker.classic.external import MAX_ITEM_SIZE, External, ListReader
from disco_engine.core.model import FailureKind
from disco_engine.program import ProgramError
from disco_engine.records.frozen import RecordError

Text = Callable[..., str]
Compiled = Callable[[str], Path]

LINES = ["the cat and the dog\n", "and two more\n"]
WORDS = Counter("".join(LINES).encode().split())
EXPECTED = {word: str(count).encode() for word, count in WORDS.items() if word != b"and"}


def item(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


# --- the lists ----------------------------------------------------------------------------------


def test_lists_are_read_in_whatever_pieces_they_arrive() -> None:
    pairs = [(b"a", b""), (b"", b"xyz"), (b"b" * 300, b"c")]
    lists = [pairs[:2], [], pairs[2:]]
    data = b"".join(
        struct.pack("<I", len(each)) + b"".join(item(k) + item(v) for k, v in each)
        for each in lists
    )
    for size in (1, 7, len(data)):
        reader = ListReader()
        found: list[tuple[bytes, bytes]] = []
        for start in range(0, len(data), size):
            assert not reader.is_amid_list or start
            reader.add(data[start : start + size])
            found += reader.pairs()
        assert found == pairs
        assert reader.begun == 3
        assert not reader.is_amid_list


def test_a_length_that_nobody_means_is_refused_before_anything_is_waited_for() -> None:
    reader = ListReader()
    reader.add(struct.pack("<II", 1, MAX_ITEM_SIZE + 1))
    with pytest.raises(ValueError, match="a key or value of"):
        list(reader.pairs())


# --- jobs ---------------------------------------------------------------------------------------


def test_a_program_in_c_is_the_map_and_the_reduce(
    engine: Any, compiled: Compiled, text: Text, capsys: pytest.CaptureFixture[str]
) -> None:
    files = external([str(compiled("external.c"))])
    job = Job(name="Words")
    parameters = {"map": files, "reduce": files, "partitions": 2, "sort": True}
    ran = engine.run(
        job, **parameters, ext_params={"skip": "and"}, input=[text(line) for line in LINES]
    )
    assert dict(ran.pairs) == EXPECTED
    assert len(ran.pairs) == len(EXPECTED)
    assert ran.contexts["map"][0].statuses == ["map without and"]
    assert "reduce without and" in capsys.readouterr().out


def test_either_of_the_two_may_be_python(engine: Any, compiled: Compiled, text: Text) -> None:
    """So that texts and numbers as texts travel between them; keys get their labels as usual."""
    files = external(compiled("external.c"))

    def emit(line: bytes, params: Any) -> Any:
        return [(word.decode(), "1") for word in line.split()]

    def add(pairs: Any, params: Any) -> Any:
        totals: Counter[bytes] = Counter()
        for word, count in pairs:
            totals[word] += int(count)
        return [(word, b"%d" % count) for word, count in totals.items()]

    for parameters in ({"map": emit, "reduce": files}, {"map": files, "reduce": add}):
        ran = engine.run(
            Job(), **parameters, sort=True, partitions=2, input=[text(line) for line in LINES]
        )
        assert dict(ran.pairs) == {word: b"%d" % count for word, count in WORDS.items()}


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], dict[str, bytes]]:
    """Give a function that makes a program of Python code, with a file beside it."""

    def make(code: str) -> dict[str, bytes]:
        path, beside = tmp_path / "program", tmp_path / "words.txt"
        path.write_text(f"#!{sys.executable} -IS\nimport struct, sys, time\n{code}\n")
        beside.write_text("beside")
        return external([str(path), str(beside)])

    return make


def test_parameters_come_first_and_supporting_files_are_beside_the_program(
    engine: Any, script: Any
) -> None:
    program = script(
        "data = sys.stdin.buffer.read()\n"
        "beside = open('words.txt', 'rb').read()\n"
        "out = struct.pack('<III', 1, 6, len(data)) \n"
        "sys.stdout.buffer.write(out[:8] + beside + out[8:] + data)"
    )
    expected = {
        b"raw\0": b"raw\0",
        "text é": "text é".encode(),
        None: b"0\n",
        "dict": b"8\n1 a 1 b\n",
    }
    for params, sent in expected.items():
        given: Any = {"a": "b"} if params == "dict" else params
        job = Job()
        ran = engine.run(
            job,
            reduce=program,
            ext_params=given,
            input=["raw://x"],
            map=lambda entry, params: [("k", "v")],
        )
        assert ran.pairs == [(b"beside", sent + item(b"k") + item(b"v"))]


def test_what_a_reader_gives_may_be_values_or_pairs(engine: Any, script: Any) -> None:
    """A map must answer each before it reads the next; here all are written at once, at the end."""
    program = script(
        "lists = []\n"
        "sys.stdin.buffer.read(2)\n"
        "while head := sys.stdin.buffer.read(4):\n"
        "    key = sys.stdin.buffer.read(struct.unpack('<I', head)[0])\n"
        "    size = sys.stdin.buffer.read(4)\n"
        "    value = sys.stdin.buffer.read(struct.unpack('<I', size)[0])\n"
        "    lists.append(struct.pack('<I', 1) + head + key + size + value)\n"
        "sys.stdout.buffer.write(b''.join(lists)); sys.stdout.flush(); time.sleep(600)"
    )

    def entries(stream: Any, size: Any, url: str) -> Any:
        return [("key", "välue"), b"value alone", (b"1", b"2")] * 2000

    ran = engine.run(Job(), map=program, map_reader=entries, input=["raw://x"])
    assert ran.pairs == [(b"key", "välue".encode()), (b"", b"value alone"), (b"1", b"2")] * 2000


# --- what goes wrong ----------------------------------------------------------------------------


def failure(engine: Any, files: Any, mode: str = "map", **parameters: Any) -> Any:
    functions = {"map": files, "reduce": files}
    if mode == "reduce":
        functions["map"] = lambda entry, params: [("k", "v" * 100_000)] * 20
    with pytest.raises(ProgramError) as raised:
        engine.run(Job(), **functions, **parameters, input=["raw://x"])
    return raised.value.failure


def test_what_a_program_says_is_wrong_ends_the_job(engine: Any, compiled: Compiled) -> None:
    files = external(compiled("external.c"))
    found = failure(engine, files, ext_params={"fail": "error"})
    assert found.kind is FailureKind.FATAL
    assert found.message == "the external map: no such column"


@pytest.mark.parametrize("mode", ["map", "reduce"])
def test_a_program_that_ends_early_is_tried_again(
    engine: Any, compiled: Compiled, mode: str
) -> None:
    found = failure(engine, external(compiled("external.c")), mode, ext_params={"fail": "exit"})
    assert found.kind is FailureKind.USER
    assert f"the external {mode} failed: it exited with status 3 before it had" in found.message
    assert "out of ideas" in found.traceback


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.stdin.buffer.read(); sys.exit(7)", "it exited with status 7"),
        (
            "sys.stdin.buffer.read(); sys.stdout.buffer.write(struct.pack('<II', 1, 9) + b'key')",
            "status 0 before it had written all of its output",
        ),
        (
            "sys.stdout.buffer.write(struct.pack('<II', 1, 1 << 31)); sys.stdout.flush()\n"
            "time.sleep(600)",
            "it wrote a key or value of 2,147,483,648 bytes",
        ),
    ],
)
def test_a_reduce_is_over_when_it_has_ended_well(
    engine: Any, script: Any, code: str, reason: str
) -> None:
    assert reason in failure(engine, script(code), "reduce").message


@pytest.mark.parametrize("code", ["sys.exit(2)", "sys.stdout.close(); sys.stderr.close()"])
def test_a_map_that_stops_answering_is_not_waited_for(engine: Any, script: Any, code: str) -> None:
    """Long before all entries were sent."""
    code = f"import os\n{code}\nos.close(1); os.close(2); sys.stdin.buffer.read(); time.sleep(0.1)"

    def many(stream: Any, size: Any, url: str) -> Any:
        return [b"x" * 10_000] * 1_000

    found = failure(engine, script(code), map_reader=many)
    assert "the external map failed: it" in found.message
    assert "before it had" in found.message


def test_entries_that_are_no_text_are_refused(engine: Any, script: Any) -> None:
    program = script("time.sleep(600)")
    with pytest.raises(RecordError, match=re.escape("('a', 1) has a int")):
        engine.run(Job(), map=lambda entry, params: [("a", 1)], reduce=program, input=["raw://x"])


def test_on_a_worker_files_are_found_that_have_travelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There a job that came as a file is imported again, wherever the author's files were."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "program").write_bytes(b"travelled")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert external(["build/program"]) == {"op": b"travelled"}


def test_what_cannot_be_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiscoError, match=r"no file .*missing"):
        external([tmp_path / "missing"])
    with pytest.raises(DiscoError, match="at least the path"):
        external([])
    with pytest.raises(DiscoError, match="must be a function, or a dict of a program's files"):
        External(mode="map", files={"program": b""}).check()
    with pytest.raises(DiscoError, match="ext_params must be bytes"):
        External(mode="map", files={"op": b""}, params=3).check()

"""Inputs that come from a web server, and inputs of which there are several copies."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import User

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = EXAMPLES / "data" / "kjv"
COUNT = """\
from disco import Job
from disco.worker.classic.func import sum_combiner, sum_reduce

class Count(Job):
    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)

    @staticmethod
    def map(line, params):
        for word in line.decode().split():
            yield word, 1
"""
MANIFEST = """\
apiVersion: discoproject.org/v1alpha1
kind: DiscoJob
metadata: {{name: replicated}}
spec:
  job: count:Count
  inputs:
    - [{first}, {second}]
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """Serve the examples' texts, and return the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(TEXTS))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def words_of(*names: str) -> Counter[str]:
    text = "".join(lzma.decompress((TEXTS / name).read_bytes()).decode() for name in names)
    return Counter(re.findall("[a-z']+", text.lower()))


def test_the_words_of_compressed_texts_of_a_web_server_are_counted(user: User, server: str) -> None:
    names = ["08-ruth.txt.xz", "32-jonah.txt.xz"]
    job = str(EXAMPLES / "01-wordcount/wordcount.py")

    ended = user.run(
        *(job, *(f"{server}/{name}" for name in names)),
        *("--quiet", "--output", "out", "--format", "jsonl"),
    )

    assert (ended.status, ended.err) == (0, "")
    parts = [user.directory / "out" / f"part-0000{part}.jsonl" for part in range(2)]
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert {row["key"]: row["value"] for row in rows} == words_of(*names)
    assert len(rows) == len(words_of(*names))


def test_a_replica_that_is_missing_is_done_without(user: User) -> None:
    user.write("count.py", COUNT)
    user.write("there.txt", "a b a\n")
    user.write("job.yaml", MANIFEST.format(first="gone.txt", second="there.txt"))

    ended = user.run("job.yaml", "--quiet")

    assert (ended.status, ended.err) == (0, "")
    assert sorted(ended.out.splitlines()) == ["a\t2", "b\t1"]


def test_where_a_replica_breaks_off_another_is_read_on_and_no_line_twice(user: User) -> None:
    text = b"".join(b"word%d\n" % (number % 10) for number in range(200_000))
    user.write("count.py", COUNT)
    user.write("broken.txt.xz", lzma.compress(text)[:-100])
    user.write("whole.txt.xz", lzma.compress(text))
    user.write("job.yaml", MANIFEST.format(first="broken.txt.xz", second="whole.txt.xz"))

    ended = user.run("job.yaml", "--quiet")

    assert (ended.status, ended.err) == (0, "")
    assert sorted(ended.out.splitlines()) == [f"word{n}\t20000" for n in range(10)]


def test_a_replica_that_is_damaged_in_the_middle_costs_an_attempt_and_no_wrong_line(
    user: User,
) -> None:
    """Checksums come at the end: what was read before the damage was found may be wrong."""
    text = b"".join(b"word%d\n" % (number * 7919 % 10) for number in range(200_000))
    packed = gzip.compress(text)
    middle = len(packed) // 2
    user.write("count.py", COUNT)
    user.write("bad.gz", packed[:middle] + bytes([packed[middle] ^ 1]) + packed[middle + 1 :])
    user.write("good.gz", packed)
    user.write("job.yaml", MANIFEST.format(first="bad.gz", second="good.gz"))

    ended = user.run("job.yaml")

    assert ended.status == 0, ended.err
    assert sorted(ended.out.splitlines()) == [f"word{n}\t20000" for n in range(10)]
    assert f"cannot read {user.directory}/bad.gz: broken gzip data" in ended.err
    assert "so the task begins anew with another replica" in ended.err


def test_if_all_replicas_are_missing_each_is_named(user: User) -> None:
    user.write("count.py", COUNT)
    user.write("job.yaml", MANIFEST.format(first="gone.txt", second="lost.txt"))

    error = user.fail("job.yaml", "--output", "out")

    assert "none of the 2 replicas can be read: no such file: " in error
    assert f"{user.directory}/gone.txt" in error
    assert f"{user.directory}/lost.txt" in error

"""A partition that is many times larger than what may be sorted in memory."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from tests.integration.conftest import User

TASKS = 16
RECORDS_PER_TASK = 2_700
VALUE_BYTES = 1_000
SORT_MEMORY_BYTES = 2 * 1024 * 1024

JOB = f"""\
import random
import resource
from zlib import crc32

from disco import Job
from disco.util import kvgroup

class Group(Job):
    partitions = 1
    sort = True

    @staticmethod
    def map(seed, params):
        choose = random.Random(int(seed))
        for number in range({RECORDS_PER_TASK}):
            key = choose.randrange(3000) if number % 2 else 1234
            yield key, choose.randbytes({VALUE_BYTES})

    @staticmethod
    def reduce(pairs, params):
        for key, values in kvgroup(pairs):
            count = checksum = 0
            for value in values:
                count += 1
                checksum ^= crc32(value)
            yield f"{{key:04}}", f"{{count}} {{checksum}}"
        yield "peak KiB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""


def expected() -> dict[int, tuple[int, int]]:
    """Return how many values each key has, and the checksums of all of them together."""
    found: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for seed in range(TASKS):
        choose = random.Random(seed)
        for number in range(RECORDS_PER_TASK):
            key = choose.randrange(3000) if number % 2 else 1234
            count, checksum = found[key]
            found[key] = count + 1, checksum ^ crc32(choose.randbytes(VALUE_BYTES))
    return found


def test_a_partition_of_twenty_times_its_memory_is_sorted_and_grouped_in_little_memory(
    user: User,
) -> None:
    """Half of the values belong to one key: they, too, are ten times what may be in memory."""
    assert TASKS * RECORDS_PER_TASK * VALUE_BYTES > 20 * SORT_MEMORY_BYTES
    user.write("group.py", JOB)

    ended = user.run(
        *("group.py", *(f"raw://{seed}" for seed in range(TASKS))),
        *("--sort-memory", str(SORT_MEMORY_BYTES), "--output", "out", "--quiet"),
    )

    assert (ended.status, ended.err) == (0, "")
    lines = (user.directory / "out/part-00000.txt").read_text().splitlines()
    peak, peak_kib = lines.pop().split("\t")
    wanted = [f"{key:04}\t{count} {crc}" for key, (count, crc) in sorted(expected().items())]
    assert lines == wanted
    assert peak == "peak KiB"
    assert int(peak_kib) < 64 * 1024, "of which an idle slot has 30 MiB, and a block or two 1 each"

"""Which tasks are measured, and what of their statistics is the user's."""

import cProfile
import io
import marshal
import pstats
from typing import Any

import disco_engine
from disco import profiling
from disco.profiling import FRAMEWORK, Stats, is_measured, merged, packed, prefix_of, users_part

USERS = ("/home/me/job.py", 3, "map")
BUILT_IN = ("~", 0, "<built-in method len>")
OURS = (f"{disco_engine.__path__[0]}/records/writers.py", 10, "partition")
OURS_WITHIN = (f"{disco_engine.__path__[0]}/records/blocks.py", 20, "encode")


def stats() -> Stats:
    """Return those of a framework's loop that calls the user's map; both call len and ours."""
    return {
        OURS: (1, 1, 3.0, 10.0, {}),
        USERS: (5, 5, 2.0, 4.0, {OURS: (5, 5, 2.0, 4.0)}),
        BUILT_IN: (7, 7, 0.7, 0.7, {USERS: (5, 5, 0.5, 0.5), OURS: (2, 2, 0.2, 0.2)}),
        OURS_WITHIN: (1, 1, 4.3, 4.3, {OURS: (1, 1, 4.3, 4.3)}),
    }


def test_the_user_s_functions_keep_their_times_and_the_framework_is_one_line() -> None:
    mine = users_part(stats())
    assert mine == {
        USERS: (5, 5, 2.0, 4.0, {FRAMEWORK: (5, 5, 2.0, 4.0)}),
        BUILT_IN: (5, 5, 0.5, 0.5, {USERS: (5, 5, 0.5, 0.5)}),
        FRAMEWORK: (1, 1, 7.5, 10.0, {}),
    }
    assert sum(entry[2] for entry in mine.values()) == 10.0


def test_of_the_framework_there_is_what_the_user_calls_himself() -> None:
    found = stats()
    found[OURS_WITHIN][4][USERS] = (1, 1, 1.0, 1.0)
    assert users_part(found)[OURS_WITHIN] == (1, 1, 1.0, 1.0, {USERS: (1, 1, 1.0, 1.0)})


def test_a_profile_has_no_more_than_the_functions_that_matter_most() -> None:
    many: Stats = {("/home/me/job.py", n, f"f{n}"): (1, 1, 0.001, n / 999, {}) for n in range(999)}
    data = packed(users_part(many))
    assert len(data) < 16 * 1024
    kept = marshal.loads(data)
    assert 100 < len(kept) < 999
    assert ("/home/me/job.py", 998, "f998") in kept
    assert FRAMEWORK in kept


def test_all_tasks_of_small_stages_are_measured_and_a_sample_of_large_ones() -> None:
    assert [sum(map(is_measured, range(count))) for count in (100, 256, 50_000)] == [100, 256, 1220]


def test_the_names_of_stages_become_such_as_keys_can_have() -> None:
    assert prefix_of("map é/x") == "profile-map___x"


def test_several_profiles_become_one_that_pstats_knows() -> None:
    profile = cProfile.Profile()
    profile.runcall(sorted, [2, 1])
    profile.create_stats()
    measured: Any = profile
    one = marshal.dumps(users_part({**measured.stats, **stats()}))
    stream = io.StringIO()
    total = merged([one, one], stream)
    assert isinstance(total, pstats.Stats)
    total.print_stats()
    assert "10    4.000    0.400    8.000    0.800 job.py:3(map)" in stream.getvalue()
    assert profiling.PREFIX == "profile-"

"""Run seeds (``python -m simulator 0:1000``) or tell one (``python -m simulator 17 --story``)."""

import argparse
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor

from simulator.seeds import Told, run_seed

_LINES = 60
_AT_ONCE = 5  # seeds that a process is given together


def main() -> int:
    """Run what is asked for; 1 if a seed has failed."""
    arguments = _parser().parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of strings is part of what a seed must repeat.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulator", *sys.argv[1:]])
    first, colon, end = arguments.seeds.partition(":")
    seeds = range(int(first), int(end) if colon else int(first) + 1)
    if arguments.story or len(seeds) == 1:
        return _one_by_one(seeds, story=arguments.story)
    return _all(seeds, arguments.processes or os.cpu_count() or 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="Simulate jobs.")
    parser.add_argument("seeds", help="from:to (without the last), or one")
    parser.add_argument("--story", action="store_true", help="tell all that happens")
    parser.add_argument("--processes", type=int, default=0, help="default: one for each core")
    return parser


def _one_by_one(seeds: Iterable[int], *, story: bool) -> int:
    passed = 0
    for seed in seeds:
        try:
            told = run_seed(seed)
        except Told as violation:
            _report(violation, all_of_it=story)
            print(f"{passed} passed, 1 failed")
            return 1
        passed += 1
        if story:
            _print(told)
    print(f"{passed} passed, 0 failed")
    return 0


def _report(told: Told, *, all_of_it: bool) -> None:
    lines = told.story if all_of_it else told.story[:1] + told.story[1:][-_LINES:]
    _print(lines)
    if all_of_it:
        print(told.trace)
    print(f"FAILED {told}")
    print(f"Repeat it with: make simulate SEED={told.seed} STORY=1")


def _print(story: Iterable[tuple[float, str]]) -> None:
    for when, text in story:
        print(f"{when:9.3f} s  {text}")


def _all(seeds: range, processes: int) -> int:
    passed = 0
    with ProcessPoolExecutor(processes) as pool:
        for failure in pool.map(_failure_of, seeds, chunksize=_AT_ONCE):
            if failure is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                _report(failure, all_of_it=False)
                print(f"{passed} passed, 1 failed")
                return 1
            passed += 1
    print(f"{passed} passed, 0 failed")
    return 0


def _failure_of(seed: int) -> Told | None:
    try:
        run_seed(seed)
    except Told as told:
        return told
    return None


if __name__ == "__main__":
    sys.exit(main())

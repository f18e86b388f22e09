"""Run seeds (``python -m simulator 0:1000``) or tell one (``python -m simulator 17 --story``)."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from simulator.faults import FAULTS, NAMES, Fault
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
        return _one_by_one(seeds, arguments.faults, story=arguments.story)
    return _all(seeds, arguments.faults, arguments.processes or os.cpu_count() or 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description="Simulate jobs.")
    parser.add_argument("seeds", help="from:to (without the last), or one")
    parser.add_argument("--story", action="store_true", help="tell all that happens")
    parser.add_argument(
        "--faults",
        type=_faults,
        default=[],
        metavar="NAME,NAME",
        help=f"let only these strike, all equally often: {', '.join(NAMES)}",
    )
    parser.add_argument("--processes", type=int, default=0, help="default: one for each core")
    return parser


def _faults(text: str) -> list[str]:
    names = text.split(",") if text else []
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"no fault {name!r}; there are: {', '.join(NAMES)}")
    return names


def _one_by_one(seeds: Iterable[int], faults: Sequence[str], *, story: bool) -> int:
    passed = 0
    for seed in seeds:
        try:
            told = run_seed(seed, _weights(faults))
        except Told as violation:
            _report(violation, faults, all_of_it=story)
            print(f"{passed} passed, 1 failed")
            return 1
        passed += 1
        if story:
            _print(told)
    print(f"{passed} passed, 0 failed")
    return 0


def _weights(faults: Sequence[str]) -> Mapping[Fault, float]:
    return {NAMES[name]: 1 for name in faults} or FAULTS


def _report(told: Told, faults: Sequence[str], *, all_of_it: bool) -> None:
    lines = told.story if all_of_it else told.story[:1] + told.story[1:][-_LINES:]
    _print(lines)
    if all_of_it:
        print(told.trace)
    print(f"FAILED {told}")
    only = f" FAULTS={','.join(faults)}" if faults else ""
    print(f"Repeat it with: make simulate SEED={told.seed}{only} STORY=1")


def _print(story: Iterable[tuple[float, str]]) -> None:
    for when, text in story:
        print(f"{when:9.3f} s  {text}")


def _all(seeds: range, faults: Sequence[str], processes: int) -> int:
    passed = 0
    with ProcessPoolExecutor(processes) as pool:
        for failure in pool.map(partial(_failure_of, faults), seeds, chunksize=_AT_ONCE):
            if failure is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                _report(failure, faults, all_of_it=False)
                print(f"{passed} passed, 1 failed")
                return 1
            passed += 1
    print(f"{passed} passed, 0 failed")
    return 0


def _failure_of(faults: Sequence[str], seed: int) -> Told | None:
    try:
        run_seed(seed, _weights(faults))
    except Told as told:
        return told
    return None


if __name__ == "__main__":
    sys.exit(main())

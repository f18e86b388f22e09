"""Play seeds (``python -m chaos 0:8``), or one after the other for a while (``--minutes 30``)."""

import argparse
import itertools
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from chaos.faults import command_in_own_network
from chaos.round import Round, WrongError, clear, play
from chaos.scene import scene_of


def main() -> int:
    """Play what is asked for; 1 if a seed has failed."""
    arguments = _parser().parse_args()
    command = command_in_own_network([sys.executable, "-m", "chaos", *sys.argv[1:]])
    if command is not None:
        os.execvp(command[0], command)
    first, colon, end = (arguments.seeds or str(random.randrange(1_000_000))).partition(":")
    if arguments.minutes is not None:
        ends_s = time.monotonic() + 60 * arguments.minutes
        # At least one: a seed is repeated with no time at all.
        rounds = itertools.takewhile(
            lambda seed: seed == int(first) or time.monotonic() < ends_s,
            itertools.count(int(first)),
        )
        return _play(rounds, story=arguments.story, most_faults=arguments.faults)
    seeds = range(int(first), int(end) if colon else int(first) + 1)
    return _play(seeds, story=arguments.story, most_faults=arguments.faults)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Run jobs on this machine, hurt all that works on them, and check the results.",
    )
    parser.add_argument(
        "seeds", nargs="?", help="from:to (without the last), or one (default: any)"
    )
    parser.add_argument("--minutes", type=float, help="go on with the next seeds for so long")
    parser.add_argument("--faults", type=int, default=6, help="of a round, at most")
    parser.add_argument("--story", action="store_true", help="tell all that happens")
    return parser


def _play(seeds: Iterable[int], *, story: bool, most_faults: int) -> int:
    began = time.monotonic()
    totals: Counter[str] = Counter()
    for seed in seeds:
        scene = scene_of(seed, most_faults=most_faults)
        directory = Path(tempfile.mkdtemp(prefix="disco-chaos-"))
        try:
            played = play(scene, directory)
        except WrongError as wrong:
            print(f"FAILED seed {seed}: {scene}\n{wrong}")
            print(f"The logs of all processes are in {directory}")
            print(f"Repeat it with: make soak SEED={seed} MINUTES=0")
            _sum_up(totals, began, failed=1)
            return 1
        clear(directory)
        totals += _counted(played)
        _tell(seed, f"{scene}", played, story=story)
    _sum_up(totals, began, failed=0)
    return 0


def _counted(played: Round) -> Counter[str]:
    return Counter(rounds=1, faults=played.faults, retries=played.retries, restarts=played.restarts)


def _tell(seed: int, scene: str, played: Round, *, story: bool) -> None:
    if story:
        for when, what in played.story:
            print(f"{when:9.3f} s  {what}")
    print(
        f"seed {seed}: {scene}: {played.faults} faults, {played.retries} retries,"
        f" {played.restarts} restarts, {played.seconds:.1f} s, checksum ok",
        flush=True,
    )


def _sum_up(totals: Counter[str], began: float, *, failed: int) -> None:
    print(
        f"{totals['rounds']} passed, {failed} failed in {(time.monotonic() - began) / 60:.1f} min:"
        f" {totals['faults']} faults, {totals['retries']} retries, {totals['restarts']} restarts"
    )


if __name__ == "__main__":
    sys.exit(main())

"""Play seeds on a cluster (``python -m faults 0:8``), or one after the other (``--minutes 30``)."""

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from harness.gateway import Gateway
from harness.kubectl import proxy
from harness.release import Operator
from harness.settings import Settings, UnavailableError

from faults.rounds import Outcome, Stand, play


def main() -> int:
    """Play what is asked for; 1 if a seed has failed, 2 if there is no cluster to play it on."""
    arguments = _parser().parse_args()
    first, colon, end = (arguments.seeds or str(random.randrange(1_000_000))).partition(":")
    seeds: Iterable[int] = range(int(first), int(end) if colon else int(first) + 1)
    if arguments.minutes is not None:
        ends_s = time.monotonic() + 60 * arguments.minutes
        # At least one: a seed is repeated with no time at all.
        seeds = itertools.takewhile(
            lambda seed: seed == int(first) or time.monotonic() < ends_s,
            itertools.count(int(first)),
        )
    try:
        settings = Settings.from_environment()
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 2
    if settings.local is None:
        print("the nodes of this cluster are not ours to break", file=sys.stderr)
        return 2
    with proxy() as api, tempfile.TemporaryDirectory() as folder:
        operator = Operator(api, settings.image)
        operator.install()
        stand = Stand(
            api=api,
            cluster=settings.local,
            image=settings.image,
            operator=operator,
            gateway=Gateway(api, operator, Path(folder)),
        )
        return _play(stand, seeds, go_on=arguments.go_on)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m faults",
        description="Run jobs on a cluster, hurt all that works on them, and check the results.",
    )
    parser.add_argument(
        "seeds", nargs="?", help="from:to (without the last), or one (default: any)"
    )
    parser.add_argument("--minutes", type=float, help="go on with the next seeds for so long")
    parser.add_argument("--go-on", action="store_true", help="do not end at a seed that fails")
    return parser


def _play(stand: Stand, seeds: Iterable[int], *, go_on: bool) -> int:
    began = time.monotonic()
    totals: Counter[str] = Counter()
    for seed in seeds:
        try:
            outcome = play(stand, seed)
        except Exception as error:  # whatever it is, it belongs to this seed
            totals["failed"] += 1
            print(f"FAILED seed {seed}: {type(error).__name__}: {error}", flush=True)
            print("\n".join(getattr(error, "__notes__", ())))
            print(f"Repeat it with: make soak-cluster SEED={seed} MINUTES=0", flush=True)
            if not go_on:
                break
        else:
            totals.update(rounds=1, faults=len(outcome.story), retries=outcome.retries)
            _tell(outcome)
    print(
        f"{totals['rounds']} passed, {totals['failed']} failed in"
        f" {(time.monotonic() - began) / 60:.1f} min: {totals['faults']} faults,"
        f" {totals['retries']} retries"
    )
    return bool(totals["failed"])


def _tell(outcome: Outcome) -> None:
    for line in outcome.story:
        print(line)
    print(
        f"seed {outcome.seed}: {len(outcome.story)} faults, {outcome.retries} retries,"
        f" {outcome.seconds:.1f} s, checksum ok",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

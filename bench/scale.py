"""Measure how far it goes: each figure of docs/scale.md, beside the bound it is compared with.

python bench/scale.py tasks
python bench/scale.py core labels --quick
"""

import argparse
import shlex
import signal
import sys

from scaling import cancel, core, labels, sort, tasks, workers
from scaling.table import HEADER, machine

FIGURES = {
    "tasks": tasks,
    "cancel": cancel,
    "core": core,
    "labels": labels,
    "workers": workers,
    "sort": sort,
}


def main() -> None:
    """Read the command line, measure, print a row as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    for name, module in FIGURES.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        figure = figures.add_parser(name, help=summary, description=summary)
        figure.add_argument("--quick", action="store_true", help="a tenth or less, for a try")
        module.add_arguments(figure)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # leave no files and processes behind
    print(f"Machine: {machine()}. Command: `python bench/scale.py {shlex.join(sys.argv[1:])}`\n")
    print(HEADER, flush=True)
    missed = False
    for row in FIGURES[options.figure].run(options):
        print(row, flush=True)
        missed |= row.met is False
    sys.exit(missed)


if __name__ == "__main__":
    main()

"""Dask bag, two worker processes."""

import sys

import dask
import dask.bag


def main(case, paths):
    """Run one case and print a checksum that all contenders share."""
    assert case == "wordcount", case
    with dask.config.set(scheduler="processes", num_workers=2):
        words = dask.bag.read_text(paths).map(str.split).flatten()
        counts = words.frequencies().compute()
    print(len(counts), sum(number for _, number in counts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

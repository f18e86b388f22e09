"""The bare loop: a process per core, a dictionary per file, merged at the end."""

import sys
from multiprocessing import Pool


def count(path):
    """Return {word: count} of one file."""
    words = {}
    with open(path, "rb") as lines:
        for line in lines:
            for word in line.split():
                words[word] = words.get(word, 0) + 1
    return words


if __name__ == "__main__":
    case, *paths = sys.argv[1:]
    assert case == "wordcount", case
    totals = {}
    with Pool(2) as pool:
        for words in pool.imap_unordered(count, paths):
            for word, number in words.items():
                totals[word] = totals.get(word, 0) + number
    print(len(totals), sum(totals.values()))

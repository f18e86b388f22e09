"""PageRank: a job per round, each reading the results of the one before.

Run it with `python pagerank.py pages.txt`. Source of the algorithm: Page, Brin, Motwani, Winograd:
The PageRank Citation Ranking, 1999.
"""

import sys

from disco import Job, result_iterator
from disco.util import kvgroup

DAMPING = 0.85


class Load(Job):
    """From lines `page<TAB>link link …` to (page, (1.0, links)), also for pages without links."""

    partitions = 2
    sort = True

    @staticmethod
    def map(line, params):
        """Yield each page with its links, and each link as a page of its own."""
        page, _, links = line.decode().rstrip("\n").partition("\t")
        yield page.encode(), links.split()
        for link in links.split():
            yield link.encode(), []

    @staticmethod
    def reduce(pairs, params):
        """Yield (page, (rank, links))."""
        for page, lists in kvgroup(pairs):
            yield page, (1.0, sorted({link for links in lists for link in links}))


class Round(Job):
    """One round: from (page, (rank, links)) to the same with new ranks."""

    partitions = 2
    sort = True

    @staticmethod
    def map(entry, params):
        """Yield the page's links, and for each link its share of the page's rank."""
        page, (rank, links) = entry
        yield page, links
        for link in links:
            yield link.encode(), rank / len(links)

    @staticmethod
    def reduce(pairs, params):
        """Yield (page, (new rank, links))."""
        for page, parts in kvgroup(pairs):
            share, links = 0.0, []
            for part in parts:
                if isinstance(part, list):
                    links = part
                else:
                    share += part
            yield page, (1 - DAMPING + DAMPING * share, links)


def pagerank(inputs, rounds):
    """Return {page: rank} after *rounds* rounds."""
    job = Load().run(input=inputs)
    for _ in range(rounds):
        previous, job = job, Round().run(input=job.wait())
        job.wait()
        previous.purge()
    ranks = {page.decode(): rank for page, (rank, _) in result_iterator(job.wait())}
    job.purge()
    return ranks


if __name__ == "__main__":
    for page, rank in sorted(pagerank(sys.argv[1:], 10).items(), key=lambda item: -item[1]):
        print(f"{rank:8.4f}  {page}")

"""Naive Bayes: one job learns which words belong to which book, another guesses books of verses.

Run it with `python naive_bayes.py BOOK.txt…`; a line is `Book chapter:verse<TAB>text`. Every fifth
verse is kept back: the second job tries on these what the first has learnt from the others. Source
of the method: Mitchell, Machine Learning, 1997, chapter 6.
"""

import re
import sys
from math import log

from disco.core import Job, result_iterator
from disco.worker.classic.func import sum_combiner, sum_reduce
from disco.worker.classic.worker import Params

WORD = re.compile("[a-z']+")
REFERENCE = re.compile(r"(.+) (\d+):(\d+)$")
KEPT_BACK = 5


def parsed(line):
    """Return (book, words, whether the verse is kept back) of a line."""
    reference, _, text = line.decode().partition("\t")
    book, _, verse = REFERENCE.match(reference).groups()
    return book, WORD.findall(text.lower()), int(verse) % KEPT_BACK == 0


class Learn(Job):
    """From verses to ((book, word), how often), and ((book, None), how many verses)."""

    partitions = 2
    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)

    @staticmethod
    def map(line, params):
        """Count a verse and its words, unless it is kept back."""
        book, words, kept_back = parsed(line)
        if not kept_back:
            yield (book, None), 1
            for word in words:
                yield (book, word), 1


class Model:
    """What there is to know about words and books.

    Args:
        counts: The results of `Learn`.
    """

    def __init__(self, counts):
        counts = dict(counts)
        verses = {book: count for (book, word), count in counts.items() if word is None}
        words = {pair: count for pair, count in counts.items() if pair[1] is not None}
        totals = dict.fromkeys(verses, 0)
        for (book, _), count in words.items():
            totals[book] += count
        self.priors = {book: log(count / sum(verses.values())) for book, count in verses.items()}
        vocabulary = len({word for _, word in words})
        # One is added to each count, so that a word that is new to a book does not rule it out.
        self.unseen = {book: -log(total + vocabulary) for book, total in totals.items()}
        self.seen = {pair: log(1 + count) for pair, count in words.items()}

    def guess(self, words):
        """Return the book that such words most likely come from."""

        def likelihood(book):
            known = sum(self.seen.get((book, word), 0.0) for word in words)
            return self.priors[book] + known + self.unseen[book] * len(words)

        return max(self.priors, key=likelihood)


class Guess(Job):
    """From verses that were kept back to ((book, guessed book), how often)."""

    combiner = staticmethod(sum_combiner)
    reduce = staticmethod(sum_reduce)

    @staticmethod
    def map(line, params):
        """Guess where a verse comes from."""
        book, words, kept_back = parsed(line)
        if kept_back:
            yield (book, params.model.guess(words)), 1


def confusion(inputs):
    """Return {(book, guessed book): how many verses}, of those that were kept back."""
    learn = Learn().run(input=inputs)
    model = Model(result_iterator(learn.wait()))
    guess = Guess().run(input=inputs, params=Params(model=model))
    found = dict(result_iterator(guess.wait()))
    learn.purge()
    guess.purge()
    return found


if __name__ == "__main__":
    guesses = confusion(sys.argv[1:])
    for (book, guessed), count in sorted(guesses.items()):
        print(f"{count:6d}  {book} -> {guessed}")
    right = sum(count for (book, guessed), count in guesses.items() if book == guessed)
    print(f"{100 * right / sum(guesses.values()):.1f} % right")

"""The most frequent words of a text, as a pipeline of three stages."""

import heapq
import re
from collections import Counter
from zlib import crc32

from disco import Job, Stage, group_all, group_label, split

WORD = re.compile(rb"[A-Za-z']+")


def count_words(interface, state, label, lines):
    """Count one piece of the text; a word's label decides which task adds it up."""
    counts = Counter(word for line in lines for word in WORD.findall(line.lower()))
    for word, count in counts.items():
        interface.output(crc32(word) % 4).add(word.decode(), count)


def new_counter(interface, params):
    """Return the state that `add_up` and `emit_top` share."""
    return Counter()


def add_up(interface, totals, label, counts):
    """Add the counts of the pieces."""
    for word, count in counts:
        totals[word] += count


def emit_top(interface, totals):
    """Emit the most frequent words of this task, most frequent first."""
    top = heapq.nsmallest(20, totals.items(), key=lambda item: (-item[1], item[0]))
    for word, count in top:
        interface.output(0).add(word, count)


class TopWords(Job):
    """From lines of text to the twenty most frequent words."""

    pipeline = [
        (split, Stage("count", process=count_words)),
        (group_label, Stage("sum", init=new_counter, process=add_up, done=emit_top)),
        (group_all, Stage("top", init=new_counter, process=add_up, done=emit_top)),
    ]

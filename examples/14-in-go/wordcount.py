"""Word count with a worker in Go: the engine is told of the stages, and wordcount.go does the rest.

Build the program first: `go build wordcount.go`. Then `disco run wordcount.py ../data/kjv/…`, or
`python wordcount.py TEXT…`.
"""

import sys

from disco.core import Job, result_iterator
from disco.worker.executable import Executable
from disco.worker.pipeline.worker import group_label, split


class WordCount(Job):
    """From files of text to (word, how often it occurs)."""

    Worker = Executable
    program = "wordcount"  # the file beside this one; it travels with the job
    pipeline = [(split, "map"), (group_label, "reduce")]


if __name__ == "__main__":
    job = WordCount().run(input=sys.argv[1:])
    for word, count in sorted(result_iterator(job.wait()), key=lambda item: -item[1])[:20]:
        print(f"{count:8d}  {word}")
    job.purge()

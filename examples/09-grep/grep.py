"""Search texts for a pattern: a job with a map only, whose params say what to look for.

Run it with `disco run grep.py --param pattern='[Rr]iver of' TEXT…`, or
`python grep.py PATTERN TEXT…`.
"""

import os
import re
import sys

from disco.core import Job, result_iterator
from disco.worker.classic.worker import Params, this_inputs


class Grep(Job):
    """From lines of text to (name of the file, line) for those in which the pattern is found."""

    params = Params(pattern="")

    @staticmethod
    def map_init(lines, params):
        """Compile the pattern, once per task; each task has params of its own."""
        params.found_in = re.compile(params.pattern.encode()).search

    @staticmethod
    def map(line, params):
        """Yield the line, if the pattern is in it."""
        if params.found_in(line):
            yield os.path.basename(this_inputs()[0]), line.decode().rstrip("\n")


if __name__ == "__main__":
    job = Grep().run(input=sys.argv[2:], params=Params(pattern=sys.argv[1]))
    for name, line in result_iterator(job.wait()):
        print(f"{name}: {line}")
    job.purge()

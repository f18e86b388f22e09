"""The jobs' code: programs that say where they are, and wait for the test, in files."""

from textwrap import dedent

WORDCOUNT = dedent(
    """\
    import re
    from disco import Job
    from disco.worker.classic.func import sum_combiner, sum_reduce

    class WordCount(Job):
        partitions = 2
        combiner = staticmethod(sum_combiner)
        reduce = staticmethod(sum_reduce)

        @staticmethod
        def map(line, params):
            for word in re.findall(rb"[a-z]+", line.lower()):
                yield word.decode(), 1
    """
)

GATED = dedent(
    '''\
    """Count words in two stages; every task of the second waits until the test opens the gate.

    Each attempt leaves a file in /shared/count or /shared/sum, called "<what>.<pod>.<random>".
    Those in /shared/count wait until they are from as many pods as /shared/crew says.
    """

    import os
    import socket
    import time
    import uuid
    from collections import Counter

    from disco import Job, Stage, group_label, split

    def mark(stage, what):
        open(f"/shared/{stage}/{what}.{socket.gethostname()}.{uuid.uuid4().hex[:8]}", "w").close()

    def wait_for_the_crew():
        while True:
            names = [name for name in os.listdir("/shared/count") if not name.startswith(".")]
            if len({name.split(".")[1] for name in names}) >= int(open("/shared/crew").read()):
                return
            time.sleep(0.05)

    def count(interface, state, label, lines):
        lines = list(lines)
        mark("count", lines[0].split()[0].decode())
        wait_for_the_crew()
        for line in lines:
            for word in line.split():
                interface.output(int(word[4:]) % 9).add(word.decode(), 1)

    def add_up(interface, state, label, pairs):
        mark("sum", label)
        while not os.path.exists("/shared/gate"):
            time.sleep(0.05)
        totals = Counter()
        for word, one in pairs:
            totals[word] += one
        for word, total in totals.items():
            interface.output(0).add(word, total)

    class Gated(Job):
        pipeline = [
            (split, Stage("count", process=count)),
            (group_label, Stage("sum", process=add_up, combine=True)),
        ]
    '''
)

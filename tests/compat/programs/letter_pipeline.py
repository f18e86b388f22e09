# mypy: ignore-errors
"""Counts letters in a pipeline of three stages, with a module beside it, and partials."""

from functools import partial

from letters_of import letters_of

from disco.core import Disco, result_iterator
from disco.job import Job
from disco.worker import Params
from disco.worker.pipeline.worker import Stage, Worker
from disco.worker.task_io import task_input_stream


def reader(stream, size, url, params):
    for line in stream:
        yield line * params.times


def spread(partitions, interface, state, label, inp):
    for line in inp:
        for letter in letters_of(line):
            interface.output(ord(letter) % partitions).add(letter, 1)


def start(interface, params):
    return {}


def add(interface, state, label, inp):
    for letter, ones in inp:
        state[letter] = state.get(letter, 0) + ones


def emit(interface, state):
    for letter, count in sorted(state.items()):
        interface.output(0).add(letter, count)


def collect(interface, state, label, inp):
    interface.output(0).add("all", sorted(inp))


class Letters(Job):
    Worker = Worker
    params = Params(times=2)
    pipeline = [  # noqa: RUF012
        (
            "split",
            Stage("spread", process=partial(spread, 3), input_chain=[task_input_stream, reader]),
        ),
        ("group_label", Stage("add", init=start, process=add, done=emit)),
        ("group_all", Stage("collect", process=collect, combine=True), False),
    ]


if __name__ == "__main__":
    job = Letters(name="letters").run(input=["raw://Abba", ["raw://cab"]])
    disco = Disco()
    for _, counts in result_iterator(disco.wait(job.name)):
        print(counts)
    print(len(list(job.events())) > 0)
    job.purge()

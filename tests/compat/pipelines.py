# ruff: noqa: F821, RUF012 - functions of jobs may use names that nobody imports
# mypy: ignore-errors
"""Pipelines whose records tell what their tasks saw."""

from functools import partial

from disco.job import Job
from disco.worker.pipeline.worker import Stage


def spread(interface, state, label, inp):
    """Give each entry ``WORD_NUMBER`` the label of its number."""
    for entry in inp:
        word, number = entry.split("_")
        interface.output(int(number) % 3).add(word, (label, number))


def begin(interface, params):
    return []


def gather(interface, state, label, inp):
    state.append(label)
    interface.output(0).add(label, sorted(inp))


def end(interface, state):
    interface.output(5).add("labels", state)


def backwards(state, labels):
    assert state == [], "init is called before input_hook"
    return reversed(list(labels))


def pass_on(info, interface, state, label, inp):
    """Pass records on with their label, and tell what the task is and how many there are."""
    records = list(inp)
    for key, value in records:
        interface.output(label).add(key, value)
    count = sum(1 for key, _ in records if key != "told")
    interface.output(label).add("told", (info().stage, info().group, label, count))


def passing(name, **options):
    stage = Stage(name, **options)
    stage.process = partial(pass_on, lambda: stage.taskinfo)
    return stage


class Told(Job):
    """A pipeline as a class attribute, with functions of the class's body."""

    def count(interface, state, label, inp):
        interface.output(label).add("all", (label, list(inp)))

    pipeline = [
        ("split", Stage("spread", process=spread)),
        (
            "group_label",
            Stage("gather", init=begin, process=gather, done=end, combine=True),
            True,
        ),
        ("group_all", Stage("count", process=count, input_hook=lambda state, labels: labels)),
    ]


class Backwards(Job):
    pipeline = [
        ("split", Stage("spread", process=spread)),
        (
            "group_all",
            Stage("all", init=begin, input_hook=backwards, process=gather, done=end, combine=True),
        ),
    ]


class Groups(Job):
    """A stage of each grouping, one after the other."""

    pipeline = [
        ("split", Stage("spread", process=spread)),
        ("split", passing("split")),
        ("group_node", passing("node", combine=True)),
        ("group_node_label", passing("node_label", combine=True)),
        ("group_all", passing("all", combine=True)),
        ("group_label", passing("label", combine=True)),
    ]


class Alone(Job):
    """A single stage, in which all inputs meet."""

    def show(interface, state, label, inp):
        interface.output(0).add(label, list(inp))

    pipeline = [("group_all", Stage("show", process=show))]


class SortedPipe(Job):
    def spell(interface, state, label, inp):
        for line in inp:
            for letter in line:
                interface.output(0).add(letter.encode(), 1)

    def count(interface, state, label, inp):
        for key, ones in util.kvgroup(inp):
            interface.output(0).add(key, len(list(ones)))

    pipeline = [
        ("split", Stage("spell", process=spell)),
        ("group_label", Stage("count", process=count, combine=True, sort=True)),
    ]

"""What tasks leave beside their records: limits, and which value a key has."""

from dataclasses import replace

import pytest

from disco_engine.core import values
from disco_engine.core.actions import Assign, Drop, FinishJob, Outcome, Seal
from disco_engine.core.events import AttemptFinished, CreditGranted, Sealed, SealRefused
from disco_engine.core.model import AttemptResult, Group, Grouping, TaskRef, Values
from disco_engine.core.values import ValueBook, key_problem

from .stories import only, plan_of
from .test_job_losses import PS0, PS1, W0, W1, Job, sealed

A: Values = (("k", b"a"),)
B: Values = (("k", b"b"), ("other", b"o"))


def finished(job: Job, assign: Assign, left: Values) -> list[Seal]:
    result = AttemptResult(values=left)
    event = AttemptFinished(id=assign.id, worker=assign.worker, result=result, now=job.now)
    return only(job.tell(event), Seal)


def told(job: Job) -> dict[str, bytes]:
    return dict(job.machine.values.select("", ""))


@pytest.mark.parametrize("key", ["a", "A-Z_0@9:x", "x" * 255])
def test_a_key_may_have_letters_digits_and_a_few_signs(key: str) -> None:
    assert key_problem(key) == ""


@pytest.mark.parametrize("key", ["", "a b", "ä", "a/b", "a.b", "x" * 256, "a\n", 3, b"a"])
def test_other_keys_are_refused(key: object) -> None:
    assert key_problem(key)


def test_the_latest_stage_has_the_last_word_and_in_it_the_last_task() -> None:
    book = ValueBook()
    book.put(TaskRef(2, 1), (("k", b"second stage"),))
    book.put(TaskRef(1, 7), (("k", b"task 7"), ("a", b"1")))
    book.put(TaskRef(1, 9), (("k", b"task 9"),))
    assert book.get("k") == b"second stage"
    assert list(book.select("", "")) == [("a", b"1"), ("k", b"second stage")]
    assert list(book.select("", "b")) == list(book.select("b", "")) == []
    book.forget_stage(2)
    assert book.get("k") == b"task 9"
    book.put(TaskRef(1, 9), ())
    assert book.get("k") == b"task 7"
    book.forget(TaskRef(1, 7))
    assert (book.get("k"), book.size) == (None, 0)


def test_a_value_counts_once_its_attempt_is_sealed() -> None:
    job = Job()
    running = job.planned(plan_of(Grouping.SPLIT))
    (seal,) = finished(job, running[W0], A)
    assert (seal.values, told(job)) == (A, {})
    job.tell(Sealed(id=seal.id, service=seal.service))
    assert told(job) == {"k": b"a"}


def test_values_of_an_attempt_that_cannot_be_sealed_are_never_seen() -> None:
    job = Job()
    running = job.planned(plan_of(Grouping.SPLIT))
    (seal,) = finished(job, running[W0], B)
    job.tell(SealRefused(id=seal.id, service=seal.service, reason="it has restarted"))
    assert told(job) == {}
    job.tell(CreditGranted(worker=W0, tasks=1, now=job.now))
    (again,) = job.tick()
    (seal,) = finished(job, again, A)
    job.tell(Sealed(id=seal.id, service=seal.service))
    assert told(job) == {"k": b"a"}


def test_a_new_coordinator_finds_values_with_what_is_sealed() -> None:
    job = Job(epoch=2)
    plan = plan_of(Grouping.SPLIT)
    held = replace(sealed(1, 0, Group(origin=0)), values=A)
    job.attach(PS0, held, plan=plan)
    job.lose("ps-1")  # type: ignore[arg-type]
    assert told(job) == {"k": b"a"}


def test_values_outlive_the_service_that_keeps_them_as_long_as_the_coordinator_does() -> None:
    job = Job()
    running = job.planned(plan_of(Grouping.SPLIT))
    (seal,) = finished(job, running[W0], A)
    job.tell(Sealed(id=seal.id, service=seal.service))
    job.lose(seal.service)
    assert told(job) == {"k": b"a"}
    (note,) = [one for one in only(job.restart(seal.service), Seal) if one.id == seal.id]
    assert note.values == A  # the next coordinator is to find them there


def test_more_than_a_job_may_have_ends_it_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(values, "MAX_JOB_BYTES", 100)
    job = Job()
    running = job.planned(plan_of(Grouping.SPLIT))
    result = AttemptResult(values=(("k", b"x" * 100),))
    actions = job.tell(AttemptFinished(id=running[W0].id, worker=W0, result=result, now=0.0))
    (finish,) = only(actions, FinishJob)
    assert finish.outcome is Outcome.FAILED
    assert "beside their records (put): emit what is large as records" in finish.message


def test_what_is_finished_counts_before_it_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """72 MiB of 64 once passed: what was between its report and its seal did not count."""
    monkeypatch.setattr(values, "MAX_JOB_BYTES", 200)
    large: Values = (("k", b"x" * 80),)
    job = Job()
    running = job.planned(plan_of(Grouping.SPLIT, inputs=3))
    (seal,) = finished(job, running[W0], large)
    assert job.machine.values.size > 100
    job.tell(SealRefused(id=seal.id, service=seal.service, reason="it has restarted"))
    assert job.machine.values.size == 0
    (seal,) = finished(job, running[W1], large)  # there is room for it again
    assert job.machine.outcome is None
    (other,) = only(job.tell(CreditGranted(worker=W0, tasks=1, now=job.now)), Assign)
    finished(job, other, large)
    assert job.machine.outcome is not None
    assert job.machine.outcome.outcome is Outcome.FAILED


def test_a_task_that_is_done_again_needs_room_only_for_what_it_leaves_more() -> None:
    book = ValueBook()
    task = TaskRef(1, 0)
    book.put(task, (("k", b"x" * 50),))
    size = book.size
    for length, counted in ((20, size), (70, size + 20), (50, size)):
        book.reserve(task, (("k", b"y" * length),))
        assert (book.size, book.get("k")) == (counted, b"x" * 50)
    book.reserve(task, (("k", b"y" * 70),))
    book.put(task, (("k", b"y" * 70),))
    assert (book.size, book.get("k")) == (size + 20, b"y" * 70)
    book.forget_stage(1)
    assert book.size == 0


def test_a_new_coordinator_takes_over_no_more_than_a_job_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What two services hold may be more, if one of them counted as lost before."""
    monkeypatch.setattr(values, "MAX_JOB_BYTES", 200)
    job = Job(epoch=2)
    held = [
        replace(sealed(1, i, Group(origin=i)), values=(("k", bytes([i]) * 80),)) for i in range(2)
    ]
    plan = plan_of(Grouping.SPLIT)
    job.attach(PS0, held[0], plan=plan)
    actions = job.attach(PS1, held[1], plan=plan)
    assert told(job) == {"k": bytes([1]) * 80}
    assert [(drop.id, drop.service) for drop in only(actions, Drop)] == [(held[0].id, PS0)]
    assert sorted(job.states(1)) == ["done", "ready"]

"""What a partition service decides about attempts: examples, and any order of calls."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disco_engine.core.ledger import (
    AttemptState,
    Completion,
    Ledger,
    StaleEpochError,
    Verdict,
    WrongJobError,
)
from disco_engine.core.model import NOTHING, AttemptId, Group, SealedAttempt, SealTerms, Totals

A = AttemptId(1, 0, 5, 1)
B = AttemptId(1, 1, 5, 1)
GROUP = Group(origin=0)
BLOCKS = [(3, 10, 100), (4, 1, 10), (3, 5, 50)]
WRITTEN = Totals(3, 16, 160)
LABELS = {3: Totals(2, 15, 150), 4: Totals(1, 1, 10)}
FULL = SealTerms(
    id=A, group=GROUP, expected=WRITTEN, output_file="part", records_in=7, values=(("k", b"v"),)
)


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger("job-1")
    ledger.attach(5)
    return ledger


def terms(attempt: AttemptId, expected: Totals) -> SealTerms:
    return SealTerms(id=attempt, group=GROUP, expected=expected)


def push_all(ledger: Ledger, attempt: AttemptId = A) -> None:
    assert ledger.push(attempt, BLOCKS)
    assert ledger.complete(attempt, WRITTEN) is Completion.COMPLETE


def seal(ledger: Ledger, attempt: AttemptId = A, expected: Totals = WRITTEN) -> Verdict:
    return ledger.seal(terms(attempt, expected))[0]


def test_a_complete_attempt_is_sealed_once_and_hands_out_what_must_be_kept(ledger: Ledger) -> None:
    push_all(ledger)
    assert ledger.sealed_totals(1) == {}
    kept = FULL.fulfilled(LABELS)
    assert ledger.seal(FULL) == (Verdict.SEALED, kept)
    assert ledger.seal(FULL) == (Verdict.SEALED, None)
    assert ledger.sealed_totals(1) == LABELS
    assert list(ledger.sealed_attempts()) == [A]


def test_the_first_of_seal_and_discard_decides_and_the_other_is_told(ledger: Ledger) -> None:
    push_all(ledger, A)
    push_all(ledger, B)
    assert (seal(ledger, A), ledger.discard(A)) == (Verdict.SEALED, Verdict.SEALED)
    assert (ledger.discard(B), seal(ledger, B)) == (Verdict.DISCARDED, Verdict.DISCARDED)


def keep(ledger: Ledger, attempt: AttemptId = A, expected: Totals = WRITTEN) -> Verdict:
    return ledger.keep(terms(attempt, expected))[0]


def test_a_copy_is_seen_by_nobody_until_it_is_sealed(ledger: Ledger) -> None:
    push_all(ledger)
    copy = FULL.fulfilled(LABELS)
    assert ledger.keep(FULL) == (Verdict.KEPT, copy)
    assert ledger.keep(FULL) == (Verdict.KEPT, None)
    assert (list(ledger.sealed_attempts()), list(ledger.copies())) == ([], [A])
    assert ledger.sealed_totals(1) == {}
    assert ledger.seal(FULL, kept=LABELS) == (Verdict.SEALED, copy)
    assert ledger.sealed_totals(1) == LABELS
    assert (list(ledger.sealed_attempts()), list(ledger.copies())) == ([A], [])


def test_a_copy_that_is_sealed_never_goes_back(ledger: Ledger) -> None:
    push_all(ledger)
    assert (seal(ledger), keep(ledger)) == (Verdict.SEALED, Verdict.SEALED)
    assert ledger.state(A) is AttemptState.SEALED


def test_a_copy_outlives_its_epoch_and_a_restart_and_can_be_sealed_then(ledger: Ledger) -> None:
    push_all(ledger)
    keep(ledger)
    assert ledger.attach(6) == []
    assert ledger.state(A) is AttemptState.KEPT
    again = Ledger("job-1", 6)
    again.restore_copy(A)
    assert again.seal(terms(A, WRITTEN), kept=LABELS)[0] is Verdict.SEALED


def test_a_copy_is_discarded_or_dropped_like_anything_that_is_not_sealed(ledger: Ledger) -> None:
    for attempt in (A, B):
        push_all(ledger, attempt)
        keep(ledger, attempt)
    assert ledger.discard(A) is Verdict.DISCARDED
    ledger.drop(B, {})
    assert list(ledger.copies()) == []
    for attempt in (A, B):
        assert keep(ledger, attempt) is Verdict.DISCARDED
        assert seal(ledger, attempt) is Verdict.DISCARDED


def test_a_copy_is_kept_and_sealed_only_if_all_of_it_is_here(ledger: Ledger) -> None:
    assert ledger.push(A, BLOCKS)
    assert keep(ledger) is Verdict.UNKNOWN  # it is open
    assert ledger.complete(A, WRITTEN) is Completion.COMPLETE
    assert keep(ledger, expected=NOTHING) is Verdict.UNKNOWN
    assert keep(ledger) is Verdict.KEPT
    assert not ledger.push(A, BLOCKS)
    assert ledger.complete(A, WRITTEN) is Completion.REFUSED
    assert ledger.seal(terms(A, NOTHING), kept=LABELS) == (Verdict.UNKNOWN, None)
    assert ledger.seal(terms(A, WRITTEN)) == (Verdict.UNKNOWN, None)  # nobody says its labels


def test_an_attempt_that_was_discarded_before_it_came_is_refused(ledger: Ledger) -> None:
    assert ledger.discard(A) is Verdict.DISCARDED
    assert not ledger.push(A, BLOCKS)
    assert ledger.complete(A, WRITTEN) is Completion.REFUSED


def test_blocks_that_were_lost_on_the_way_discard_the_attempt(ledger: Ledger) -> None:
    ledger.push(A, BLOCKS[:2])
    assert ledger.complete(A, WRITTEN) is Completion.INCOMPLETE
    assert ledger.state(A) is AttemptState.DISCARDED


def test_an_attempt_that_is_still_pushed_cannot_be_sealed(ledger: Ledger) -> None:
    ledger.push(A, BLOCKS)
    assert seal(ledger) is Verdict.UNKNOWN
    assert ledger.complete(A, WRITTEN) is Completion.COMPLETE


def test_a_sealed_or_complete_attempt_takes_no_more_blocks(ledger: Ledger) -> None:
    push_all(ledger)
    assert not ledger.push(A, BLOCKS)
    assert ledger.complete(A, WRITTEN) is Completion.COMPLETE
    seal(ledger)
    assert not ledger.push(A, BLOCKS)
    assert ledger.complete(A, WRITTEN) is Completion.REFUSED


def test_an_attempt_without_output_is_sealed_without_a_push(ledger: Ledger) -> None:
    assert seal(ledger, A, NOTHING) is Verdict.SEALED


def test_an_attempt_whose_blocks_were_lost_in_a_restart_is_not_sealed_empty(
    ledger: Ledger,
) -> None:
    push_all(ledger)
    restarted = Ledger("job-1", epoch=5)
    assert seal(restarted) is Verdict.UNKNOWN


def test_a_new_epoch_discards_what_older_ones_left_unsealed(ledger: Ledger) -> None:
    push_all(ledger, A)
    seal(ledger, A)
    ledger.push(B, BLOCKS)
    assert ledger.attach(6) == [B]
    assert ledger.attach(6) == []
    assert (ledger.state(A), ledger.state(B)) == (AttemptState.SEALED, AttemptState.DISCARDED)
    assert not ledger.push(B, BLOCKS)


def test_callers_of_an_older_epoch_or_another_job_are_refused(ledger: Ledger) -> None:
    with pytest.raises(StaleEpochError, match=r"epoch 4 is over: .* epoch 5"):
        ledger.attach(4)
    with pytest.raises(StaleEpochError):
        ledger.check_caller("job-1", 4)
    with pytest.raises(WrongJobError, match="belongs to job 'job-1', not to 'job-2'"):
        ledger.check_caller("job-2")
    ledger.check_caller("job-1", 6)


def test_an_attempt_of_an_epoch_that_has_not_attached_waits_for_it(ledger: Ledger) -> None:
    later = A._replace(epoch=6)
    assert not ledger.push(later, BLOCKS)
    assert seal(ledger, later, NOTHING) is Verdict.UNKNOWN
    ledger.attach(6)
    push_all(ledger, later)


def test_a_dropped_attempt_leaves_the_sums_and_never_comes_back(ledger: Ledger) -> None:
    for attempt in (A, B):
        push_all(ledger, attempt)
        seal(ledger, attempt)
    ledger.drop(A, LABELS)
    assert ledger.sealed_totals(1) == LABELS
    assert not ledger.push(A, BLOCKS)
    assert seal(ledger, A) is Verdict.DISCARDED
    ledger.drop(B, LABELS)
    assert ledger.sealed_totals(1) == {}


def test_what_is_found_on_disk_is_sealed_again(ledger: Ledger) -> None:
    ledger.restore(SealedAttempt(id=A, group=GROUP, labels=LABELS))
    assert ledger.discard(A) is Verdict.SEALED
    assert ledger.sealed_totals(1) == LABELS


def test_a_closed_service_accepts_nothing(ledger: Ledger) -> None:
    push_all(ledger)
    seal(ledger)
    ledger.close()
    assert ledger.closed
    assert not ledger.push(B, BLOCKS)
    assert seal(ledger, B, NOTHING) is Verdict.DISCARDED
    assert (list(ledger.sealed_attempts()), ledger.sealed_totals(1)) == ([], {})


CALLS = st.tuples(
    st.sampled_from(["push", "complete", "seal", "discard", "drop", "attach"]),
    st.sampled_from([AttemptId(1, task, epoch, 1) for task in (0, 1) for epoch in (5, 6)]),
)


@given(st.lists(CALLS, max_size=30))
def test_no_order_of_calls_changes_a_decision(calls: list[tuple[str, AttemptId]]) -> None:
    """Whatever is called: a verdict stays (but for drop), and the sums are those of the sealed."""
    ledger = Ledger("job-1")
    ledger.attach(5)
    verdicts: dict[AttemptId, Verdict] = {}
    pushed: dict[AttemptId, int] = {}
    sealed: dict[AttemptId, SealedAttempt] = {}
    for what, attempt in calls:
        verdict: Verdict | None = None
        match what:
            case "push":
                if ledger.push(attempt, [(7, 1, 10)]):
                    assert attempt not in verdicts
                    assert attempt.epoch == ledger.epoch
                    pushed[attempt] = pushed.get(attempt, 0) + 1
            case "complete":
                count = pushed.get(attempt, 0)
                done = ledger.complete(attempt, Totals(count, count, 10 * count))
                assert (done is Completion.REFUSED) == (
                    attempt in verdicts or attempt.epoch != ledger.epoch
                )
            case "seal":
                count = pushed.get(attempt, 0)
                verdict, new = ledger.seal(terms(attempt, Totals(count, count, 10 * count)))
                if new is not None:
                    assert attempt not in verdicts
                    sealed[attempt] = new
            case "discard":
                verdict = ledger.discard(attempt)
            case "drop":
                found = sealed.pop(attempt, None)
                ledger.drop(attempt, found.labels if found else {})
                verdicts[attempt] = Verdict.DISCARDED
            case _:
                ledger.attach(6)
                verdicts |= {
                    old: Verdict.DISCARDED for old in pushed if old.epoch < 6 and old not in sealed
                }
        if verdict in (Verdict.SEALED, Verdict.DISCARDED):
            assert verdicts.setdefault(attempt, verdict) is verdict
    assert set(ledger.sealed_attempts()) == set(sealed)
    total = sum(pushed.get(attempt, 0) for attempt in sealed)
    assert ledger.sealed_totals(1) == ({7: Totals(total, total, 10 * total)} if total else {})

"""Who gets which task, who is kept from tasks, and where attempts push."""

from disco_engine.core.exclusion import EXCLUDED_S, MEMORY_S, Exclusions
from disco_engine.core.model import AttemptId, NodeName, ServiceId, TaskRef, WorkerId
from disco_engine.core.pauses import Pauses
from disco_engine.core.scheduling import AVOID_S, Asker, Avoid, ReadyQueue, most_attempts
from disco_engine.core.services import ServicePool

W1, W2 = WorkerId("w1"), WorkerId("w2")
N1, N2 = NodeName("n1"), NodeName("n2")
ALONE = Asker(W1, N1, other_worker=False, other_node=False)
ONE = Asker(W1, N1, other_worker=True, other_node=True)
TWO = Asker(W2, N2, other_worker=True, other_node=True)


def test_tasks_are_taken_in_order_but_nearby_ones_first() -> None:
    queue = ReadyQueue()
    for task, node in enumerate([N1, N2, None, N2, N1]):
        queue.add(task, node)
    assert [queue.take(TWO, 0.0) for _ in range(5)] == [1, 3, 0, 2, 4]
    assert queue.take(TWO, 0.0) is None


def test_a_failed_task_goes_first_but_not_where_it_failed() -> None:
    queue = ReadyQueue()
    queue.add(0)
    queue.add(7, avoid=Avoid(W1, None, until=AVOID_S))
    assert queue.take(ONE, 0.0) == 0
    assert queue.take(ONE, 0.0) is None
    assert len(queue) == 1
    assert queue.take(TWO, 0.0) == 7


def test_a_failed_task_stops_minding_after_a_while_or_if_there_is_nobody_else() -> None:
    queue = ReadyQueue()
    queue.add(7, avoid=Avoid(W1, None, until=AVOID_S))
    assert queue.take(ALONE, 0.0) == 7
    queue.add(7, avoid=Avoid(W1, None, until=AVOID_S))
    assert queue.take(ONE, AVOID_S) == 7


def test_a_task_that_could_not_read_its_input_avoids_the_node() -> None:
    queue = ReadyQueue()
    queue.add(7, avoid=Avoid(W1, N2, until=AVOID_S))
    assert queue.take(TWO, 0.0) is None
    assert queue.take(Asker(WorkerId("w3"), N1, True, True), 0.0) == 7


def test_removed_tasks_are_not_taken() -> None:
    queue = ReadyQueue()
    for task in range(4):
        queue.add(task, N1)
    queue.remove(0)
    assert queue.take(ONE, 0.0) == 1


def test_a_closed_queue_keeps_its_tasks_and_gives_none_away() -> None:
    queue = ReadyQueue()
    queue.add(1)
    queue.close()
    queue.add(2)
    assert (len(queue), queue.take(ONE, 0.0)) == (0, None)
    queue.remove(1)
    queue.open()
    assert (len(queue), queue.take(ONE, 0.0)) == (1, 2)


def test_a_worker_holds_half_its_share_and_at_least_a_task_per_slot() -> None:
    assert most_attempts(slots=1, all_slots=2, unfinished=1000) == 250
    assert most_attempts(slots=4, all_slots=16, unfinished=10) == 4
    assert most_attempts(slots=2, all_slots=2, unfinished=1000) == 1000


def test_pauses_end_in_order_and_the_newest_of_a_task_counts() -> None:
    pauses = Pauses()
    one, two = TaskRef(1, 1), TaskRef(1, 2)
    pauses.start(one, 5.0)
    pauses.start(two, 3.0)
    pauses.start(one, 9.0)
    assert list(pauses.over(2.9)) == []
    assert list(pauses.over(5.0)) == [two]
    assert list(pauses.over(9.0)) == [one]
    assert list(pauses.over(99.0)) == []


def test_different_tasks_that_fail_on_a_worker_exclude_it_until_time_is_over() -> None:
    exclusions = Exclusions(after=2)
    assert not exclusions.note(W1, TaskRef(1, 1), 0.0, spare=True)
    assert not exclusions.note(W1, TaskRef(1, 1), 1.0, spare=True)
    assert exclusions.note(W1, TaskRef(1, 2), 2.0, spare=True)
    assert W1 in exclusions
    assert exclusions.expired(2.0 + EXCLUDED_S - 0.1) == []
    assert exclusions.expired(2.0 + EXCLUDED_S) == [W1]
    assert W1 not in exclusions


def test_old_failures_are_forgotten_and_the_last_worker_is_spared() -> None:
    exclusions = Exclusions(after=2)
    exclusions.note(W1, TaskRef(1, 1), 0.0, spare=True)
    assert not exclusions.note(W1, TaskRef(1, 2), MEMORY_S, spare=True)
    assert not exclusions.note(W1, TaskRef(1, 3), MEMORY_S, spare=False)
    assert not Exclusions(after=0).note(W1, TaskRef(1, 1), 0.0, spare=True)


def test_attempts_push_nearby_then_where_least_is_going_on_and_never_to_a_full_disk() -> None:
    names = [ServiceId(f"ps-{i}") for i in range(3)]
    pool = ServicePool(names)
    for name, node in zip(names, [N1, N2, N2], strict=True):
        pool.attach(name, node, "first")
    chosen = []
    for number in range(4):
        service = pool.to_push(N2)
        assert service is not None
        pool.assign(service, AttemptId(1, number, 1, 1))
        chosen.append(service.id)
    assert chosen == ["ps-1", "ps-2", "ps-1", "ps-2"]
    pool.set_full(names[0], True)
    pool.set_full(names[1], True)
    nearest = pool.to_push(N1)
    assert nearest is not None
    assert nearest.id == "ps-2"
    pool.set_full(names[2], True)
    assert pool.to_push(N1) is None
    assert pool.all_full

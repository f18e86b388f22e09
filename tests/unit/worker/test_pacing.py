from disco_engine.worker.pacing import MAX_PIPELINED, MAX_QUEUED, Pace


def paced(seconds: float, slots: int = 2) -> Pace:
    pace = Pace(slots)
    pace.observe(seconds)
    return pace


def test_before_anything_is_known_no_task_is_taken_in_advance() -> None:
    pace = Pace(3)
    assert (pace.depth, pace.pipeline) == (3, 0)


def test_long_tasks_are_not_taken_in_advance_so_that_others_can_have_them() -> None:
    assert (paced(5.0).depth, paced(5.0).pipeline) == (2, 0)


def test_every_slot_has_one_task_in_advance_if_tasks_take_a_moment() -> None:
    assert paced(0.5).depth == 4


def test_a_fifth_of_a_second_of_short_tasks_is_kept_in_hand() -> None:
    assert paced(0.01).depth == 2 + 2 * 20
    assert paced(0.001).pipeline == 20


def test_however_short_tasks_are_there_is_a_limit() -> None:
    for seconds in (0.0, 1e-9, 1e-5):
        assert paced(seconds).depth == 2 * (1 + MAX_QUEUED)
        assert paced(seconds).pipeline == MAX_PIPELINED


def test_the_average_follows_the_newest_tasks() -> None:
    pace = paced(0.0001)
    for _ in range(50):
        pace.observe(10.0)
    assert pace.depth == 2

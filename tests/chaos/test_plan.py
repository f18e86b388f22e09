from collections import Counter

from chaos.job import Size, checksum, right_answer
from chaos.plan import Choice, draw
from chaos.scene import MENU, scene_of


def test_a_seed_always_plays_the_same_scene() -> None:
    assert [scene_of(seed) for seed in range(50)] == [scene_of(seed) for seed in range(50)]


def test_everything_that_can_go_wrong_does_so_in_some_scene() -> None:
    drawn = Counter((f.fault, f.target) for seed in range(200) for f in scene_of(seed).faults)
    assert drawn.keys() == {(choice.fault, choice.target) for choice in MENU}


def test_faults_come_by_their_moments_and_no_more_often_than_they_may() -> None:
    once = Choice(fault="cut", target="all", most=1, lasts_s=(2.0, 3.0))
    for seed in range(100):
        faults = draw(seed, [once, Choice(fault="kill", target="worker")], least=3, most=6)
        assert 3 <= len(faults) <= 6
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        cuts = [fault for fault in faults if fault.fault == "cut"]
        assert len(cuts) <= 1
        assert all(2.0 <= fault.lasts_s <= 3.0 for fault in cuts)


def test_results_are_compared_record_for_record_in_any_order() -> None:
    records = list(right_answer(Size(inputs=2, words=20)).items())
    right = checksum(records)
    assert checksum(reversed(records)) == right
    assert checksum(records[1:]) != right
    assert checksum([*records, records[0]]) != right
    word, count = records[0]
    assert checksum([(word, count + 1), *records[1:]]) != right

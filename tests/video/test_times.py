"""Times that rise."""

import random
from itertools import pairwise

from fastnst.video.times import Rising


def risen(times: list[int], lasts: int = 40, dense: bool = True) -> list[int]:
    rising = Rising(dense)
    found = [at for number, time in enumerate(times) for at in rising.add(number, time, lasts)] + rising.rest()
    assert [at.item for at in found] == list(range(len(times)))
    return [at.time for at in found]


def test_times_that_rise_are_kept():
    assert risen([-80, 0, 1, 200]) == [-80, 0, 1, 200]
    assert risen([]) == []


def test_misplaced_ones_are_put_between_their_neighbours():
    assert risen([0, 40, 40, 120, 160]) == [0, 40, 80, 120, 160]
    assert risen([0, 40, 40, 40, 160, 200]) == [0, 40, 80, 120, 160, 200]
    assert risen([0, 40, 7, 120]) == [0, 40, 80, 120]
    assert risen([0, 40, 80, 80]) == [0, 40, 80, 120]  # the last


def test_where_there_is_no_room_what_follows_moves_by_no_more_than_it_must():
    assert risen([0, 1, 1, 1, 2, 40, 80]) == [0, 1, 2, 3, 4, 40, 80]


def test_one_far_ahead_is_put_back():
    assert risen([0, 40, 9000, 120, 160, 200, 240, 280]) == [0, 40, 80, 120, 160, 200, 240, 280]


def test_joined_recordings_play_one_after_the_other():
    once = list(range(0, 400, 40))
    assert risen(once * 3) == list(range(0, 1200, 40))


def test_times_that_need_not_differ_may_be_equal():
    assert risen([200, 200, 1200], dense=False) == [200, 200, 1200]
    rising = Rising(dense=False)
    assert rising.add("at once", 5, 1)[0].item == "at once"


def test_whatever_comes_in_rises_and_nothing_is_lost():
    generator = random.Random(0)
    for _ in range(300):
        times = [generator.choice((number * 40, generator.randrange(2000))) for number in range(30)]
        for dense in (True, False):
            found = risen(times, dense=dense)
            assert all(b - a >= dense for a, b in pairwise(found))

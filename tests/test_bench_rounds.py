"""Rounds of a comparison: by turns, no longer than allowed, and never too few for a median."""

import sys

import pytest
from conftest import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import common  # noqa: E402


def rounds_of(slow, quick, rounds, at_most_s=float("inf")):
    """What two contenders take by a clock that only they move, and in which order they ran."""
    now, order = [0.0], []

    def contender(name, seconds):
        def run():
            now[0] += seconds
            order.append(name)

        return run

    contenders = {"slow": contender("slow", slow), "quick": contender("quick", quick)}
    seconds = common.paired_rounds(contenders, rounds, at_most_s, lambda: now[0])
    return seconds, order


def test_contenders_take_turns_and_the_order_turns_round_by_round():
    seconds, order = rounds_of(3, 1, 4)
    assert seconds == {"slow": [3] * 4, "quick": [1] * 4}
    assert order == ["slow", "quick", "quick", "slow"] * 2


@pytest.mark.parametrize(
    ("at_most_s", "taken"), [(1, 3), (15.9, 3), (16, 4), (20, 5), (39, 9), (40, 10), (1e9, 10)]
)
def test_no_round_begins_that_would_end_too_late_but_three_always_do(at_most_s, taken):
    seconds, _ = rounds_of(3, 1, 10, at_most_s)
    assert [len(each) for each in seconds.values()] == [taken, taken]


def test_fewer_rounds_than_three_are_had_by_asking_for_them():
    assert len(rounds_of(3, 1, 2)[0]["slow"]) == 2

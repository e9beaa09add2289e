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


def test_a_share_of_the_roof_is_of_the_median_round_and_the_roof_is_no_contender():
    seconds = {"ours": [2.0, 4.0, 3.0], "theirs": [6.0] * 3, common.PEAK: [1.0, 9.0, 0.5]}
    found = common.shares_of_peak(seconds, {"ours": 1.5e9, "theirs": 1e9}, int(1e9))
    assert found["matrix_peak_multiply_adds"] == pytest.approx(1e9)
    assert found["share_of_matrix_peak"] == pytest.approx({"ours": 0.5, "theirs": 1 / 6})
    assert list(seconds) == ["ours", "theirs"]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_roof_takes_part_in_the_rounds_and_counts_what_it_multiplies(precision, monkeypatch):
    asked, times = [], []

    def product(kind, size):
        asked.append((kind, size))
        return times.append

    monkeypatch.setattr(common, "matrix_product", product)
    monkeypatch.setattr(
        common,
        "shares_of_peak",
        lambda seconds, products, count: (len(seconds.pop(common.PEAK)), count),
    )
    seconds, roof = common.rounds_under_roof({"ours": list}, {"ours": 1}, precision, rounds=3)
    ((kind, size),) = asked
    assert kind == precision.removeprefix("mixed_") and len(times) == 3
    assert roof == (3, times[0] * size**3) and len(seconds["ours"]) == 3


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_the_roof_runs(kind):
    pytest.importorskip("tensorflow")
    common.matrix_product(kind, 8)(3)


def test_a_slice_of_our_network_is_counted():
    small, large = (common.products_of_a_slice((4, 8), n, n, monai=False) for n in (32, 64))
    assert list(small) == ["kenseg_utils"] and large["kenseg_utils"] == 4 * small["kenseg_utils"]

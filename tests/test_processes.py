"""Work in several processes at once, and how many there were in words."""

from __future__ import annotations

import warnings

import pytest

from kenseg_utils import machine


def shifted(number, by, fail_at=None):
    if number == fail_at:
        raise ValueError(f"no {number} today")
    return number + by


def test_each_job_comes_back_once():
    assert sorted(machine.side_by_side(shifted, range(5), 2, 10)) == [10, 11, 12, 13, 14]


def test_in_order_where_it_is_asked_for():
    assert list(machine.side_by_side(shifted, range(9), 2, 1, in_order=True)) == [*range(1, 10)]


def test_a_job_s_error_is_its_own():
    with pytest.raises(ValueError, match="no 3 today"):
        list(machine.side_by_side(shifted, range(5), 2, 0, 3))


def test_joblib_s_remark_on_an_exchanged_process_is_kept_off_the_page():
    list(machine.side_by_side(shifted, range(2), 2, 0))
    with warnings.catch_warnings(record=True) as seen:
        warnings.warn(
            "A worker stopped while some jobs were given to the executor. This can be caused by a "
            "too short worker timeout or by a memory leak.",
            UserWarning,
            stacklevel=1,
        )
        warnings.warn("A worker is tired.", UserWarning, stacklevel=1)
    assert [str(each.message) for each in seen] == ["A worker is tired."]


@pytest.mark.parametrize(
    "given, words",
    [
        ((1, "scan"), "1 scan"),
        ((0, "scan"), "0 scans"),
        ((1234, "scan"), "1,234 scans"),
        ((1, "person", "people"), "1 person"),
        ((3, "person", "people"), "3 people"),
    ],
)
def test_a_number_with_its_noun(given, words):
    assert machine.so_many(*given) == words

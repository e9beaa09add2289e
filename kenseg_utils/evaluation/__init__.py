"""Any method over any scans, or over prepared slices, to a table of scores: a row a subject.

A method that fails on a scan gets a row with its error. `summarise` and `compare` count such rows
and say so. Intervals, tests and verdicts are in `evaluation.statistics`.
"""

from ._comparison import HIGHER_IS_BETTER, LOWER_IS_BETTER, compare, failed, size_bins, summarise
from ._scores import SliceScores, evaluate, evaluate_slices, open_table, save_table
from .statistics import holm

__all__ = [
    "HIGHER_IS_BETTER",
    "LOWER_IS_BETTER",
    "SliceScores",
    "compare",
    "evaluate",
    "evaluate_slices",
    "failed",
    "holm",
    "open_table",
    "save_table",
    "size_bins",
    "summarise",
]

"""Many recipes on many folds, here or on a cluster; an experiment is one training and its test.

In the work folder's `experiments/`, `<key>.json` says how an experiment ended, `<key>.csv` has its
scores (a row a held-out subject), and `table.csv` a row an experiment.
"""

from ._recorded import Result, open_result, save_result
from ._runs import (
    Experiment,
    command_line,
    evidence,
    open_experiments,
    run,
    subject_scores,
    summary_by_recipe,
    train_and_score,
)

__all__ = [
    "Experiment",
    "Result",
    "command_line",
    "evidence",
    "open_experiments",
    "open_result",
    "run",
    "save_result",
    "subject_scores",
    "summary_by_recipe",
    "train_and_score",
]

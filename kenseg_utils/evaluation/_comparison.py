"""From tables of scores to statements: means with intervals, strata, and paired comparisons.

The tables come from `evaluation`, a row a scan or subject, and its names are passed on there.
The unit of every interval and test is the subject, and both come from `evaluation.statistics`.
A row with an error is never left out in silence: each line says how many failed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .statistics import Interval, mean_interval, paired_table

SIZE_EDGES_ML = (1, 5, 20, 100)
LOWER_IS_BETTER = {
    "count_difference",
    "count_difference_isles26",
    "volume_difference_voxels",
    "volume_difference_ml",
    "hd95_mm",
    "assd_mm",
    "calibration_error",
}
HIGHER_IS_BETTER = {
    "dice",
    "iou",
    "precision",
    "recall",
    "f1_atlas22",
    "f1_isles26",
    "pr_auc",
    "mean_slice_dice",
}
SHARES = HIGHER_IS_BETTER | {"calibration_error"}  # whose mean lies between 0 and 1


def summarise(
    table: pd.DataFrame,
    scores: Sequence[str] | None = None,
    by: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Mean, median and t interval (by subject) of each score: a row a score and stratum.

    `table`: a row a scan with subject, error and scores. `scores`: which (all that are known).
    `by`: a column to split by ("site", "side" …), or "size" for bins of the lesion's volume.
    Columns: scored, failed (rows with an error), undefined (scored, but without a value, as a
    distance to an empty mask), subjects, mean and median over scored rows,
    mean_if_failed_is_zero (for scores whose worst is 0), low, high, interval (the two as text, or
    why there are none), level (what to print as the interval's: where fewer than eight subjects
    stand behind it, or many scores are zero, the simulated figure).
    Raises ValueError for a table without rows, or an unknown score or column.
    """
    if not len(table):
        raise ValueError("The table has no rows: there are no subjects to summarise.")
    if "subject" not in table:
        raise ValueError(
            f"The table has no column 'subject', and intervals are by subject: it has "
            f"{list(table)}."
        )
    known = [name for name in table if name in HIGHER_IS_BETTER | LOWER_IS_BETTER]
    scores = known if scores is None else list(scores)
    missing = [name for name in scores if name not in table]
    if missing or not scores:
        raise ValueError(f"The table has no column {missing or known}: it has {list(table)}.")
    strata = [("", table)] if by is None else _strata(table, by)
    lines = [
        ({} if by is None else {by: stratum}) | _summary(rows, score, level)
        for stratum, rows in strata
        for score in scores
    ]
    return pd.DataFrame(lines).astype(dict.fromkeys(_NULLABLE, "Float64"))


_NULLABLE = ("mean", "median", "mean_if_failed_is_zero", "low", "high")


def _strata(table: pd.DataFrame, by: str) -> list[tuple[str, pd.DataFrame]]:
    if by == "size" and "size" not in table and "truth_volume_ml" in table:
        table = table.assign(size=size_bins(table["truth_volume_ml"]))
    if by not in table:
        raise ValueError(f"The table has no column {by!r} to split by: it has {list(table)}.")
    return [
        ("unknown" if pd.isna(name) or name == "" else str(name), rows)
        for name, rows in table.groupby(by, observed=True, dropna=False)
    ]


def _summary(rows: pd.DataFrame, score: str, level: float) -> dict[str, Any]:
    scored = rows[~failed(rows)]
    values = scored[score].astype(float)
    defined = values.notna()
    subjects = scored.loc[defined, "subject"].to_numpy()
    values = values[defined].to_numpy()
    interval = mean_interval(
        values, subjects, level=level, bounds=(0, 1) if score in SHARES else None
    )
    lost = len(rows) - len(scored)
    worst_is_zero = score in HIGHER_IS_BETTER and len(values) + lost > 0
    return dict(
        score=score,
        scored=len(scored),
        failed=lost,
        undefined=int((~defined).sum()),
        subjects=interval.n,
        mean=values.mean() if len(values) else pd.NA,
        median=np.median(values) if len(values) else pd.NA,
        mean_if_failed_is_zero=values.sum() / (len(values) + lost) if worst_is_zero else pd.NA,
        **interval_columns(interval),
    )


def interval_columns(interval: Interval) -> dict[str, Any]:
    """A line's low, high, interval (as text; without one, why there is none) and level."""
    return dict(
        low=pd.NA if interval.low is None else interval.low,
        high=pd.NA if interval.high is None else interval.high,
        interval=interval.text(),
        level=interval.level_text if interval.known else "",
    )


def failed(table: pd.DataFrame) -> pd.Series:
    """Which rows of a table hold an error instead of scores."""
    if "error" not in table:
        return pd.Series(False, index=table.index)
    return table["error"].fillna("").ne("")


def size_bins(volume_ml: ArrayLike, edges: Sequence[float] = SIZE_EDGES_ML) -> pd.Categorical:
    """Bins of lesion volume in ml, in order, with their names; "no lesion" for 0.

    The edges cut ATLAS R2.0's training lesions into about 21, 28, 19, 21 and 11 %.
    """
    names = [
        "no lesion",
        f"< {edges[0]:g} ml",
        *(f"{low:g}–{high:g} ml" for low, high in itertools.pairwise(edges)),
        f"≥ {edges[-1]:g} ml",
    ]
    volume_ml = np.asarray(volume_ml, dtype=float)
    codes = np.where(volume_ml == 0, 0, 1 + np.searchsorted(edges, volume_ml, side="right"))
    return pd.Categorical.from_codes(np.where(np.isnan(volume_ml), -1, codes), names, ordered=True)


def compare(
    tables: Mapping[str, pd.DataFrame] | pd.DataFrame,
    score: str = "dice",
    reference: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare methods on the same subjects, pair by pair, as one family of tests.

    `tables`: a table of `evaluation` for each method's name, or a frame with a row a subject and
    a column a method. `reference`: compare every method with this one only. Several scans of a
    subject count as their mean.

    A row a pair, as `statistics.paired_table` gives it: method, other, pairs (subjects scored by
    both), unpaired (by one or none of them: failed or undefined), mean_difference (method -
    other) with its t interval low and high and its level, median_difference, p (sign flips), p_holm
    (Holm's correction over all rows), cohen_d, rank_biserial, verdict (in words; at 1 - level after
    correction), note (why the comparison can find nothing, where it cannot).
    Raises ValueError for fewer than two methods, no subjects, or unknown names.
    """
    return paired_table(_by_method(tables, score), reference, level, score in LOWER_IS_BETTER, seed)


def _by_method(tables: Mapping[str, pd.DataFrame] | pd.DataFrame, score: str) -> pd.DataFrame:
    """A row a subject, a column a method, NaN where there is no score."""
    if isinstance(tables, pd.DataFrame):
        return tables.astype(float)
    missing = [name for name, table in tables.items() if score not in table]
    if missing:
        raise ValueError(f"The table of {missing[0]!r} has no column {score!r}.")
    wide = pd.DataFrame(
        {
            name: table[score].where(~failed(table)).astype(float).groupby(table["subject"]).mean()
            for name, table in tables.items()
        }
    )
    return wide.astype(float)

"""From tables of scores to statements: means with intervals, strata, and paired comparisons.

The tables come from `evaluation`, a row a scan or subject, and its names are passed on there.
The unit of every interval and test is the subject, and both come from `evaluation.statistics`.
A row with an error is never left out in silence: each line says how many failed.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from kenseg_utils import metrics

from .statistics import Interval, mean_interval, paired_table
from .statistics._intervals import ROUNDING, as_floats
from .statistics._paired import checked_wide

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
    stand behind it, or many scores are zero, the simulated figure). An infinite score is undefined.
    Raises ValueError for a table without rows, an unknown score or column, scores that are no
    numbers or that their kind cannot have (Dice in percent), and a subject that is missing or
    named in two ways.
    """
    table = checked_table_of_scores(table, ("subject",))
    if not len(table):
        raise ValueError("The table has no rows: there are no subjects to summarise.")
    known = [name for name in table if name in HIGHER_IS_BETTER | LOWER_IS_BETTER]
    if scores is None:
        scores = known
    elif isinstance(scores, str) or not isinstance(scores, Iterable):
        scores = [scores]
    scores = list(scores)
    missing = [name for name in scores if name not in list(table)]
    if missing or not scores:
        raise ValueError(f"The table has no column {missing or known}: it has {list(table)}.")
    table = table.copy()
    for name in scores:
        table[name] = _values(table, name)
    metrics.checked_subjects(table.loc[table[scores].notna().any(axis=1), "subject"])
    strata = [("", table)] if by is None else _strata(table, by)
    lines = [
        ({} if by is None else {by: stratum}) | _summary(rows, score, level)
        for stratum, rows in strata
        for score in scores
    ]
    return pd.DataFrame(lines).astype(dict.fromkeys(_NULLABLE, "Float64"))


def checked_table_of_scores(
    table: Any, columns: Sequence[Any], where: str = "The table"
) -> pd.DataFrame:
    """A table of scores; ValueError where it is none, or has not each of these columns once."""
    if not isinstance(table, pd.DataFrame):
        raise ValueError(
            f"{where} is {type(table).__name__}: give what `evaluate` returns, or `open_table`."
        )
    has = list(table)
    for name in columns:
        if name not in has:
            hint = " (reset_index() makes its index one)" if name == table.index.name else ""
            raise ValueError(f"{where} has no column {name!r}{hint}: it has {has}.")
    for name in has:
        if has.count(name) > 1:
            raise ValueError(f"{where} has the column {name!r} several times: keep one of them.")
    return table


def _values(table: pd.DataFrame, score: str, where: str = "The table") -> pd.Series:
    """A score as floats, NaN where its row failed or it is infinite.

    Raises ValueError for text, and for numbers that such a score cannot have.
    """
    given = table[score].where(~failed(table))
    values = as_floats(given, f"scores {score!r}")
    values = np.where(np.isfinite(values), values, np.nan)
    if bounds := _bounds(score):
        _check_range(values, *bounds, score, where)
    return pd.Series(values, index=table.index)


def _bounds(score: str) -> tuple[float, float] | None:
    """The least and the greatest value of a score, where it has them."""
    if score in SHARES:
        return 0, 1
    return (0, np.inf) if score in LOWER_IS_BETTER else None


def _check_range(values: np.ndarray, low: float, high: float, score: str, where: str) -> None:
    """ValueError for values that such a score cannot have."""
    known = values[np.isfinite(values)]
    if known.size and not low - ROUNDING <= known.min() <= known.max() <= high + ROUNDING:
        raise ValueError(
            f"{where} has {score} from {known.min():.4g} to {known.max():.4g}, and its values lie "
            f"from {low} to {high}: divide percent by 100, or name the score that it is."
        )


_NULLABLE = ("mean", "median", "mean_if_failed_is_zero", "low", "high")


def _strata(table: pd.DataFrame, by: str) -> list[tuple[str, pd.DataFrame]]:
    if by == "size" and "size" not in table and "truth_volume_ml" in table:
        table = table.assign(size=size_bins(table["truth_volume_ml"]))
    if by not in list(table):
        raise ValueError(f"The table has no column {by!r} to split by: it has {list(table)}.")
    return [
        ("unknown" if pd.isna(name) or name == "" else str(name), rows)
        for name, rows in table.groupby(by, observed=True, dropna=False)
    ]


def _summary(rows: pd.DataFrame, score: str, level: float) -> dict[str, Any]:
    scored = rows[~failed(rows)]
    values = scored[score]
    defined = values.notna()
    subjects = scored.loc[defined, "subject"].to_numpy()
    values = values[defined].to_numpy()
    interval = mean_interval(values, subjects, level=level, bounds=_bounds(score))
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
    """Which rows of a table hold an error instead of scores. ValueError for what is no table."""
    table = checked_table_of_scores(table, ())
    if "error" not in table:
        return pd.Series(False, index=table.index)
    return table["error"].notna() & table["error"].ne("")


def size_bins(volume_ml: ArrayLike, edges: Sequence[float] = SIZE_EDGES_ML) -> pd.Categorical:
    """Bins of lesion volume in ml, in order, with their names; "no lesion" for 0.

    The edges cut ATLAS R2.0's training lesions into about 21, 28, 19, 21 and 11 %.
    Raises ValueError for volumes that are no numbers, below 0 or infinite, and for edges that do
    not rise from above 0.
    """
    volumes = as_floats(volume_ml, "volumes")
    cuts = as_floats(edges, "edges")
    if not cuts.size or not cuts[0] > 0 or not (np.diff(cuts) > 0).all():
        raise ValueError(f"edges is {edges!r}: give rising volumes in ml, from above 0.")
    if (volumes < 0).any() or np.isinf(volumes).any():
        raise ValueError(
            f"The volumes run from {np.nanmin(volumes):g} to {np.nanmax(volumes):g} ml: a lesion "
            "holds 0 ml or more, and NaN stands for what is not known."
        )
    names = [
        "no lesion",
        f"< {cuts[0]:g} ml",
        *(f"{low:g}–{high:g} ml" for low, high in itertools.pairwise(cuts)),
        f"≥ {cuts[-1]:g} ml",
    ]
    codes = np.where(volumes == 0, 0, 1 + np.searchsorted(cuts, volumes, side="right"))
    return pd.Categorical.from_codes(np.where(np.isnan(volumes), -1, codes), names, ordered=True)


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
    Raises ValueError for fewer than two methods, no subjects, unknown names, tables that are none,
    scores that are no numbers or that their kind cannot have, and wherever something would count
    twice: a method or a subject that stands there twice or is named in two ways.
    """
    wide = _by_method(tables, score)
    return paired_table(wide, reference, level, score in LOWER_IS_BETTER, seed)


def _by_method(tables: Mapping[str, pd.DataFrame] | pd.DataFrame, score: str) -> pd.DataFrame:
    """A row a subject, a column a method, NaN where there is no score."""
    if not isinstance(score, Hashable):
        raise ValueError(f"score is {score!r}: name one column.")
    if isinstance(tables, pd.DataFrame):
        wide = checked_wide(tables)
        for name in wide if score in SHARES else ():  # a column may hold differences
            _check_range(wide[name].to_numpy(), -1, 1, score, f"The column {name!r}")
        return wide
    if not isinstance(tables, Mapping):
        raise ValueError(
            f"tables is {type(tables).__name__}: give a table for each method's name, as "
            '{"mine": table, "theirs": other}, or a frame with a column a method.'
        )
    found = {}
    for name, table in tables.items():
        where = f"The table of {name!r}"
        checked_table_of_scores(table, (score, "subject"), where)
        metrics.checked_subjects(table["subject"], f"{where}: ")
        found[name] = _values(table, score, where)
    if not found:
        raise ValueError("A comparison needs two methods and a subject: got no table.")
    # All together, so that the tables agree on what a subject is called.
    named = np.concatenate([np.asarray(table["subject"], object) for table in tables.values()])
    member, subjects = metrics.checked_subjects(named)
    parts = np.split(member, np.cumsum([len(values) for values in found.values()])[:-1])
    everyone = range(len(subjects))
    return pd.DataFrame(
        {
            name: values.groupby(part).mean().reindex(everyone)
            for (name, values), part in zip(found.items(), parts, strict=True)
        }
    ).set_axis(subjects)

"""From tables of scores to statements: means with intervals, strata, and paired comparisons.

The tables come from `evaluation`, a row a scan or subject, and its names are passed on there.
The unit of every interval and test is the subject. A row with an error is never left out in
silence: each line says how many failed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from kenseg_utils import metrics

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


def summarise(
    table: pd.DataFrame,
    scores: Sequence[str] | None = None,
    by: str | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean, median and bootstrap interval (by subject) of each score: a row a score and stratum.

    `table`: a row a scan with subject, error and scores. `scores`: which (all that are known).
    `by`: a column to split by ("site", "side" …), or "size" for bins of the lesion's volume.
    Columns: scored, failed (rows with an error), undefined (scored, but without a value, as a
    distance to an empty mask), subjects, mean and median over scored rows,
    mean_if_failed_is_zero (for scores whose worst is 0), low, high, interval (the two as text, or
    why there are none).
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
        ({} if by is None else {by: stratum}) | _summary(rows, score, level, seed)
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


def _summary(rows: pd.DataFrame, score: str, level: float, seed: int) -> dict:
    scored = rows[~failed(rows)]
    values = scored[score].astype(float)
    defined = values.notna()
    subjects = scored.loc[defined, "subject"].to_numpy()
    values = values[defined].to_numpy()
    interval = (
        metrics.bootstrap_interval(values, subjects, level, seed=seed) if len(values) else None
    )
    lost = len(rows) - len(scored)
    worst_is_zero = score in HIGHER_IS_BETTER and len(values) + lost > 0
    count = len(np.unique(subjects))
    return dict(
        score=score,
        scored=len(scored),
        failed=lost,
        undefined=int((~defined).sum()),
        subjects=count,
        mean=values.mean() if len(values) else pd.NA,
        median=np.median(values) if len(values) else pd.NA,
        mean_if_failed_is_zero=values.sum() / (len(values) + lost) if worst_is_zero else pd.NA,
        **interval_fields(interval, count),
    )


def interval_fields(interval: metrics.Interval | None, subjects: int) -> dict:
    """A line's low, high and interval (as text); without an interval, why there is none."""
    if interval is None:
        reason = "one subject" if subjects == 1 else "no subject with a value"
        return dict(low=pd.NA, high=pd.NA, interval=f"undefined: {reason}")
    return dict(
        low=interval.low, high=interval.high, interval=f"{interval.low:.3g} to {interval.high:.3g}"
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
    """Compare methods on the same subjects, pair by pair: Wilcoxon's signed-rank test.

    `tables`: a table of `evaluation` for each method's name, or a frame with a row a subject and
    a column a method. `reference`: compare every method with this one only. Several scans of a
    subject count as their mean.

    A row a pair: method, other, pairs (subjects scored by both), unpaired (by one or none of
    them: failed or undefined), mean_difference (method - other) with its bootstrap interval low
    and high, median_difference, p (two-sided, subjects that do not differ left out), p_holm
    (Holm's correction over all rows), rank_biserial (from -1 to 1: the share of rank sums for
    `method` less that for `other`), verdict (in words; at 1 - level after correction).
    Raises ValueError for fewer than two methods, no subjects, or unknown names.
    """
    wide = _by_method(tables, score)
    if reference is not None and reference not in wide:
        raise ValueError(f"There is no method {reference!r}: there are {list(wide)}.")
    pairs = (
        itertools.combinations(wide.columns, 2)
        if reference is None
        else ((name, reference) for name in wide if name != reference)
    )
    lines = [_paired(wide[one], wide[other], level, seed) for one, other in pairs]
    corrected = holm([line["p"] for line in lines])
    for line, p_holm in zip(lines, corrected, strict=True):
        line["p_holm"] = p_holm
        line["verdict"] = line["verdict"] or _verdict(line, score, 1 - level)
    table = pd.DataFrame(lines)[
        [
            "method",
            "other",
            "pairs",
            "unpaired",
            "mean_difference",
            "low",
            "high",
            "median_difference",
            "p",
            "p_holm",
            "rank_biserial",
            "verdict",
        ]
    ]
    numbers = [
        name for name in table if name not in ("method", "other", "pairs", "unpaired", "verdict")
    ]
    return table.astype(dict.fromkeys(numbers, "Float64"))


def _by_method(tables, score: str) -> pd.DataFrame:
    """A row a subject, a column a method, NaN where there is no score."""
    if isinstance(tables, pd.DataFrame):
        wide = tables
    else:
        missing = [name for name, table in tables.items() if score not in table]
        if missing:
            raise ValueError(f"The table of {missing[0]!r} has no column {score!r}.")
        wide = pd.DataFrame(
            {
                name: table[score]
                .where(~failed(table))
                .astype(float)
                .groupby(table["subject"])
                .mean()
                for name, table in tables.items()
            }
        )
    if not wide.index.is_unique:
        raise ValueError(
            "A subject stands in several rows: average its scans, or pass a table for each method."
        )
    if wide.shape[1] < 2 or not len(wide):
        raise ValueError(
            f"A comparison needs two methods and a subject: got {wide.shape[1]} "
            f"methods and {len(wide)} subjects."
        )
    return wide.astype(float)


def _paired(one: pd.Series, other: pd.Series, level: float, seed: int) -> dict:
    difference = (one - other).dropna().to_numpy().round(12)  # equal scores, whatever their sums
    line = dict(
        method=one.name,
        other=other.name,
        pairs=len(difference),
        unpaired=len(one) - len(difference),
        mean_difference=pd.NA,
        low=pd.NA,
        high=pd.NA,
        median_difference=pd.NA,
        p=pd.NA,
        rank_biserial=pd.NA,
        verdict="",
    )
    if not len(difference):
        return line | dict(verdict="undefined: no subject scored by both")
    line |= dict(mean_difference=difference.mean(), median_difference=np.median(difference))
    if len(difference) == 1:
        return line | dict(verdict="undefined: one subject")
    interval = metrics.bootstrap_interval(difference, level=level, seed=seed)
    p, effect = _signed_ranks(difference)
    return line | dict(low=interval.low, high=interval.high, p=p, rank_biserial=effect)


def _signed_ranks(difference: np.ndarray) -> tuple[float, float]:
    """Wilcoxon's p and the matched-pairs rank-biserial correlation (Kerby 2014)."""
    changed = difference[difference != 0]
    if not len(changed):
        return 1.0, 0.0
    ranks = stats.rankdata(np.abs(changed))
    effect = (ranks[changed > 0].sum() - ranks[changed < 0].sum()) / ranks.sum()
    return float(stats.wilcoxon(changed).pvalue), float(effect)


def _verdict(line: dict, score: str, alpha: float) -> str:
    if line["p_holm"] >= alpha or line["rank_biserial"] == 0:
        return "no difference shown"
    ahead = (line["rank_biserial"] > 0) != (score in LOWER_IS_BETTER)
    return f"{line['method'] if ahead else line['other']} is better"


def holm(p_values: Sequence) -> list:
    """Holm's step-down correction; missing values stay missing and do not count.

    Source: Holm 1979. The i-th smallest of m is multiplied by m - i + 1, and none may fall below
    one before it, or rise above 1.
    """
    places = [place for place, p in enumerate(p_values) if not pd.isna(p)]
    places.sort(key=lambda place: p_values[place])
    corrected, least = [pd.NA] * len(p_values), 0.0
    for step, place in enumerate(places):
        least = max(least, min(1.0, (len(places) - step) * p_values[place]))
        corrected[place] = least
    return corrected

"""Two methods, or many, on the same subjects: differences, tests, families, effect sizes."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.stats.power import TTestPower

from kenseg_utils import metrics
from kenseg_utils.machine import so_many

from ._intervals import (
    SAME,
    Interval,
    as_floats,
    check_level,
    check_number,
    cut_to_shares,
    mean_interval,
    random_from,
    unknown,
)

FLIPS = 19_999  # sign flips that are drawn where there are too many to try all
# What a column of subjects' names is called, of an index that was written to a file, and others
# of a table of scores: none of them is a method.
_NO_METHOD = re.compile(
    r"(subject|subj|sub|participant|patient|person|case)s?([ _-]?(id|name|no|number))?|ids?"
    r"|unnamed: \d+|index|session|site|scan|side|fold|seed|error",
    re.I,
)


@dataclass(frozen=True)
class Paired:
    """How one method differs from another on the same subjects; None where undefined.

    `difference`: mean of one - other, with its interval. `pairs`: subjects scored by both;
    `unpaired`: by one of them or none; `differing`: pairs whose scores are not equal. `p`:
    two-sided, of the sign-flip test; `smallest_p`: the least it could be with so many pairs.
    `cohen_d`: mean over SD of the differences. `rank_biserial`: from -1 to 1, the share of rank
    sums for `one` less that for `other`.
    """

    difference: Interval
    pairs: int
    unpaired: int
    differing: int
    median: float | None
    p: float | None
    smallest_p: float
    cohen_d: float | None
    rank_biserial: float | None

    @property
    def note(self) -> str:
        """Why something is undefined; "" where all is well."""
        return self.difference.note


def paired_test(one: ArrayLike, other: ArrayLike, level: float = 0.95, seed: int = 0) -> Paired:
    """Compare two methods on the same subjects.

    `one`, `other`: scores (n,), NaN where there is none; pandas Series are paired by their index.
    The test flips the signs of the differences: all ways up to 14 subjects, so that p is exact,
    and 19,999 drawn ones beyond. Subjects that do not differ carry no sign and are left out of
    it. One subject, equal scores or no pair at all are answered in words. Where all scores lie
    between 0 and 1, as Dice does, the interval is cut at -1 and 1, beyond which no difference is.

    Sources: Fisher 1935 and Pitman 1937 (sign flips); Phipson and Smyth 2010 (drawn flips);
    Student 1908 (interval); Cohen 1988 (d of pairs); Kerby 2014 (rank-biserial).
    Raises ValueError for arrays of two lengths or several axes, what holds no numbers, Series in
    which a subject stands twice or is named in two ways, or another level or seed.
    """
    check_level(level)
    random = random_from(seed)
    if isinstance(one, pd.Series) and isinstance(other, pd.Series):
        if not (one.index.is_unique and other.index.is_unique):
            raise ValueError("A subject stands in several rows: average its scores first.")
        metrics.checked_subjects(one.index.append(other.index))
        one, other = one.align(other)
    a, b = (as_floats(part) for part in (one, other))
    if len(a) != len(b):
        raise ValueError(f"Pairs need as many scores of one ({len(a)}) as of the other ({len(b)}).")
    with np.errstate(invalid="ignore"):  # inf - inf
        difference = (a - b).round(12)  # equal scores, whatever their sums
    difference = difference[np.isfinite(difference)]
    pairs, unpaired = len(difference), len(a) - len(difference)
    interval = cut_to_shares(mean_interval(difference, level=level, kind="difference"), a, b)
    if not pairs:
        interval = unknown("undefined: no subject scored by both", level)
        return Paired(interval, 0, unpaired, 0, None, None, 1.0, None, None)
    changed = difference[np.abs(difference) > SAME]
    spread = float(difference.std(ddof=1)) if pairs > 1 else 0.0
    return Paired(
        interval,
        pairs,
        unpaired,
        len(changed),
        float(np.median(difference)),
        p=_sign_flip_p(changed, random) if pairs > 1 else None,
        smallest_p=smallest_p(len(changed)),
        cohen_d=float(difference.mean()) / spread if spread > SAME else None,
        rank_biserial=_rank_biserial(changed) if pairs > 1 else None,
    )


def _sign_flip_p(changed: np.ndarray, random: np.random.Generator) -> float:
    if len(changed) < 2:
        return 1.0  # either sign of one number is as far from zero

    def mean(values: np.ndarray, axis: int = -1) -> Any:
        """Without the last digits: sums that are equal but for rounding are ties."""
        return np.round(np.mean(values, axis=axis), 12)

    return float(
        stats.permutation_test(
            (changed / np.abs(changed).max(),),
            mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=FLIPS,
            rng=random,
        ).pvalue
    )


def _rank_biserial(changed: np.ndarray) -> float:
    if not len(changed):
        return 0.0
    ranks = stats.rankdata(np.abs(changed))
    return float((ranks[changed > 0].sum() - ranks[changed < 0].sum()) / ranks.sum())


def smallest_p(n: int, family: int = 1) -> float:
    """The smallest p that `n` pairs can reach, after Holm's correction over `family` tests.

    n signs can fall in 2^n ways, and two of them are the most extreme: p is at least 2^(1 - n).
    The same holds of Wilcoxon's signed-rank test. Where flips are drawn, it is at least
    2 / 20,000. Holm 1979 multiplies the smallest of m by m.
    Raises ValueError for parts of a pair or a test.
    """
    _check_whole("n", n)
    _check_whole("family", family)
    if n < 1 or family < 1:
        return 1.0
    drawn = 2 / (FLIPS + 1) if n > math.log2(FLIPS) else 0.0
    return min(1.0, family * max(2.0 ** (1 - n), drawn))


def pairs_needed(family: int = 1, alpha: float = 0.05) -> int:
    """The fewest pairs with which a test of a family of `family` can reach alpha.

    Raises ValueError for an alpha outside (0, 1), no family, and where drawn flips cannot reach it.
    """
    _check_alpha(alpha)
    _check_whole("family", family)
    if family < 1:
        raise ValueError(
            f"alpha is {alpha} and the family {family}: give 0 < alpha < 1 and a "
            "family of at least 1."
        )
    n = max(1, math.ceil(1 + math.log2(family / alpha) - 1e-9))
    if smallest_p(n, family) > alpha:
        raise ValueError(f"With {FLIPS:,} drawn flips, {family} comparisons never reach {alpha}.")
    return n


def power_note(n: int, family: int = 1, alpha: float = 0.05) -> str:
    """A warning where a comparison can find nothing, whatever the scores; "" where it can.

    Raises ValueError for an alpha outside (0, 1), and as `smallest_p` does.
    """
    _check_alpha(alpha)
    least = smallest_p(n, family)
    if least <= alpha:
        return ""
    return (
        f"this comparison cannot find anything: with {so_many(n, 'differing subject')} and "
        f"{so_many(family, 'comparison')} the smallest possible p is {least:.2g}; at least "
        f"{pairs_needed(family, alpha)} subjects are needed"
    )


def _check_whole(name: str, count: Any) -> None:
    check_number(name, count, -math.inf, math.inf, "a whole number", whole=True)


def _check_alpha(alpha: Any) -> None:
    check_number("alpha", alpha, 0, 1, "a share between 0 and 1, such as 0.05")


def subjects_needed(
    difference: float, sd: float, power: float = 0.8, level: float = 0.95, family: int = 1
) -> int | None:
    """How many subjects a paired t test takes to see a mean difference; None if there is none.

    `sd`: of the paired differences. `family`: as many tests, corrected after Bonferroni, which
    is what Holm asks of the smallest p. Source: Cohen 1988, as statsmodels computes it.
    Raises ValueError for a power or a level outside (0, 1), and what is no number.
    """
    check_level(level)
    check_number("power", power, 0, 1, "a share between 0 and 1, such as 0.8")
    _check_whole("family", family)
    difference, sd = as_floats([difference, sd], "difference and sd").tolist()
    if not (math.isfinite(difference) and math.isfinite(sd)) or not difference or sd < 0:
        return None
    alpha = (1 - level) / max(1, family)
    effect = abs(difference) / sd if sd > SAME else math.inf
    for n in (2, 3, 4):  # so large an effect leaves statsmodels' search nothing to search
        if effect > 1e6 or TTestPower().power(effect, n, alpha) >= power:
            return n
    found = TTestPower().solve_power(effect, alpha=alpha, power=power)
    return math.ceil(float(np.squeeze(found)) - 1e-6)


def holm(p_values: Sequence[Any]) -> list[Any]:
    """Holm's step-down correction; missing values stay missing (NA) and do not count.

    Raises ValueError for what is no list of p-values, each from 0 to 1.

    Source: Holm 1979. Not by statsmodels, whose `multipletests` collects Python's garbage at every
    call: two seconds in a session that holds a network.
    """
    tried = as_floats(p_values, "p-values")
    for place, p in enumerate(tried):
        if p < 0 or p > 1:
            raise ValueError(f"p-value {place} is {p:g}: a p-value lies between 0 and 1.")
    known = np.flatnonzero(~np.isnan(tried))
    corrected: list[Any] = [pd.NA] * len(tried)
    if known.size:
        given = tried[known]
        order = np.argsort(given)
        stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
        for place, p in zip(known[order], np.minimum(stepped, 1), strict=True):
            corrected[place] = float(p)
    return corrected


NUMBERS = (
    "mean_difference",
    "low",
    "high",
    "median_difference",
    "p",
    "p_holm",
    "cohen_d",
    "rank_biserial",
)


def paired_table(
    wide: pd.DataFrame,
    reference: str | None = None,
    level: float = 0.95,
    lower_is_better: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare methods pair by pair on the same subjects, as one family of tests.

    `wide`: a row a subject, a column a method, NaN where there is no score. `reference`: compare
    every method with this one only.
    A row a pair: method, other, pairs, unpaired, mean_difference (method - other) with its interval
    low and high and what to print as its level, median_difference, p (sign flips), p_holm, cohen_d,
    rank_biserial, verdict, note. "… is better" is said only where p_holm is at most 1 - level *and*
    the interval leaves zero out, both to the same side; otherwise "no difference shown", or why it
    is undefined. The note says where the family can find nothing with so few subjects.
    Raises ValueError for what is no such table (fewer than two methods, no subjects, a subject or a
    method that stands in it twice or is named in two ways, columns that are no method's, scores
    that are no numbers), or an unknown reference, level or seed.
    """
    wide = checked_wide(wide)
    if reference is not None and reference not in list(wide):
        raise ValueError(f"There is no method {reference!r}: there are {list(wide)}.")
    names = (
        list(itertools.combinations(wide.columns, 2))
        if reference is None
        else [(name, reference) for name in wide if name != reference]
    )
    found = [paired_test(wide[one], wide[other], level, seed) for one, other in names]
    corrected = holm([pd.NA if test.p is None else test.p for test in found])
    family = sum(test.p is not None for test in found)
    rows = [
        _row(one, other, test, p_holm, family, 1 - level, lower_is_better)
        for (one, other), test, p_holm in zip(names, found, corrected, strict=True)
    ]
    return pd.DataFrame(rows).astype(dict.fromkeys(NUMBERS, "Float64"))


def checked_wide(wide: pd.DataFrame) -> pd.DataFrame:
    """The table of a comparison as floats; ValueError for one in which something counts twice."""
    if not isinstance(wide, pd.DataFrame):
        raise ValueError(
            f"A comparison needs a table, a row a subject and a column a method: got "
            f"{type(wide).__name__}."
        )
    for what, names in (("subjects", wide.index), ("methods", wide.columns)):
        if names.nlevels > 1:
            raise ValueError(
                f"The {what} are named by {names.nlevels} levels, {list(names.names)}, so one of "
                "them may stand there several times: average over the others, or drop them."
            )
    for name in wide:
        if _NO_METHOD.fullmatch(str(name).strip()):
            raise ValueError(
                f"The column {name!r} is no method: give a row a subject and a column a method "
                "(set_index, or pivot), or `compare` a table for each method."
            )
    if wide.shape[1] < 2 or not len(wide):
        raise ValueError(
            f"A comparison needs two methods and a subject: got {wide.shape[1]} "
            f"methods and {len(wide)} subjects."
        )
    methods = [str(name) for name in wide]
    if len(set(methods)) < len(methods):
        twice = next(name for name in methods if methods.count(name) > 1)
        raise ValueError(f"The method {twice!r} stands in several columns: keep one of them.")
    if not wide.index.is_unique:
        raise ValueError("A subject stands in several rows: average its scans first.")
    metrics.checked_subjects(wide.index)
    return pd.DataFrame(
        {name: as_floats(wide[name], f"scores of {name!r}") for name in wide}, index=wide.index
    )


def _row(
    one: Any,
    other: Any,
    test: Paired,
    p_holm: Any,
    family: int,
    alpha: float,
    lower_is_better: bool,
) -> dict[str, Any]:
    named = dict(
        mean_difference=test.difference.estimate,
        low=test.difference.low,
        high=test.difference.high,
        median_difference=test.median,
        p=test.p,
        p_holm=p_holm,
        cohen_d=test.cohen_d,
        rank_biserial=test.rank_biserial,
    )
    note = "" if test.p is None else power_note(test.differing, family, alpha)
    return dict(
        method=one,
        other=other,
        pairs=test.pairs,
        unpaired=test.unpaired,
        **{name: pd.NA if value is None else value for name, value in named.items()},
        level=test.difference.level_text if test.difference.known else "",
        verdict=_verdict(one, other, test, p_holm, alpha, lower_is_better),
        note=note,
    )


def _verdict(
    one: Any, other: Any, test: Paired, p_holm: Any, alpha: float, lower_is_better: bool
) -> str:
    interval = test.difference
    if test.p is None or (test.differing and not interval.known):
        return interval.note
    if interval.low is None or p_holm > alpha or not interval.excludes(0):
        return "no difference shown"
    ahead = (interval.low > 0) != lower_is_better
    return f"{one if ahead else other} is better"


class Pooled(NamedTuple):
    """Held-out subjects of all folds: `wide`, a row a subject and a column a method; in words."""

    wide: pd.DataFrame
    note: str


def pool_folds(scores: pd.DataFrame, score: str = "dice") -> Pooled:
    """The held-out subjects of all folds in one table, each once, seeds and scans averaged.

    `scores`: what `experiments.subject_scores` gives: name, fold, seed, subject, the score, and
    error. Every subject was unseen by the network that scored it, so all folds together give a
    test set as large as the data. Networks of two folds share training subjects, though: the
    interval is one of these trainings, and is known to be somewhat narrow for others (Bengio and
    Grandvalet 2004). Raises ValueError where a subject was held out in two folds, is missing or
    named in two ways, and for a table without such columns or with scores that are no numbers.
    """
    _need(scores, ("name", "fold", "subject", score))
    used = scores[_whole(scores) & scores[score].notna() & ~scores[score].isin([-np.inf, np.inf])]
    folds = used.groupby(["name", "subject"])["fold"].nunique()
    if (folds > 1).any():
        name, subject = folds.index[int(np.argmax(folds.to_numpy() > 1))]
        raise ValueError(
            f"{subject} was held out in {int(folds.max())} folds of {name!r}: folds "
            "that are pooled must not overlap."
        )
    wide = used.groupby(["subject", "name"])[score].mean().unstack("name")
    wide = wide[[name for name in scores["name"].unique() if name in wide]]
    numbers = sorted(used["fold"].unique().tolist())
    every = int(wide.notna().all(axis=1).sum()) if wide.shape[1] else 0
    return Pooled(
        wide,
        f"{so_many(len(wide), 'held-out subject')} of fold{'s' * (len(numbers) != 1)} "
        f"{', '.join(map(str, numbers)) or 'none'}, {every} of them scored by all "
        f"{wide.shape[1]}",
    )


def _need(scores: pd.DataFrame, columns: Sequence[str]) -> None:
    """ValueError for what is no table of scores with these columns, the last that of a score."""
    if not isinstance(scores, pd.DataFrame):
        raise ValueError(f"A table of scores is needed: got {type(scores).__name__}.")
    has = list(scores)
    if missing := [str(name) for name in columns if name not in has]:
        raise ValueError(
            f"The table of scores has no column {', '.join(missing)}: it has "
            f"{', '.join(map(str, scores))}."
        )
    if twice := [name for name in (*columns, "error") if has.count(name) > 1]:
        raise ValueError(f"The table of scores has the column {twice[0]} several times: keep one.")
    score = columns[-1]
    used = scores[_whole(scores) & scores[score].notna()]
    if len(used) and pd.api.types.is_string_dtype(used[score]):
        raise ValueError(
            f"The scores in {score} are text, such as {used[score].iloc[0]!r}: read numbers."
        )
    as_floats(used[score], f"scores in {score}")
    for name in columns[:-1]:
        if name == "subject":
            metrics.checked_subjects(used[name])
        elif used[name].isna().any():  # which grouping would leave out in silence
            raise ValueError(f"The table of scores has rows without {name}: fill it in.")


def _whole(scores: pd.DataFrame) -> pd.Series:
    """Which rows hold scores instead of an error."""
    if "error" not in scores:
        return pd.Series(True, index=scores.index)
    return scores["error"].isna() | scores["error"].eq("")

"""Intervals of a mean over subjects, of a share, and of what was counted; never NaN."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from kenseg_utils import metrics
from kenseg_utils.machine import so_many

METHODS = {"t": "t", "bca": "BCa bootstrap", "percentile": "percentile bootstrap"}
FEW_SUBJECTS = 8  # behind fewer, the level that is printed is the simulated one
MANY_ZEROS = 0.1  # a share of zeros from which on it is, too
RESAMPLES = 9999
SAME = 1e-12  # scores that lie closer together are equal
ROUNDING = 1e-6  # how far beyond its bounds float32 may carry a score


# --- What is asked -------------------------------------------------------------------------------


def check_number(
    name: str, value: Any, low: float, high: float, words: str, whole: bool = False
) -> None:
    """ValueError unless `value` is a number above `low` and below `high`; `words`: what to give."""
    number = float(value) if isinstance(value, numbers.Real) else math.nan
    if not low < number < high or (whole and number % 1):
        raise ValueError(f"{name} is {value!r}: give {words}.")


def check_level(level: Any) -> None:
    """ValueError unless an interval can have this level."""
    check_number("level", level, 0, 1, "a share between 0 and 1, such as 0.95")


def random_from(seed: Any) -> np.random.Generator:
    """A generator of random numbers; ValueError for what is no seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ValueError(f"seed is {seed!r}: give a whole number, 0 or more.") from error


def as_floats(values: ArrayLike, what: str = "scores") -> np.ndarray:
    """Numbers as floats (n,), NaN where one is missing.

    Raises ValueError, which calls them `what`, for text, None instead of them, or several axes,
    along which a subject would count several times.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):  # pandas' NA, or text
        try:
            found = np.asarray(values, dtype=object)
            array = np.where(pd.isna(found), math.nan, found).astype(float)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"The {what} are no numbers ({error}): give numbers, NaN where there is none."
            ) from error
    if values is None or array.ndim > 1:
        got = "None" if values is None else f"an array of shape {array.shape}"
        raise ValueError(f"The {what} are {got}: give one list of numbers (n,).")
    return array.ravel()


# --- Intervals -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """An estimate and how far it can be trusted.

    `estimate`, `low`, `high`: None where they are not defined, and then `note` says why.
    `n`: the subjects (or seeds, or draws) behind it. `method`: in words. `coverage`: the share of
    simulated intervals of this kind that hold the truth, where that has to be printed in place
    of `level`.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float
    n: int
    method: str
    note: str = ""
    coverage: float | None = None

    def __post_init__(self) -> None:
        numbers = [x for x in (self.estimate, self.low, self.high) if x is not None]
        if any(math.isnan(x) for x in numbers):
            raise ValueError("An interval holds NaN: give None and a note that says why.")
        if (self.low is None) != (self.high is None):
            raise ValueError("An interval has two ends or none.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"The interval runs from {self.low} down to {self.high}.")

    @property
    def known(self) -> bool:
        """Whether there are an estimate and two ends."""
        return self.estimate is not None and self.low is not None

    @property
    def level_text(self) -> str:
        """What to print as the interval's level: "95 %", or the simulated figure."""
        if self.coverage is None:
            return f"{100 * self.level:.3g} %"
        return f"{100 * self.coverage:.0f} % by simulation"

    def text(self, form: str = ".3g") -> str:
        """The two ends in words, or why there are none."""
        if self.low is None or self.high is None:
            return self.note
        return f"{self.low:{form}} to {self.high:{form}}"

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside; False where there is no interval."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def unknown(
    reason: str, level: float = 0.95, n: int = 0, estimate: float | None = None
) -> Interval:
    """An interval that is not there, with the reason in words."""
    return Interval(estimate, None, None, level, n, "none", reason)


def counted(value: float) -> Interval:
    """The interval of what was counted or computed without chance: the number itself.

    For parameters, pixels, formulas; never for a score that another sample would change.
    Raises ValueError for what is no number.
    """
    if not isinstance(value, numbers.Real):
        raise ValueError(f"value is {value!r}: give the number that was counted.")
    return Interval(float(value), float(value), float(value), 1.0, 1, "counted")


def mean_interval(
    values: ArrayLike,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    *,
    level: float = 0.95,
    method: str = "auto",
    kind: str = "score",
    bounds: tuple[float, float] | None = None,
    seed: int = 0,
) -> Interval:
    """Interval of a mean over subjects, whatever the scores are.

    `values` (m,): one for each subject; or for slices and scans, with the subject of each in
    `groups` (m,), since slices of a subject are alike. `weights` (m,): for a weighted mean: a
    pooled Dice is the mean of Dice weighted by 2 tp + fp + fn. `kind`: "score", or "difference"
    of two scores; it chooses what the coverage is simulated on. `bounds`: the least and greatest
    mean there can be, such as (0, 1), at which the interval is cut; that costs no coverage.

    `method`: "auto" takes Student's t for every n: on skewed Dice it is the one of the three
    that holds its level from 8 subjects on (`simulate_coverage`). With weights or groups of
    several sizes the standard error is the jackknife's and the degrees of freedom are those of
    the effective number of subjects. "bca" and "percentile" draw whole subjects.

    **No result is NaN.** Values that are NaN or infinite, or whose weight is not positive, are
    left out and counted in the note. Without a value, with one subject, or with scores that are
    all equal, the ends are None, and the note says so. With fewer than 8 subjects, or with a
    tenth of zeros, `coverage` is the simulated one, to be printed in place of the level.

    Sources: Student 1908; Tukey 1958 (jackknife); Kish 1965 (effective number); Efron 1987
    (BCa); Efron 1979 (percentile). Raises ValueError for arrays of unequal lengths or several
    axes, values that are no numbers, a mean outside `bounds`, a subject without a name or with two
    (`metrics.checked_subjects`), or an unknown method, kind, level or seed.
    """
    chosen = _check(method, kind, level)
    random = random_from(seed)
    ends = None if bounds is None else _checked_bounds(bounds)
    sums, sizes, dropped = _by_subject(values, groups, weights)
    n = len(sums)
    note = f"{so_many(dropped, 'undefined score')} left out" if dropped else ""
    if n == 0:
        return unknown(_join("undefined: no subject with a value", note), level)
    estimate = float(sums.sum() / sizes.sum())
    if ends is not None and not ends[0] - ROUNDING <= estimate <= ends[1] + ROUNDING:
        raise ValueError(
            f"The mean is {estimate:.4g}, beyond its bounds, {ends[0]:g} and {ends[1]:g}: divide "
            "percent by 100, or give other bounds."
        )
    means = sums / sizes
    if n == 1:
        return unknown(_join("undefined: one subject", note), level, 1, estimate)
    if np.ptp(means) <= SAME:
        return unknown(_join(f"undefined: all {n} {kind}s are equal", note), level, n, estimate)
    low, high = (
        _jackknife_limits(sums, sizes, level)
        if chosen == "t"
        else _bootstrap_ratio(sums, sizes, chosen, level, random)
    )
    if not (math.isfinite(low) and math.isfinite(high)):
        reason = f"undefined: {n} {kind}s give no {METHODS[chosen]} interval"
        return unknown(_join(reason, note), level, n, estimate)
    if ends is not None:
        low, high = np.clip((low, high), *ends)
    zeros = float(np.mean(np.abs(means) <= SAME))
    coverage = None
    if n < FEW_SUBJECTS or zeros >= MANY_ZEROS:
        coverage = usual_coverage(n, zeros, kind, chosen, level)
    return Interval(estimate, float(low), float(high), level, n, METHODS[chosen], note, coverage)


def cut_to_shares(interval: Interval, *scores: ArrayLike) -> Interval:
    """The interval of a difference of `scores`; where all are shares (0 to 1), from -1 to 1."""
    if interval.low is None or interval.high is None:
        return interval
    given = [np.asarray(part, float) for part in scores]
    if not all(np.all((part >= 0) & (part <= 1) | np.isnan(part)) for part in given):
        return interval
    return replace(interval, low=max(interval.low, -1.0), high=min(interval.high, 1.0))


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _check(method: str, kind: str, level: float) -> str:
    """The method that is meant; ValueError for an unknown one, or another kind or level."""
    if method not in ("auto", *METHODS):
        raise ValueError(f"method is {method!r}: give auto, {', '.join(METHODS)}.")
    if kind not in ("score", "difference"):
        raise ValueError(f"kind is {kind!r}: give score or difference.")
    check_level(level)
    return "t" if method == "auto" else method


def _checked_bounds(bounds: Any) -> tuple[float, float]:
    """The least and greatest mean there can be."""
    ends = as_floats(bounds, "bounds")
    if ends.size != 2 or not ends[0] < ends[1]:
        raise ValueError(
            f"bounds is {bounds!r}: give the least and the greatest mean there can be."
        )
    return float(ends[0]), float(ends[1])


def _by_subject(
    values: ArrayLike, groups: ArrayLike | None, weights: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Each subject's weighted sum and weight, and how many values could not be used."""
    x = as_floats(values)
    who = np.arange(len(x)) if groups is None else np.asarray(groups, dtype=object).ravel()
    w = np.ones(len(x)) if weights is None else as_floats(weights, "weights")
    if not len(x) == len(who) == len(w):
        raise ValueError(
            f"Each value needs its group and weight: there are {len(x)} values, "
            f"{len(who)} groups and {len(w)} weights."
        )
    used = np.isfinite(x) & np.isfinite(w) & (w > 0)
    member = np.arange(used.sum()) if groups is None else metrics.checked_subjects(who[used])[0]
    return (
        np.bincount(member, weights=(x * w)[used]),
        np.bincount(member, weights=w[used]),
        int((~used).sum()),
    )


def _jackknife_limits(sums: np.ndarray, sizes: np.ndarray, level: float) -> tuple[float, float]:
    """Ends of a t interval of a ratio of sums; for equal sizes it is Student's of the mean."""
    n, total, size = len(sums), sums.sum(), sizes.sum()
    without = (total - sums) / (size - sizes)
    error = math.sqrt((n - 1) / n * float(((without - total / size) ** 2).sum()))
    freedom = max(1.0, float(size**2 / (sizes**2).sum()) - 1)
    low, high = stats.t.interval(level, freedom, total / size, error)
    return float(low), float(high)


def _bootstrap_ratio(
    sums: np.ndarray, sizes: np.ndarray, method: str, level: float, random: np.random.Generator
) -> tuple[float, float]:
    def ratio(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(x.sum(axis) / y.sum(axis))

    with np.errstate(all="ignore"):
        found = stats.bootstrap(
            (sums, sizes),
            ratio,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            confidence_level=level,
            method="BCa" if method == "bca" else method,
            rng=random,
        ).confidence_interval
    return float(found.low), float(found.high)


def share_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Interval of a share, such as of trainings that collapsed: exact (Clopper and Pearson 1934).

    Raises ValueError where there are more successes than trials, or fewer than none, for parts of
    one, and for another level.
    """
    check_level(level)
    for name, count in (("successes", successes), ("n", n)):
        check_number(name, count, -math.inf, math.inf, "a whole number", whole=True)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share.")
    if n == 0:
        return unknown("undefined: nothing was tried", level)
    ends = stats.binomtest(int(successes), int(n)).proportion_ci(level, method="exact")
    return Interval(successes / n, float(ends.low), float(ends.high), level, n, "Clopper–Pearson")


def family_level(count: int, level: float = 0.95) -> float:
    """The level of each of `count` intervals so that all hold at `level` (Dunn 1961).

    Raises ValueError for fewer than one interval, part of one, or another level.
    """
    check_level(level)
    check_number("count", count, -math.inf, math.inf, "a whole number of intervals", whole=True)
    if count < 1:
        raise ValueError(f"A family of {count} intervals has no level.")
    return 1 - (1 - level) / count


# --- Coverage by simulation ----------------------------------------------------------------------


class Draw(Protocol):
    """A population to draw from: its true mean, and `draw(random, shape)`."""

    @property
    def mean(self) -> float: ...

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray: ...


@dataclass(frozen=True)
class Scores:
    """Dice of imaginary subjects: Beta(a, b), skewed to the left as real ones are, some of them 0.

    `zeros`: the share of subjects whose lesion is missed altogether. `paired`: the difference
    of two such scores, with `zeros` as the share of subjects whose two scores are equal.
    Raises ValueError for parameters that no Beta distribution has, or a share outside [0, 1].
    """

    a: float = 2.0
    b: float = 0.9
    zeros: float = 0.0
    paired: bool = False

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            check_number(name, getattr(self, name), 0, math.inf, "a number above 0")
        _check_share("zeros", self.zeros)

    @property
    def mean(self) -> float:
        """The true mean."""
        return 0.0 if self.paired else (1 - self.zeros) * self.a / (self.a + self.b)

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Scores of that shape."""
        scores = random.beta(self.a, self.b, shape)
        if self.paired:
            scores = scores - random.beta(self.a, self.b, shape)
        return np.where(random.random(shape) < self.zeros, 0.0, scores)


def simulate_coverage(
    method: str, n: int, draw: Draw, repeats: int = 20_000, seed: int = 0, level: float = 0.95
) -> float:
    """The share of intervals from `n` subjects that hold the true mean.

    `method`: "t", "bca" or "percentile". `draw`: a population, such as `Scores()`. Samples whose
    scores are all equal have no interval and do not count. Bootstraps take about a second for
    2,000 repeats; t intervals hundredths.
    Raises ValueError for an unknown method, fewer than two subjects, what is no population, or no
    interval at all.
    """
    method = _check(method, "score", level)
    for name, count in (("n", n), ("repeats", repeats)):
        check_number(name, count, -math.inf, math.inf, "a whole number", whole=True)
    if not hasattr(draw, "draw") or not hasattr(draw, "mean"):
        raise ValueError(f"draw is {draw!r}: give a population, such as Scores().")
    if n < 2 or repeats < 1:
        raise ValueError(f"{repeats} repeats of {n} subjects have no intervals.")
    random, hits, total = random_from(seed), 0, 0
    step = max(1, 2_000_000 // n) if method == "t" else 500
    for start in range(0, repeats, step):
        values = draw.draw(random, (min(step, repeats - start), n))
        values = values[np.ptp(values, axis=-1) > SAME]
        if len(values):
            low, high = _limits(values, method, level, seed)
            hits += int(((low <= draw.mean) & (draw.mean <= high)).sum())
            total += len(values)
    if not total:
        raise ValueError("All samples have equal scores: there is no interval to count.")
    return hits / total


def _limits(
    values: np.ndarray, method: str, level: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of each row's mean: values (repeats, n)."""
    if method == "t":
        n = values.shape[-1]
        mean, error = values.mean(-1), values.std(-1, ddof=1) / math.sqrt(n)
        half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
        return mean - half, mean + half
    with np.errstate(all="ignore"):
        found = stats.bootstrap(
            (values,),
            np.mean,
            axis=-1,
            vectorized=True,
            n_resamples=999,
            confidence_level=level,
            batch=max(1, 4_000_000 // values.size),
            method="BCa" if method == "bca" else method,
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return found.low, found.high


def usual_coverage(
    n: int, zeros: float = 0.0, kind: str = "score", method: str = "t", level: float = 0.95
) -> float:
    """The simulated coverage for `n` subjects of which a share `zeros` scores 0.

    On `Scores()` with that share, rounded to tenths (at most 0.9); `n` above 100 counts as 100.
    Always the same for the same arguments; computed once in a process.
    Raises ValueError as `simulate_coverage` does, and for a share outside [0, 1].
    """
    method = _check(method, kind, level)
    check_number("n", n, 1, math.inf, "a whole number of at least 2 subjects", whole=True)
    _check_share("zeros", zeros)
    return _usual(min(int(n), 100), min(round(float(zeros), 1), 0.9), kind, method, level)


def _check_share(name: str, value: Any) -> None:
    check_number(name, value, -SAME, 1 + SAME, "a share from 0 to 1")


@lru_cache(maxsize=512)
def _usual(n: int, zeros: float, kind: str, method: str, level: float) -> float:
    population = Scores(zeros=zeros, paired=kind == "difference")
    return simulate_coverage(method, n, population, 20_000 if method == "t" else 2_000, 0, level)


def with_note(interval: Interval, note: str) -> Interval:
    """The same interval with a further remark."""
    return replace(interval, note=_join(interval.note, note))

"""Two recipes over seeds and subjects: how far apart, whether that is luck, and what it takes.

The same seeds and subjects are used for both recipes, so each difference is taken within a seed
and a subject. Then seeds and subjects both count as drawn: other seeds would give other
networks, other subjects other scores. This is the design in which radiology compares devices by
several readers on the same cases, with seeds for readers, and its analysis is used here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from kenseg_utils.machine import so_many

from ._intervals import SAME, Interval, cut_to_shares, unknown, with_note
from ._paired import _need, _whole, holm

# Below this mean Dice a training has collapsed or never begun. In the recorded ablation the
# trainings that found nothing have 0.000 to 0.018, the worst that learned 0.141: 0.05 is the
# geometric middle of the gap.
COLLAPSED = 0.05
# With few seeds, the share of alpha at which equal recipes are told apart in at most 7 % of
# draws, whatever the spreads (found by simulation; the tests simulate it again). From 5 on: all.
SMALL_SEEDS = {2: 0.1, 3: 0.6, 4: 0.8}
ENOUGH_SEEDS = 5
POPULATION, THESE_SUBJECTS = "population", "these subjects"


@dataclass(frozen=True)
class Crossed:
    """A mean difference over seeds and subjects: its interval and two-sided p (None: undefined)."""

    interval: Interval
    p: float | None


def crossed_interval(
    differences: np.ndarray, level: float = 0.95, scope: str = POPULATION
) -> Crossed:
    """Interval of a mean difference from a table (seeds, subjects) without gaps.

    `scope`: "population" lets seeds and subjects both be drawn, as a claim about a recipe needs;
    "these subjects" asks only what other seeds would give on the very same subjects.

    With mean squares A of seeds, B of subjects and E of the rest in a table of K seeds and S
    subjects, the squared standard error is (A + max(B - E, 0)) / (K S), with Satterthwaite's
    degrees of freedom. With fewer than 5 seeds the interval is widened (SMALL_SEEDS).
    On simulated scores with the recorded spreads, 5 seeds and 14 subjects, the interval missed
    zero in 5 % of draws without effect; a mixed model's Wald interval (statsmodels, REML) in 7 %,
    often without converging; a percentile bootstrap over both in 5 %, but in 8 % at 40 subjects.

    Sources: Obuchowski and Rockette 1995, Hillis 2007 (readers and cases); Satterthwaite 1946.
    One seed, one subject, equal seeds and equal differences are answered in words.
    Raises ValueError for gaps, another number of axes, or an unknown scope.
    """
    table = np.asarray(differences, dtype=float)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise ValueError(
            f"The differences are to be a table of seeds and subjects without gaps: "
            f"got shape {table.shape}."
        )
    if scope not in (POPULATION, THESE_SUBJECTS):
        raise ValueError(f"scope is {scope!r}: give {POPULATION!r} or {THESE_SUBJECTS!r}.")
    seeds, subjects = table.shape
    estimate = float(table.mean()) if table.size else None
    if reason := _why_not(table):
        return Crossed(unknown(reason, level, subjects, estimate), None)
    error, freedom = (float(x[0]) for x in _standard_error(table[None], scope))
    if error <= SAME:
        return Crossed(
            unknown("not known: seeds do not differ in the mean", level, subjects, estimate), None
        )
    share = _alpha_share(seeds, scope)
    half = float(stats.t.ppf(1 - share * (1 - level) / 2, freedom)) * error
    mean = float(table.mean())
    p = min(1.0, 2 * float(stats.t.sf(abs(mean) / error, freedom)) / share)
    return Crossed(
        Interval(
            mean,
            mean - half,
            mean + half,
            level,
            subjects,
            f"t over {seeds} seeds and {subjects} subjects",
        ),
        p,
    )


def of_one_seed(interval: Interval) -> Interval:
    """What an interval over subjects of one training each says of two ways of training: not known.

    It speaks of these two networks. Another seed would give others, and how far apart they would
    lie, one seed cannot say; so the estimate stays, the ends go, and the reason tells them.
    """
    told = interval.note.removeprefix("not known: ")
    if interval.known:
        told = (
            f"over subjects alone {interval.estimate:+.3f} "
            f"({interval.level_text}: {interval.text('+.3f')})"
        )
    reason = f"not known: one seed; {told}" if told else "not known: one seed"
    return unknown(reason, interval.level, interval.n, interval.estimate)


def _why_not(table: np.ndarray) -> str:
    """Why a table of differences has no interval; "" where it has one."""
    seeds, subjects = table.shape
    if not table.size:
        return "not known: no seed and subject scored by both"
    if seeds < 2:
        return "not known: one seed"
    if subjects < 2:
        return "not known: one subject"
    if np.ptp(table) <= SAME:
        return "not known: all differences are equal"
    if np.ptp(table, axis=0).max() <= SAME:
        return "not known: all seeds have the same scores"
    return ""


def _alpha_share(seeds: int, scope: str) -> float:
    return SMALL_SEEDS.get(seeds, 1.0) if scope == POPULATION else 1.0


def _standard_error(tables: np.ndarray, scope: str) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors and degrees of freedom of tables (repeats, seeds, subjects)."""
    seeds, subjects = tables.shape[1:]
    by_seed, by_subject = tables.mean(2), tables.mean(1)
    a = subjects * by_seed.var(1, ddof=1)
    b = seeds * by_subject.var(1, ddof=1)
    rest = (
        tables - by_seed[:, :, None] - by_subject[:, None, :] + tables.mean((1, 2))[:, None, None]
    )
    e = (rest**2).sum((1, 2)) / ((seeds - 1) * (subjects - 1))
    return _from_squares(a, b, e, seeds, subjects, scope)


def _from_squares(
    a: Any, b: Any, e: Any, seeds: Any, subjects: Any, scope: str
) -> tuple[np.ndarray, np.ndarray]:
    of_subjects = np.maximum(b - e, 0) if scope == POPULATION else np.zeros_like(a)
    total = a + of_subjects
    parts = a**2 / (seeds - 1) + of_subjects**2 / (subjects - 1)
    freedom = np.divide(total**2, parts, out=np.ones_like(total), where=parts > 0)
    return np.sqrt(total / (seeds * subjects)), freedom


# --- From a table of scores ----------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """What an arm's change does, against the base.

    `interval`: of the mean difference arm - base, over `seeds` and `subjects` that both have.
    `collapsed`, `base_collapsed`: the trainings that were left out, by name, with the arm's and
    the base's number of trainings. `left_out`: pairs of seed and subject that only one of them
    has, or that did not fill the table.
    """

    arm: str
    base: str
    interval: Interval
    p: float | None
    seeds: int
    subjects: int
    collapsed: tuple[str, ...] = ()
    base_collapsed: tuple[str, ...] = ()
    trainings: int = 0
    base_trainings: int = 0
    left_out: int = 0

    @property
    def estimate(self) -> float | None:
        """The mean difference, or None where it is not known."""
        return self.interval.estimate

    @property
    def verdict(self) -> str:
        """In words: better, worse, no difference shown, or why it is not known."""
        interval = self.interval
        if interval.low is None or interval.high is None:
            return interval.note
        if interval.low > 0:
            return "better"
        return "worse" if interval.high < 0 else "no difference shown"

    @property
    def note(self) -> str:
        """What was left out, in words; "" where all counts."""
        parts = []
        for name, lost, tried in (
            (self.arm, self.collapsed, self.trainings),
            (self.base, self.base_collapsed, self.base_trainings),
        ):
            if lost:
                parts.append(
                    f"{len(lost)} of {tried} trainings of {name} collapsed and count "
                    f"apart: {', '.join(lost)}"
                )
        if self.left_out:
            parts.append(f"{so_many(self.left_out, 'score')} without a partner left out")
        if 1 < self.seeds < ENOUGH_SEEDS:
            parts.append(f"{self.seeds} seeds, of which {ENOUGH_SEEDS} are the least to judge by")
        return "; ".join(parts)


def collapsed_trainings(
    scores: pd.DataFrame, score: str = "dice", below: float = COLLAPSED
) -> pd.DataFrame:
    """Each training's mean score over its subjects, and whether it collapsed.

    `scores`: name, seed, subject, the score, and fold and error where there are any. Columns:
    name, fold (where given), seed, mean, collapsed.
    """
    _need(scores, ("name", "seed", "subject", score))
    keys = [key for key in ("name", "fold", "seed") if key in scores]
    used = scores[_whole(scores) & scores[score].notna()]
    means = used.groupby(keys, sort=False, dropna=False)[score].mean()  # a fold may be missing
    return means.rename("mean").reset_index().assign(collapsed=lambda t: t["mean"] < below)


def paired_effect(
    scores: pd.DataFrame,
    arm: str,
    base: str = "base",
    score: str = "dice",
    level: float = 0.95,
    scope: str = POPULATION,
    collapse_below: float = COLLAPSED,
) -> Effect:
    """How far an arm lies from the base, paired by seed *and* subject.

    `scores`: a long table with name (of the arm), seed, subject and the score, and optionally
    fold and error; several folds are pooled, several scans of a subject averaged.
    A training whose mean score is below `collapse_below` has collapsed: it is named and counted
    in the effect and never pooled, nor is its partner. (For a score of which less is better, or
    that is not a share, give 0.) Seeds and subjects that one of the two lacks are left out and
    counted. One seed, one subject, equal scores, no pair: not known, in words.
    See `crossed_interval` for the interval. Raises ValueError for a missing column.
    """
    return _effect(
        scores, collapsed_trainings(scores, score, collapse_below), arm, base, score, level, scope
    )


def _effect(
    scores: pd.DataFrame,
    trainings: pd.DataFrame,
    arm: str,
    base: str,
    score: str,
    level: float,
    scope: str,
) -> Effect:
    used = scores[_whole(scores) & scores[score].notna() & scores["name"].isin([arm, base])]
    cells = used.groupby(["name", "seed", "subject"])[score].mean()
    gone = trainings[trainings["collapsed"]]
    counts = trainings["name"].value_counts()
    of_arm, of_base = (gone[gone["name"] == name] for name in (arm, base))
    about: dict[str, Any] = dict(
        collapsed=_named(of_arm),
        base_collapsed=_named(of_base),
        trainings=int(counts.get(arm, 0)),
        base_trainings=int(counts.get(base, 0)),
    )
    for name in (arm, base):
        if not counts.get(name, 0):
            return Effect(
                arm, base, unknown(f"not known: {name} has no scores", level), None, 0, 0, **about
            )
    for name, lost in ((arm, of_arm), (base, of_base)):
        if len(lost) == counts[name]:
            reason = f"not known: all trainings of {name} collapsed"
            return Effect(arm, base, unknown(reason, level), None, 0, 0, **about)
    out = {*of_arm["seed"], *of_base["seed"]}
    cells = cells[~cells.index.get_level_values("seed").isin(list(out))]
    if {arm, base} - {*cells.index.get_level_values("name")}:
        reason = f"not known: no seed at which neither {arm} nor {base} collapsed"
        return Effect(arm, base, unknown(reason, level), None, 0, 0, **about)
    one, other = _aligned(cells, arm, base)
    table = _without_gaps((one - other).round(12))
    found = crossed_interval(table.to_numpy(), level, scope)
    left_out = int((one.notna() | other.notna()).to_numpy().sum()) - table.size
    interval = cut_to_shares(found.interval, one, other)
    if not interval.known and out:
        told = f"{so_many(len(out), 'seed')} left out, since a training collapsed"
        interval = with_note(interval, told)
    seeds, subjects = table.shape
    return Effect(arm, base, interval, found.p, seeds, subjects, left_out=left_out, **about)


def paired_scores(
    scores: pd.DataFrame,
    arm: str,
    base: str = "base",
    score: str = "dice",
    collapse_below: float = COLLAPSED,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `paired_effect` compares: the arm's scores and the base's, seeds by subjects.

    Both tables have the same rows and columns and no gaps; seeds at which a training collapsed
    are left out. Both are empty where there is no pair. Raises ValueError for a missing column.
    """
    trainings = collapsed_trainings(scores, score, collapse_below)
    out = trainings.loc[trainings["collapsed"] & trainings["name"].isin([arm, base]), "seed"]
    used = scores[_whole(scores) & scores[score].notna() & scores["name"].isin([arm, base])]
    cells = used[~used["seed"].isin(out)].groupby(["name", "seed", "subject"])[score].mean()
    if {arm, base} - {*cells.index.get_level_values("name")}:
        return pd.DataFrame(), pd.DataFrame()
    one, other = _aligned(cells, arm, base)
    whole = _without_gaps(one - other)
    return tuple(table.loc[whole.index, whole.columns] for table in (one, other))


def _aligned(cells: pd.Series, arm: str, base: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scores of two arms, seeds by subjects, in the same order."""
    one, other = (cells.loc[name].unstack("subject") for name in (arm, base))
    return one.align(other)


def _named(trainings: pd.DataFrame) -> tuple[str, ...]:
    """Trainings by what tells them apart: "seed 3", or "fold 1, seed 3"."""
    keys = [key for key in ("fold", "seed") if key in trainings]
    return tuple(
        ", ".join(f"{key} {row[key]}" for key in keys) for row in trainings[keys].to_dict("records")
    )


def _without_gaps(table: pd.DataFrame) -> pd.DataFrame:
    """The seeds (rows) and subjects that fill a whole table.

    Rows and columns that are empty go first; then seeds that lack more than half of the subjects,
    as long as two are left; then each subject that some seed lacks.
    """
    table = table.dropna(how="all").dropna(axis=1, how="all")
    enough = table[table.isna().mean(axis=1) <= 0.5]
    return (enough if len(enough) >= 2 else table).dropna(axis=1, how="any")


def effects(
    scores: pd.DataFrame,
    base: str = "base",
    score: str = "dice",
    level: float = 0.95,
    names: Sequence[str] | None = None,
    scope: str = POPULATION,
    collapse_below: float = COLLAPSED,
) -> pd.DataFrame:
    """Every arm against the base, a row an arm: `paired_effect`, and Holm over all of them.

    `names`: which arms, in which order (all, in the table's order).
    Columns: name, seeds, subjects, mean (of the arm, over what is compared or, where that is not
    known, over all its scores), difference, low, high, p, p_holm, collapsed and trainings (how
    many), verdict (each arm by its own interval), verdict_of_family (the same where it outlasts
    Holm's correction), note. Numbers that are not known are NA.
    """
    _need(scores, ("name", "seed", "subject", score))
    trainings = collapsed_trainings(scores, score, collapse_below)
    names = list(dict.fromkeys(scores["name"])) if names is None else list(names)
    found = [
        _effect(scores, trainings, name, base, score, level, scope)
        for name in names
        if name != base
    ]
    corrected = holm([pd.NA if one.p is None else one.p for one in found])
    means = scores[_whole(scores)].groupby("name")[score].mean()
    rows = [_effect_row(one, p, means, level) for one, p in zip(found, corrected, strict=True)]
    columns = [
        "name",
        "seeds",
        "subjects",
        "mean",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "collapsed",
        "trainings",
        "verdict",
        "verdict_of_family",
        "note",
    ]
    numbers = ("mean", "difference", "low", "high", "p", "p_holm")
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, "Float64"))


def _effect_row(one: Effect, p_holm: Any, means: pd.Series, level: float) -> dict[str, Any]:
    outlasts = not pd.isna(p_holm) and p_holm <= 1 - level
    named = dict(
        mean=means.get(one.arm),
        difference=one.estimate,
        low=one.interval.low,
        high=one.interval.high,
        p=one.p,
        p_holm=p_holm,
    )
    return dict(
        name=one.arm,
        seeds=one.seeds,
        subjects=one.subjects,
        **{key: pd.NA if value is None else value for key, value in named.items()},
        collapsed=len(one.collapsed),
        trainings=one.trainings,
        verdict=one.verdict,
        verdict_of_family=one.verdict
        if outlasts or not one.interval.known
        else "no difference shown",
        note=one.note,
    )


# --- Spreads, power and what it takes ------------------------------------------------------------


@dataclass(frozen=True)
class Spreads:
    """Standard deviations by which scores vary, as needed to plan or to simulate.

    Of a paired difference between two recipes: `seed` (one pair of trainings to the next),
    `subject` (a change that suits some subjects more than others), `residual` (the rest, a
    subject and seed). Shared by all recipes, so that pairing removes them: `shared_seed`,
    `shared_subject`, `shared_residual`. `mean`: the mean score.
    """

    seed: float
    subject: float
    residual: float
    shared_seed: float = 0.0
    shared_subject: float = 0.0
    shared_residual: float = 0.0
    mean: float = 0.5

    def draw(
        self,
        random: np.random.Generator,
        repeats: int,
        seeds: int,
        subjects: int,
        effect: float = 0.0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores of a base and of an arm, each (repeats, seeds, subjects) and cut to 0 … 1.

        Without effect both are drawn alike, so that any difference is luck.
        """

        def parts(of_seed: float, of_subject: float, rest: float) -> np.ndarray:
            return (
                random.normal(0, of_seed, (repeats, seeds, 1))
                + random.normal(0, of_subject, (repeats, 1, subjects))
                + random.normal(0, rest, (repeats, seeds, subjects))
            )

        shared = self.mean + parts(self.shared_seed, self.shared_subject, self.shared_residual)
        own = [
            parts(*(spread / math.sqrt(2) for spread in (self.seed, self.subject, self.residual)))
            for _ in range(2)
        ]
        return np.clip(shared + own[0], 0, 1), np.clip(shared + own[1] + effect, 0, 1)


def measure_spreads(
    scores: pd.DataFrame,
    base: str = "base",
    score: str = "dice",
    near: float = 0.05,
    collapse_below: float = COLLAPSED,
) -> Spreads | None:
    """The spreads of a recorded grid, from the arms that lie near its base.

    `near`: how far an arm's mean score may lie from the base's; far ones vary for other reasons.
    Variance components of a table of arms, seeds and subjects, all drawn, by the method of
    moments (Henderson 1953; Searle, Casella and McCulloch 1992); those below 0 count as 0.
    None where there are not two such arms with two seeds and two subjects in common.
    """
    _need(scores, ("name", "seed", "subject", score))
    trainings = collapsed_trainings(scores, score, collapse_below)
    bad = set(trainings.loc[trainings["collapsed"], "name"])
    used = scores[_whole(scores) & scores[score].notna()]
    means = used.groupby("name")[score].mean()
    if base not in means:
        return None
    arms = [
        name for name, mean in means.items() if name not in bad and abs(mean - means[base]) <= near
    ]
    cells = (
        used[used["name"].isin(arms)]
        .groupby(["name", "seed", "subject"])[score]
        .mean()
        .unstack(["seed", "subject"])
    )
    whole = cells.dropna(axis=1).columns
    seeds = whole.get_level_values("seed").unique()
    in_all = pd.Series(1, index=whole).unstack("seed").dropna() if len(whole) else pd.DataFrame()
    if len(cells) < 2 or len(seeds) < 2 or len(in_all) < 2:
        return None
    table = np.stack([cells[seed][in_all.index].to_numpy() for seed in seeds], axis=1)
    return _components(table)


def _components(table: np.ndarray) -> Spreads:
    """Spreads of a whole table (arms, seeds, subjects)."""
    arms, seeds, subjects = table.shape
    total = table.mean()
    by = {axes: table.mean(axes, keepdims=True) for axes in ((1, 2), (0, 2), (0, 1), 2, 1, 0)}
    one, two, three = (by[axes] - total for axes in ((1, 2), (0, 2), (0, 1)))
    arm_seed = by[2] - total - one - two
    arm_subject = by[1] - total - one - three
    seed_subject = by[0] - total - two - three
    rest = table - total - one - two - three - arm_seed - arm_subject - seed_subject

    def square(part: np.ndarray, repeated: int, freedom: int) -> float:
        return repeated * float((part**2).sum()) / freedom

    e = square(rest, 1, (arms - 1) * (seeds - 1) * (subjects - 1))
    ak = square(arm_seed, subjects, (arms - 1) * (seeds - 1))
    an = square(arm_subject, seeds, (arms - 1) * (subjects - 1))
    kn = square(seed_subject, arms, (seeds - 1) * (subjects - 1))
    k, n = square(two, arms * subjects, seeds - 1), square(three, arms * seeds, subjects - 1)
    variances = dict(
        seed=2 * (ak - e) / subjects,
        subject=2 * (an - e) / seeds,
        residual=2 * e,
        shared_seed=(k - ak - kn + e) / (arms * subjects),
        shared_subject=(n - an - kn + e) / (arms * seeds),
        shared_residual=(kn - e) / arms,
    )
    return Spreads(
        **{name: math.sqrt(max(value, 0.0)) for name, value in variances.items()}, mean=float(total)
    )


def power(
    effect: float,
    seeds: int,
    subjects: int,
    spreads: Spreads,
    level: float = 0.95,
    scope: str = POPULATION,
) -> float:
    """The chance that `paired_effect` sees a true mean difference, by the noncentral t.

    Source: Hillis, Obuchowski and Berbaum 2011 (power of readers and cases). The mean squares
    are set to what they are on average, which is right to a few points.
    Raises ValueError for fewer than two seeds or subjects.
    """
    if seeds < 2 or subjects < 2:
        raise ValueError(
            f"{so_many(seeds, 'seed')} and {so_many(subjects, 'subject')}: give at "
            "least two of each."
        )
    return float(_power(effect, np.array([seeds]), np.array([subjects]), spreads, level, scope)[0])


def _power(
    effect: float,
    seeds: np.ndarray,
    subjects: np.ndarray,
    spreads: Spreads,
    level: float,
    scope: str,
) -> np.ndarray:
    e = np.full(np.broadcast(seeds, subjects).shape, spreads.residual**2)
    error, freedom = _from_squares(
        e + subjects * spreads.seed**2, e + seeds * spreads.subject**2, e, seeds, subjects, scope
    )
    share = np.array([_alpha_share(int(k), scope) for k in np.broadcast_to(seeds, e.shape)])
    far = stats.t.ppf(1 - share * (1 - level) / 2, freedom)
    shift = np.abs(effect) / np.maximum(error, SAME)
    large = shift > 30  # where the noncentral t has nothing left to add
    shift = np.minimum(shift, 30)
    # Far out SciPy answers NaN for the other side's tail, which is nothing there.
    other_side = np.nan_to_num(stats.nct.cdf(-far, freedom, shift))
    seen = stats.nct.sf(far, freedom, shift) + other_side
    return np.where(large, 1.0, np.clip(seen, 0, 1))


def simulate_power(
    effect: float,
    seeds: int,
    subjects: int,
    spreads: Spreads,
    repeats: int = 5000,
    seed: int = 0,
    level: float = 0.95,
    scope: str = POPULATION,
) -> float:
    """The share of simulated grids in which the interval leaves zero out.

    With `effect` 0 these are the false alarms; with another, the power. The intervals are those
    of `crossed_interval`. In the scope "these subjects" a change that suits some of the subjects
    is an effect on them, so there more than 5 % are no false alarms unless `spreads.subject` is 0.
    Raises ValueError for fewer than two seeds or subjects.
    """
    if seeds < 2 or subjects < 2:
        raise ValueError(
            f"{so_many(seeds, 'seed')} and {so_many(subjects, 'subject')}: give at "
            "least two of each."
        )
    base, arm = spreads.draw(np.random.default_rng(seed), repeats, seeds, subjects, effect)
    error, freedom = _standard_error(arm - base, scope)
    far = stats.t.ppf(1 - _alpha_share(seeds, scope) * (1 - level) / 2, freedom) * error
    return float((np.abs((arm - base).mean((1, 2))) > far).mean())


@dataclass(frozen=True)
class Needed:
    """The fewest seeds that reach a power, or None and why."""

    seeds: int | None
    subjects: int
    power: float
    note: str

    @property
    def text(self) -> str:
        """In words: "9 seeds", or why no number is enough."""
        return self.note if self.seeds is None else f"{self.seeds} seeds"


def seeds_needed(
    effect: float,
    spreads: Spreads,
    subjects: int,
    power: float = 0.8,
    level: float = 0.95,
    scope: str = POPULATION,
    most: int = 500,
) -> Needed:
    """How many paired seeds it takes to see a true mean difference with this power.

    More seeds do not make up for few subjects: where no number up to `most` is enough, `seeds`
    is None, and the note says how many subjects it takes at least.
    Raises ValueError for fewer than two subjects, or a power outside (0, 1).
    """
    if subjects < 2 or not 0 < power < 1:
        raise ValueError(
            f"{so_many(subjects, 'subject')} and a power of {power}: give at least two "
            "subjects and 0 < power < 1."
        )
    numbers = np.arange(2, most + 1)
    reached = _power(effect, numbers, np.full_like(numbers, subjects), spreads, level, scope)
    if (reached >= power).any():
        first = int(np.argmax(reached >= power))
        return Needed(int(numbers[first]), subjects, float(reached[first]), "")
    instead = _subjects_instead(effect, spreads, power, level, scope, most)
    return Needed(
        None,
        subjects,
        float(reached[-1]),
        f"no number of seeds up to {most} is enough with {subjects} subjects (power "
        f"{100 * reached[-1]:.0f} %): {instead}",
    )


def _subjects_instead(
    effect: float, spreads: Spreads, wanted: float, level: float, scope: str, most: int
) -> str:
    numbers = np.arange(2, 5001)
    reached = _power(effect, np.full_like(numbers, most), numbers, spreads, level, scope)
    if not (reached >= wanted).any():
        return "nor would 5,000 subjects be"
    return f"at least {int(numbers[int(np.argmax(reached >= wanted))])} subjects are needed"

"""Two recipes by the same seeds and subjects: their pairs, what pairing is worth, and words for it.

Chapter 9 asks one question of the Ken block. Every sentence that it prints with a recorded number
is made here from the scores, so that the words turn when the numbers do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd

from kenseg_utils.evaluation import statistics
from kenseg_utils.machine import so_many

from ._recorded import Result

ENOUGH_POWER = 0.8


@dataclass(frozen=True)
class Question:
    """What is compared: `arm` against `base` by name, and `part`, what the arm has more."""

    arm: str
    base: str
    part: str

    @property
    def labels(self) -> tuple[str, str]:
        """The base and the arm in words: without it, with it."""
        return f"without {self.part}", f"with {self.part}"


def effect_of(
    scores: pd.DataFrame, question: Question, score: str = "dice", scope: str = "population"
) -> statistics.Effect:
    """`statistics.paired_effect` of the arm, which calls the two as the question does."""
    names = dict(zip((question.base, question.arm), question.labels, strict=True))
    return statistics.paired_effect(
        scores.assign(name=scores["name"].replace(names)),
        question.labels[1],
        question.labels[0],
        score,
        scope=scope,
    )


# --- The pairs -----------------------------------------------------------------------------------


def pair_seeds(scores: pd.DataFrame, question: Question, score: str = "dice") -> pd.DataFrame:
    """A row a seed that both were trained with: seed, base, arm, difference, collapsed.

    `base` and `arm`: mean scores over the held-out subjects that both have; `difference`: arm -
    base; `collapsed`: which of the two collapsed ("" for neither). Such a pair has no difference.
    """
    columns = ["seed", "base", "arm", "difference", "collapsed"]
    trainings = statistics.collapsed_trainings(scores, score)
    own = {
        role: trainings[trainings["name"] == name]
        .groupby("seed")[["mean", "collapsed"]]
        .agg({"mean": "mean", "collapsed": "any"})
        for role, name in (("base", question.base), ("arm", question.arm))
    }
    used = [table.mean(axis=1) for table in _tables(scores, question, score)]
    rows = []
    for seed in sorted(set(own["base"].index) & set(own["arm"].index)):
        gone = [
            label
            for label, role in zip(question.labels, ("base", "arm"), strict=True)
            if own[role].loc[seed, "collapsed"]
        ]
        if not gone and seed not in used[0].index:  # it shares too few subjects
            continue
        pair = [
            own[role].loc[seed, "mean"] if gone else means[seed]
            for role, means in zip(("base", "arm"), used, strict=True)
        ]
        difference = pd.NA if gone else pair[1] - pair[0]
        rows.append((seed, *pair, difference, " and ".join(gone)))
    return pd.DataFrame(rows, columns=columns).astype({"difference": "Float64"})


def _tables(
    scores: pd.DataFrame, question: Question, score: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The base's and the arm's scores, seeds by subjects, without gaps and collapsed pairs."""
    arm, base = statistics.paired_scores(scores, question.arm, question.base, score)
    return base, arm


PAIRINGS = ("another subject, another seed", "the same subject, another seed", "both the same")


def by_pairing(
    scores: pd.DataFrame, question: Question, score: str = "dice"
) -> dict[str, np.ndarray]:
    """All differences between one subject's score with the arm and one with the base, three ways.

    By name of PAIRINGS: of two subjects and two seeds, of one subject and two seeds, of one subject
    and one seed. Their means agree; they spread by what the pairing does not take away. Empty
    arrays where there are not two seeds and two subjects.
    """
    base, arm = (table.to_numpy(dtype=float) for table in _tables(scores, question, score))
    if base.ndim != 2 or min(base.shape, default=0) < 2:
        return {name: np.empty(0) for name in PAIRINGS}
    every = arm[:, :, None, None] - base[None, None]  # seed, subject, other seed, other subject
    seeds, subjects = base.shape
    same_seed = np.eye(seeds, dtype=bool)[:, None, :, None]
    same_subject = np.eye(subjects, dtype=bool)[None, :, None, :]
    masks = (~same_seed & ~same_subject, ~same_seed & same_subject, same_seed & same_subject)
    return {
        name: every[np.broadcast_to(mask, every.shape)]
        for name, mask in zip(PAIRINGS, masks, strict=True)
    }


def spread_of_pair(
    scores: pd.DataFrame, question: Question, score: str = "dice"
) -> statistics.Spreads | None:
    """The spreads of this pair of recipes alone, however far they lie apart; None as there.

    Seeds at which one of the two collapsed are left out, as in the effect.
    """
    kept = _tables(scores, question, score)[0].index
    both = scores[scores["name"].isin([question.arm, question.base]) & scores["seed"].isin(kept)]
    return statistics.measure_spreads(both, question.base, score, near=float("inf"))


@dataclass(frozen=True)
class Measured:
    """The effect of `arm` against `base`, from the recorded result that says most of it.

    `result`: its name, "" where none has both; `origin`: what made it, in short; `data`: on what.
    """

    effect: statistics.Effect
    result: str
    origin: str
    data: str

    @property
    def words(self) -> str:
        """The difference in words, with what made it."""
        interval = self.effect.interval
        if interval.estimate is None or interval.low is None or interval.high is None:
            found = interval.note
        else:
            found = (
                f"mean Dice differs by {interval.estimate:+.3f} "
                f"({interval.level_text}: {interval.low:+.3f} to {interval.high:+.3f}; "
                f"{self.effect.seeds} paired seeds, {self.effect.subjects} subjects)"
            )
        return f"{found}{f'; {self.effect.note}' if self.effect.note else ''} ({self.origin})"

    @property
    def collapsed(self) -> statistics.Interval:
        """The share of the arm's trainings that collapsed."""
        return statistics.share_interval(len(self.effect.collapsed), self.effect.trainings)

    @property
    def collapsed_words(self) -> str:
        """How many of the arm's trainings collapsed, in words."""
        share = self.collapsed
        tried = self.effect.trainings
        if not share.known:
            return f"whether it can be trained is not known ({self.origin})"
        return (
            f"{len(self.effect.collapsed)} of {so_many(tried, 'training')} collapsed "
            f"(share, {share.level_text}: {share.text('.2f')}; {self.origin})"
        )


def find_effect(results: Mapping[str, Result | None], arm: str, base: str) -> Measured:
    """The effect from the recorded result in which both have most trainings in common.

    `results`: by name, None for what is not recorded. Where none has both, not known.
    """
    nothing = statistics.unknown(f"not known: nothing is recorded of both {arm} and {base}")
    found = Measured(statistics.Effect(arm, base, nothing, None, 0, 0), "", "not recorded", "")
    most = 0
    for name, result in results.items():
        if result is None or "scores" not in result.tables:
            continue
        scores = result.tables["scores"]
        seeds = [set(scores.loc[scores["name"] == one, "seed"]) for one in (arm, base)]
        if len(seeds[0] & seeds[1]) > most:
            most = len(seeds[0] & seeds[1])
            effect = statistics.paired_effect(scores, arm, base)
            found = Measured(effect, name, brief_origin(result), data_of(result))
    return found


def origin(result: Result) -> str:
    """What made a recorded result, in words."""
    about = result.provenance
    redone = about.get("statistics recomputed")
    seeds = len(about["seed"])
    return (
        f"recorded: profile {about['profile']}, {so_many(seeds, 'seed')}, "
        f"{about['seconds'] / 60:.0f} minutes of training on {', '.join(about['device'])}, "
        f"commit {', '.join(about['commit'])}, {about['finished'][:10]}"
        + (f"; statistics of {redone['day']}" if redone else "")
    )


def brief_origin(result: Result) -> str:
    """When a recorded result was made, and at which scale."""
    about = result.provenance
    return f"recorded {about['finished'][:10]}, profile {about['profile']}"


def data_of(result: Result) -> str:
    """The name of the data that a recorded result was measured on."""
    return str(result.provenance.get("data_name", "phantom ATLAS"))


# --- What fewer seeds would have said ------------------------------------------------------------


@dataclass(frozen=True)
class Rolls:
    """Every choice of so many of the recorded pairs, and what each would have been taken for.

    `seeds` and `differences`: the pairs. `shown`: for each choice, as the sum of 2**place, where
    the interval leaves zero out: "better" or "worse". `table`: a row a number of seeds: seeds,
    choices, positive (share whose mean difference is above 0), better, worse (shares whose
    interval leaves 0 out), low and high (the least and the greatest mean difference).
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    shown: dict[int, str] = field(repr=False)
    table: pd.DataFrame = field(repr=False)


def roll_seeds(
    scores: pd.DataFrame,
    question: Question,
    sizes: Sequence[int] = (1, 2, 3, 5),
    score: str = "dice",
    level: float = 0.95,
    most: int = 2000,
) -> Rolls | None:
    """What each choice of `sizes` of the pairs, or of all, says; None where there is no pair.

    Sizes beyond the number of pairs, or with more than `most` choices, are left out.
    """
    base, arm = _tables(scores, question, score)
    if base.empty:
        return None
    table = (arm - base).to_numpy(dtype=float)
    means = table.mean(axis=1)
    shown: dict[int, str] = {}
    rows = []
    for size in sorted({*sizes, len(table)}):
        if size > len(table) or comb(len(table), size) > most:
            continue
        chosen = [list(places) for places in combinations(range(len(table)), size)]
        words = [_word(statistics.crossed_interval(table[places], level)) for places in chosen]
        keys = [sum(2**place for place in places) for places in chosen]
        shown |= {key: word for key, word in zip(keys, words, strict=True) if word}
        found = np.array([means[places].mean() for places in chosen])
        rows.append(
            dict(
                seeds=size,
                choices=len(chosen),
                positive=float((found > 0).mean()),
                better=words.count("better") / len(chosen),
                worse=words.count("worse") / len(chosen),
                low=float(found.min()),
                high=float(found.max()),
            )
        )
    return Rolls(tuple(map(int, base.index)), tuple(means.tolist()), shown, pd.DataFrame(rows))


def _word(found: statistics.Crossed) -> str:
    if not found.interval.excludes(0):
        return ""
    return "better" if (found.interval.estimate or 0) > 0 else "worse"


# --- In words ------------------------------------------------------------------------------------


def answer(effect: statistics.Effect, part: str) -> str:
    """What the paired seeds say of a part, in two sentences or three; in words where not known."""
    interval = effect.interval
    about = f" {_sentence(_plain(effect.note))}" if effect.note else ""
    if interval.low is None or interval.high is None or interval.estimate is None:
        return f"Whether {part} helps is {_plain(interval.note)}.{about}"
    seeds = f"{effect.seeds} paired seeds and {effect.subjects} subjects"
    measured = (
        f"with it mean Dice differs by {interval.estimate:+.3f} "
        f"({interval.level_text}: {interval.low:+.3f} to {interval.high:+.3f})"
    )
    said = {
        "better": f"{seeds} show that {part} helps: {measured}.",
        "worse": f"{seeds} show that {part} hurts: {measured}.",
    }.get(
        effect.verdict,
        f"{seeds} do not show whether {part} helps or hurts: {measured}. A gain of more than "
        f"{interval.high:.3f} is unlikely, and so is a loss of more than {-interval.low:.3f}; "
        "anything between is possible.",
    )
    return f"{said}{about}"


def _plain(note: str) -> str:
    """A note in which an arm is called "with it" or "without it"."""
    return note.replace("trainings of with", "trainings with")


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}."


def pairing_words(differences: Mapping[str, np.ndarray]) -> str:
    """How far the differences of `by_pairing` spread, by what is paired."""
    sds = [float(values.std(ddof=1)) for values in differences.values() if len(values) > 1]
    if len(sds) < len(PAIRINGS) or not min(sds):
        return "What pairing is worth is not known: it takes two seeds and two subjects."
    loose, by_subject, both = sds
    seed = (
        "adds to it here, by chance"
        if both > 1.05 * by_subject
        else "takes a good deal more away"
        if both < 0.8 * by_subject
        else "takes a little more away"
        if both < 0.95 * by_subject
        else "takes hardly anything more away"
    )
    return (
        f"Between two subjects and two seeds the difference has an SD of {loose:.3f}; within a "
        f"subject {by_subject:.3f}; within a subject and a seed {both:.3f}. Pairing by subject "
        f"{'is what counts' if by_subject < 0.8 * loose else 'changes little'}, and pairing by "
        f"seed as well {seed}. Together they make the variance {(loose / both) ** 2:.1f} times "
        "smaller."
    )


def power_words(
    spreads: statistics.Spreads | None, effect: float, seeds: int, subjects: int
) -> str:
    """The chance to see a true difference with what was trained, and the seeds that 80 % take."""
    if spreads is None or seeds < 2 or subjects < 2:
        return (
            f"What it takes to see a difference of {effect:g} is not known: it needs the spreads "
            "of two recipes over two seeds and two subjects."
        )
    reached = statistics.power(effect, seeds, subjects, spreads)
    everywhere = statistics.seeds_needed(effect, spreads, subjects, ENOUGH_POWER)
    here = statistics.seeds_needed(
        effect, spreads, subjects, ENOUGH_POWER, scope=statistics.THESE_SUBJECTS
    )
    return (
        f"If the true difference were {effect:g}, {seeds} paired seeds and {subjects} subjects "
        f"would show it in {100 * reached:.0f} % of such experiments. "
        f"For {100 * ENOUGH_POWER:.0f} %: {everywhere.text}. "
        f"Asked of these {subjects} subjects alone, so that it says nothing about others: "
        f"{here.text}."
    )


def seeds_words(table: pd.DataFrame) -> str:
    """How far the mean difference spreads from seed to seed, paired by seed and not."""
    used = table[table["collapsed"].eq("")]
    if len(used) < 2:
        return "What pairing by seed is worth is not known: it takes two pairs."
    paired = float(used["difference"].astype(float).std())
    apart = float(np.sqrt(used["base"].var() + used["arm"].var()))
    told = (
        f"so pairing the seeds {'helps' if paired < apart else 'does not help'} here"
        if abs(paired - apart) > 0.1 * apart
        else "so pairing the seeds makes hardly a difference here, and costs nothing"
    )
    return (
        f"From seed to seed the mean difference over these subjects has an SD of {paired:.3f} "
        f"where the seeds are paired, and would have one of {apart:.3f} where they are not: {told}."
    )


def collapse_words(scores: pd.DataFrame) -> str:
    """Which trainings collapsed, by setting, in words."""
    trainings = statistics.collapsed_trainings(scores)
    gone = trainings[trainings["collapsed"]]
    tried = trainings.groupby("name", sort=False).size()
    if gone.empty:
        return f"None of {len(trainings)} trainings collapsed."
    named = ", ".join(
        f"{name} ({count} of {tried[name]})"
        for name, count in gone.groupby("name", sort=False).size().items()
    )
    return (
        f"{len(gone)} of {len(trainings)} trainings collapsed (mean Dice below "
        f"{statistics.COLLAPSED:g}) and count apart: {named}."
    )


def family_words(effects: pd.DataFrame) -> str:
    """How many settings of a grid differ from the base, singly and as a family."""
    others = effects[effects["verdict"] != "base"]
    shown = ["better", "worse"]
    single = others[others["verdict"].isin(shown)]
    family = others[others["verdict_of_family"].isin(shown)]
    unknown = int(others["verdict"].str.startswith("not known").sum())

    def named(rows: pd.DataFrame) -> str:
        if rows.empty:
            return "none"
        return ", ".join(f"{row.name} ({row.verdict})" for row in rows.itertuples(index=False))

    if single.empty:
        words = f"None of {len(others)} changes differs from the base by its own interval. "
    else:
        words = (
            f"Of {len(others)} changes {len(single)} differ{'s' if len(single) == 1 else ''} from "
            f"the base by an interval of {'its' if len(single) == 1 else 'their'} own: "
            f"{named(single)}. "
        )
    words += (
        f"With Holm's correction for {len(others) - unknown} questions asked at once: "
        f"{named(family)}."
    )
    if unknown:
        words += f" Not known, since all trainings collapsed or too little is there: {unknown}."
    return words


def rolls_words(rolls: Rolls | None, part: str) -> str:
    """What the smallest and the largest choice of seeds would have said."""
    if rolls is None or rolls.table.empty:
        return "There is no pair of trainings to draw from."
    lines = []
    for row in rolls.table.itertuples():
        seeds = "one seed" if row.seeds == 1 else f"{row.seeds} seeds"
        shown = row.better + row.worse
        lines.append(
            f"with {seeds}, {100 * row.positive:.0f} % of {row.choices} possible experiments have "
            f"a higher mean with {part} ({row.low:+.3f} to {row.high:+.3f}), and "
            f"{100 * shown:.0f} % an interval that leaves zero out"
        )
    return _sentence("; ".join(lines))


# At the paper's own widths: what `results/paper_scale.json` calls the two, and what differs.
FULL_WIDTH = {
    "paper_no_ken": "its Ken block",
    "paper_unet": "its grid, blocks, normalisation and Ken block",
}


def full_width(history: pd.DataFrame, base: str = "paper") -> pd.DataFrame:
    """The paper's recipe beside one without a part of it, after the same epochs and at the best.

    `history`: of the recorded result `paper_scale`: run, seed, epoch, val_dice (per subject) and
    val_dice_pooled. A row a comparison: without (what the other lacks), epoch (the last that both
    reached), seeds, and by subject and pooled the Dice on the validation set with the part
    and without it: same_with, same_without, same_pooled_with, same_pooled_without, and of the
    epochs up to there the best, best_with, best_without (a longer run has more to choose from).
    No rows where nothing can be compared.
    """
    rows = []
    for other, part in FULL_WIDTH.items():
        seeds = [set(history.loc[history["run"] == name, "seed"]) for name in (base, other)]
        shared = sorted(seeds[0] & seeds[1])
        if not shared:
            continue
        used = history[history["seed"].isin(shared)]
        mine, its = (used[used["run"] == name] for name in (base, other))
        last = int(min(mine["epoch"].max(), its["epoch"].max()))
        row = dict(without=part, seeds=len(shared), epoch=last)
        for label, table in (("with", mine), ("without", its)):
            then = table[table["epoch"] == last]
            row[f"same_{label}"] = float(then["val_dice"].mean())
            row[f"same_pooled_{label}"] = float(then["val_dice_pooled"].mean())
            both = table[table["epoch"] <= last]
            row[f"best_{label}"] = float(both.groupby("seed")["val_dice"].max().mean())
        rows.append(row)
    return pd.DataFrame(rows)


def full_width_words(table: pd.DataFrame) -> str:
    """The comparisons of `full_width` in words: a sentence each, and what one seed is worth."""
    if table.empty:
        return "No training at the paper's own widths is recorded here."
    sentences = [_compared(row) for row in table.to_dict("records")]
    seeds = int(table["seeds"].min())
    few = (
        f"With {'one seed' if seeds == 1 else f'{seeds} seeds'} each, none of this is known to be "
        "more than luck."
        if seeds < statistics.ENOUGH_SEEDS
        else f"Each is a mean over {seeds} seeds or more."
    )
    return " ".join([*sentences, few])


def _compared(row: dict) -> str:
    signs = [
        np.sign(round(row[f"{kind}_with"] - row[f"{kind}_without"], 2))
        for kind in ("same", "same_pooled", "best")
    ]
    said = (
        "shows an advantage"
        if min(signs) > 0
        else "shows a disadvantage"
        if max(signs) < 0
        else "shows no advantage that does not depend on how one looks"
    )
    return (
        f"Full width, with and without {row['without']}: Dice per validation subject is "
        f"{row['same_with']:.2f} against {row['same_without']:.2f} after the same {row['epoch']} "
        f"epochs (pooled {row['same_pooled_with']:.2f} against "
        f"{row['same_pooled_without']:.2f}), and {row['best_with']:.2f} against "
        f"{row['best_without']:.2f} each at the best of these epochs: the part {said}."
    )

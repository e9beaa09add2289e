"""How networks of whole heads are judged: cases, what each choice scores on them, which is taken.

The rule stands in words at the top of `benchmarks/judge_heads.py`, where it was written before any
network was judged. A case is (group, name, number, volume in the frame, mask in the frame or
None); the groups are `PHANTOMS`, `PAINTED_INTO`, `HEALTHY`, `MADE`, `OUTLINED`, `HOLLOW` and
`TURNED`. Of cases with a lesion, those with an even number serve to develop, and those with an odd
one are kept apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from kenseg_utils import metrics, phantom, prediction
from kenseg_utils.anatomy import box_around
from kenseg_utils.prediction import frames

from .synthesis import Mix, make_head, paint_into

TRIED_THRESHOLDS = (0.05, 0.1, 0.15, *(round(0.1 * k, 1) for k in range(2, 10)))
TRIED_LEAST_ML = (0.1, 0.3, 0.5, 1.0)
TRIED_PEAK_SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # of a find's highest probability
MOST_ML = 1.0  # found in a healthy head
MOST_MISLED = 1 / 12  # of the synthetic healthy heads: a share in which more than that is found
WORTH = 0.005  # of Dice
LOOKS = ["mirrored", "moved"]
CHOICE = [*LOOKS, "threshold", "peak_share", "least_ml"]
HEALTHY = "healthy"
MADE = "healthy, synthetic"
PAINTED_INTO = "painted"
PHANTOMS = "phantoms"
DRAWN = (PAINTED_INTO, PHANTOMS)  # lesions of drawn shapes, of all sizes
MEAN = "mean of"  # how a row of means begins
WITHOUT_LESION = (HEALTHY, MADE)  # all of them choose; nothing of them is kept apart
OUTLINED = "painted, real outlines"
HOLLOW = "painted, holes"
TURNED = "real lesion (T2w turned over)"
SEED = 4000  # of phantoms and painted lesions: nothing else uses it
MADE_SEED = 910_000_000  # no training's head has it, nor has what one develops on
# What is painted stays as it was for the first network judged, whatever later ones are trained on.
_WERE: dict[str, dict[str, Any]] = {
    "anterior cerebral": dict(centre=(8, 26, 36), spread=(3, 24, 14), weight=1.2),
    "posterior cerebral": dict(weight=2),
    "cerebellum": dict(weight=1.8),
}
PAINTED = Mix(
    tuple(
        replace(kind, **_WERE.get(kind.name, {})) for kind in Mix().kinds if kind.name != "anywhere"
    ),
    large=0.35,
    more=0.3,
    holes=0,
)

Case = tuple[str, str, int, np.ndarray, np.ndarray | None]


def of_phantom(number: int) -> Case:
    """A phantom of the other generator, as a network is shown it."""
    image, mask, _ = phantom.make_subject(number, seed=SEED)
    frame, seen = frames.look(image, phantom.AFFINE)
    return PHANTOMS, f"phantom {number}", number, seen, frame.into(mask, phantom.AFFINE) >= 0.5


def with_lesion(file: Path, number: int, group: str = PAINTED_INTO) -> Case:
    """A healthy T1w with a lesion painted in; `HOLLOW`: one that is cavity up to its border."""
    image, affine = opened(file)
    rng = np.random.default_rng((SEED, number))
    mix = replace(PAINTED, holes=1) if group == HOLLOW else PAINTED
    shown, mask = paint_into(image, affine, rng, mix=mix)
    frame, seen = frames.look(shown, affine)
    name = f"{file.name.split('.')[0]} {number}"
    return group, name, number, seen, frame.into(mask, affine) >= 0.5


def with_outline(file: Path, drawn: Path, number: int) -> Case:
    """A healthy T1w with a lesion painted in whose outline is a real one, drawn in MNI space.

    Place, size and form are a patient's; how it looks is drawn, as for `with_lesion`. ValueError
    where nothing of the outline lies in the brain.
    """
    image, affine = opened(file)
    seed = np.random.default_rng([SEED, *drawn.name.split(".")[0].encode()])
    shown, mask = paint_into(image, affine, seed, outline=opened(drawn), mix=PAINTED)
    if not mask.any():
        raise ValueError(f"Nothing of {drawn} lies in the brain of {file}: is it in MNI space?")
    frame, seen = frames.look(shown, affine)
    name = f"{file.name.split('.')[0]} {drawn.name.split('.')[0]}"
    return OUTLINED, name, number, seen, frame.into(mask, affine) >= 0.5


def turned_over(scan: Path, drawn: Path) -> Case:
    """A real lesion, in a T2w brain whose grey values are turned over, so that it looks like a T1w.

    `scan`: a T2w in which nothing but the brain is above 0; `drawn`: the lesion, on its grid.
    Place, form and surroundings are a real stroke's; the contrast is none that a scanner gives.
    Its number is odd: it chooses nothing. ValueError where the two are on different grids.
    """
    image, affine = opened(scan)
    lesion, its_affine = opened(drawn)
    if image.shape != lesion.shape or not np.allclose(affine, its_affine, atol=1e-3):
        raise ValueError(f"{drawn} is not on the grid of {scan}: give the mask that belongs to it.")
    brain = image > 0
    low, high = np.percentile(image[brain], (2, 98))
    # Fluid, the brightest, is left a little: only air is black.
    shown = np.where(brain, high + 0.15 * (high - low) - np.clip(image, low, high), 0)
    frame, seen = frames.look(shown.astype(np.float32), affine)
    mask = frame.into((lesion > 0).astype(np.uint8), affine) >= 0.5
    return TURNED, scan.name.split(".")[0], 1, seen, mask


def made_healthy(number: int) -> Case:
    """A synthetic head without lesion that no training saw, by the generator of training's heads.

    Such heads are made to mislead: wide ventricles, white-matter disease, cysts, atrophy.
    """
    return MADE, f"synthetic {number}", number, make_head(MADE_SEED + number, healthy=True)[0], None


def opened(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """A scan and its affine, axes turned to RAS."""
    scan = nib.as_closest_canonical(nib.load(file))
    return np.asarray(scan.dataobj, np.float32), scan.affine


def single(scans: pd.DataFrame) -> pd.DataFrame:
    """The rows of `scores_by_scan` that are of one scan each: without its means."""
    return scans[~scans.case.str.startswith(MEAN)]


def means(scans: pd.DataFrame) -> pd.DataFrame:
    """The rows of `scores_by_scan` that are means."""
    return scans[scans.case.str.startswith(MEAN)]


def by_size(scans: pd.DataFrame) -> pd.DataFrame:
    """Of drawn lesions, painted and phantoms together: how many by volume, missed, mean Dice.

    `missed`: not a voxel of it was found. `scans`: what `scores_by_scan` gives.
    """
    each = single(scans)
    drawn = each[each.group.isin(DRAWN)]
    edges, names = (
        (0, 1, 5, 15, 50, np.inf),
        ("below 1", "1 to 5", "5 to 15", "15 to 50", "above 50"),
    )
    volumes = pd.cut(drawn.lesion_ml, edges, labels=names).rename("volume (ml)")
    return _told(drawn.groupby(volumes, observed=True))


def by_head(scans: pd.DataFrame, least_ml: float = 5) -> pd.DataFrame:
    """Of painted lesions, the same by the healthy head that they were painted into: all, and large.

    Large are those of `least_ml` and more.
    """
    each = single(scans)
    painted = each[each.group == PAINTED_INTO]
    heads = painted.case.str.rsplit(n=1).str[0].rename("head")
    large = painted.lesion_ml >= least_ml
    parts = {
        "all": _told(painted.groupby(heads)),
        "large": _told(painted[large].groupby(heads[large])),
    }
    return pd.concat(parts, axis=1)


def _told(groups) -> pd.DataFrame:
    return groups.agg(
        lesions=("dice", "size"),
        missed=("dice", lambda dice: int((dice == 0).sum())),
        Dice=("dice", "mean"),
    )


def judge(
    probability: Callable[[np.ndarray], np.ndarray],
    cases: Iterable[Case],
    ways: Sequence[tuple[bool, bool]] = tuple(frames.ways_to_look(True, True)),
    say: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """A row a case and a choice: Dice, recall, precision, ml.

    `probability` answers about a volume in the frame. `ways`: whether it is also asked about the
    mirror image, and about a head moved by a voxel; each doubles the time, and the mean is judged,
    inside the brain's hull alone, as `prediction.by_frame` draws it.
    """
    rows = []
    for group, name, number, seen, mask in cases:
        hull = frames.hull(seen)
        answers: dict[tuple[bool, bool], np.ndarray] = {}
        for mirrored, moved in ways:
            looks = frames.ways_to_look(mirrored, moved)
            for look in set(looks) - set(answers):
                answers[look] = frames.asked_about(probability, seen, *look)
            soft = hull * np.mean([answers[look] for look in looks], axis=0)
            case = dict(group=group, case=name, number=number, mirrored=mirrored, moved=moved)
            rows += [case | row for row in _scores_of_choices(soft, mask)]
        say(f"{group}: {name}")
    return pd.DataFrame(rows)


def _scores_of_choices(soft: np.ndarray, mask: np.ndarray | None) -> Iterator[dict[str, float]]:
    """A row for each threshold, share of a find's highest probability, and least find."""
    truth = np.zeros(soft.shape, bool) if mask is None else mask
    box = box_around(truth | (soft >= min(TRIED_THRESHOLDS)))  # what lies beyond counts nowhere
    soft, truth = soft[box], truth[box]
    for threshold in TRIED_THRESHOLDS:
        labels, highest = prediction.finds(soft, threshold)
        scores: list[dict[str, float]] = []
        for share in TRIED_PEAK_SHARES:
            pieces = labels
            less = share * highest.max() > threshold  # is drawn than all that is found
            if less:
                drawn = (labels > 0) & (soft >= share * highest[labels])
                pieces, _ = metrics.label_lesions(drawn, corners=True)
            if less or not scores:
                scores = list(_scores_by_least(pieces, truth, mask is not None))
            yield from (dict(threshold=threshold, peak_share=share) | row for row in scores)


def _scores_by_least(
    labels: np.ndarray, truth: np.ndarray, known: bool
) -> Iterator[dict[str, float]]:
    """A row for each least find: of labelled pieces, those at least so large are the answer."""
    sizes, right = np.bincount(labels.ravel()), np.bincount(labels[truth])
    right = np.pad(right, (0, len(sizes) - len(right)))
    lesion = int(truth.sum())
    for least in TRIED_LEAST_ML:
        stays = sizes * frames.VOXEL_ML >= least
        stays[0] = False  # what is not drawn
        found, both = int(sizes[stays].sum()), int(right[stays].sum())
        row = dict(least_ml=least, found_ml=found * frames.VOXEL_ML)
        if known:
            missed = lesion - both
            counts = metrics.Counts(both, found - both, missed, truth.size - found - missed)
            row |= dict(
                lesion_ml=lesion * frames.VOXEL_ML,
                dice=float(metrics.dice_from(counts)),
                recall=float(metrics.recall_from(counts)),
                precision=float(metrics.precision_from(counts)),
            )
        yield row


def choose(table: pd.DataFrame) -> tuple[dict[str, Any], pd.DataFrame]:
    """The choice by the rule, and what each choice scored.

    Beside Dice by group and its mean, `score`: the most ml found in one of the `HEALTHY` heads,
    the share of `MADE` ones with more than `MOST_ML` (0 where there are none), and the mean ml
    found in both kinds together.
    """
    without = table.group.isin(WITHOUT_LESION)
    empty, lesions = table[without], table[~without & (table.number % 2 == 0)]
    dice = lesions.groupby([*CHOICE, "group"]).dice.mean().unstack("group")
    made = empty[empty.group == MADE]
    misled = (made.found_ml > MOST_ML).groupby([made[name] for name in CHOICE]).mean()
    told = dice.assign(
        score=dice.mean(axis=1),
        worst_ml=empty[empty.group == HEALTHY].groupby(CHOICE).found_ml.max(),
        misled=misled.reindex(dice.index, fill_value=0.0),
        mean_ml=empty.groupby(CHOICE).found_ml.mean(),
    ).reset_index()
    fit = _at_most(_at_most(told, "worst_ml", MOST_ML), "misled", MOST_MISLED)
    chosen = fit[:0]
    for _, as_long in fit.groupby(fit[LOOKS].sum(axis=1)):  # one look, then two, then four
        if chosen.empty or as_long.score.max() >= chosen.score.max() + WORTH:
            chosen = as_long
    near = chosen[chosen.score >= chosen.score.max() - WORTH]
    best = near.sort_values(["mean_ml", "score"], ascending=[True, False]).iloc[0]
    return {name: best[name].item() for name in CHOICE}, told


def _at_most(told: pd.DataFrame, name: str, most: float) -> pd.DataFrame:
    """The choices with at most so much of something; where none has, those with the least."""
    return told[told[name] <= max(most, told[name].min()) + 1e-9]


def with_choice(table: pd.DataFrame, choice: dict[str, Any]) -> pd.DataFrame:
    """The judge's rows of one choice alone: one for each case."""
    for name, value in choice.items():
        table = table[table[name] == value]
    return table


def scores_by_scan(table: pd.DataFrame, choice: dict[str, Any]) -> pd.DataFrame:
    """With the choice: a row a case, then means of each group, development apart from the rest."""
    chosen = with_choice(table, choice)
    rows = chosen.drop(columns=CHOICE).to_dict("records")
    odd_ones = (chosen.number % 2).where(~chosen.group.isin(WITHOUT_LESION), 0)
    for (group, odd), part in chosen.groupby(["group", odd_ones]):
        apart = "kept apart" if odd else "development"
        said = f"{MEAN} {len(part)} {group}" + ("" if group in WITHOUT_LESION else f", {apart}")
        rows.append(
            {"group": group, "case": said, **part.mean(numeric_only=True).drop(["number", *CHOICE])}
        )
    return pd.DataFrame(rows).drop(columns="number")

"""The ablation: what each choice of the network and its training is worth, beside mere luck.

The grid is plain data, a factor at a time around one base recipe. A difference counts only where
it exceeds two kinds of luck: another seed, and other subjects.

    python -m kenseg_utils.experiments.ablation --profile demo --seeds 3 --minutes 20 --record
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from kenseg_utils import artifacts, metrics, profiles, slices
from kenseg_utils.slices import SliceSet

from . import _recorded, _runs

if TYPE_CHECKING:
    from kenseg_utils.training import Recipe

BASE = "base"
# Each setting's changes to the base recipe; {} is the base itself. `options` of the Ken-model are
# added to the base's, those of another network stand alone; a function is given the base recipe.
FACTORS: dict[str, dict[str, dict]] = {
    "block": {
        "residual": {},
        "plain": dict(options=dict(block="plain")),
        "dilated": dict(options=dict(block="dilated")),
    },
    "Ken block": {
        "filters / 4": {},
        "full width": dict(options=dict(ken="full")),
        "off": dict(options=dict(ken=None)),
    },
    "network": {
        "Ken-model": {},
        "UNet++": dict(network="unetpp", options=dict(normalisation="batch")),
        "U-Net": dict(network="unet", options=dict(normalisation="batch")),
    },
    "widths": {
        "base": {},
        "2 … 64": dict(widths=(2, 4, 8, 16, 32, 64)),
        "8 … 256": dict(widths=(8, 16, 32, 64, 128, 256)),
    },
    "last width": {
        "× 1": {},
        "× ¼": dict(last_width=0.25),
        "× 4": dict(last_width=4),
        "× 8": dict(last_width=8),
    },
    "normalisation": {
        "batch": {},
        "group": dict(options=dict(normalisation="group")),
        "batch, batches of 1": dict(batch_size=1),
        "group, batches of 1": dict(batch_size=1, options=dict(normalisation="group")),
    },
    "optimiser": {"Adam": {}, "RMSprop": dict(optimizer="rmsprop")},
    "learning rate": {
        "base": {},
        "1e-3": dict(learning_rate=1e-3),
        "1e-4": dict(learning_rate=1e-4),
        "1e-5": dict(learning_rate=1e-5),
        "1e-6": dict(learning_rate=1e-6),
    },
    "weight decay": {
        "decoupled": {},
        "coupled": dict(decay="coupled"),
        "none": dict(weight_decay=0.0),
    },
    "loss": {
        "cross-entropy + Dice": {},
        "cross-entropy": dict(loss="sparse_categorical_crossentropy"),
        "Dice": dict(loss="dice"),
        "enhanced mixing": dict(loss="enhanced_mixing"),
        "focal": dict(loss="focal"),
    },
    "augmentation": {"all": {}, "noise alone": dict(augment="noise"), "none": dict(augment=False)},
    "first guess": {
        "lesion 5 %": {},
        "lesion 50 %": dict(lesion_prior=0.0),
        "lesion 50 %, U-Net": dict(
            network="unet", options=dict(normalisation="batch"), lesion_prior=0.0
        ),
    },
}

# What a page can train in minutes; the rest of the grid is recorded.
LIVE = (
    "block: plain",
    "Ken block: off",
    "network: U-Net",
    "last width: × 8",
    "normalisation: batch, batches of 1",
    "learning rate: 1e-6",
    "loss: cross-entropy",
    "augmentation: none",
    "first guess: lesion 50 %, U-Net",
)


@dataclass(frozen=True)
class AblationScale:
    """How large an ablation is: `every` n-th slice of each subject, recipe fields, and folds.

    `live` and `base_seeds` are what a page trains itself.

    Half resolution (`pixel_mm` 2) with a level fewer leaves the deepest maps as small as the
    paper's, 8×8 pixels, and costs a quarter a step.
    """

    every: int
    recipe: dict
    folds: int = 3
    crop: dict | None = None
    live: tuple[str, ...] = LIVE
    base_seeds: tuple[int, ...] = (0, 1, 2)


SCALES = {
    "smoke": AblationScale(
        every=4,
        folds=2,
        crop=_runs.HALF,
        base_seeds=(0, 1),
        live=("block: plain", "Ken block: off", "last width: × 8", "learning rate: 1e-6"),
        recipe=dict(widths=(4, 8), options=dict(blocks_per_node=1), epochs=1, batch_size=8),
    ),
    "demo": AblationScale(
        every=3,
        crop=_runs.HALF,
        recipe=dict(
            widths=(8, 16, 32, 64), options=dict(blocks_per_node=1), epochs=3, batch_size=4
        ),
    ),
    "paper": AblationScale(
        every=1,
        recipe=dict(
            widths=(32, 64, 128, 256, 512), epochs=40, batch_size=16, steps_per_execution=8
        ),
    ),
}


def base_recipe(profile: profiles.Profile) -> Recipe:
    """The recipe around which everything is changed, at this profile's size."""
    from kenseg_utils.training import Recipe

    return Recipe.quick(**SCALES[profile.name].recipe)


def open_slices(
    profile: profiles.Profile, scans: pd.DataFrame, work_dir: str | os.PathLike | None = None
) -> SliceSet:
    """The slices of the scans that this profile's ablation works on, apart by subject later."""
    scale = SCALES[profile.name]
    whole = slices.prepare(scans, work_dir=work_dir, **(scale.crop or {}))
    order = whole.index.groupby(["subject", "session"]).cumcount()
    return whole.subset((order % scale.every == 0).to_numpy())


def grid(
    base: Recipe,
    factors: Mapping[str, Mapping[str, dict]] = FACTORS,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The experiments around a base recipe: factor, setting, name and recipe, a row a setting.

    Settings that are the base bear its name and recipe. `only`: names of settings to keep, such
    as LIVE; the base stays. Raises ValueError for a change or a name that there is not.
    """
    rows = [
        dict(
            factor=factor,
            setting=setting,
            recipe=changed(base, changes),
            name=f"{factor}: {setting}" if changes else BASE,
        )
        for factor, settings in factors.items()
        for setting, changes in settings.items()
    ]
    plan = pd.DataFrame(rows)
    if only is None:
        return plan
    if unknown := sorted(set(only) - set(plan["name"])):
        raise ValueError(f"The grid has no {unknown}: it has {sorted(set(plan['name']))}.")
    kept = plan[plan["name"].isin(only)]
    return plan[
        plan["name"].isin(only) | (plan["name"].eq(BASE) & plan["factor"].isin(kept["factor"]))
    ]


def changed(base: Recipe, changes: dict[str, Any]) -> Recipe:
    """A recipe with a setting's changes: options join those of the same network."""
    from kenseg_utils.training import with_changes

    changes = dict(changes)
    if "last_width" in changes:
        if base.widths is None:
            raise ValueError("A change of last_width needs a base recipe that names its widths.")
        last = max(4, round(base.widths[-1] * changes.pop("last_width")))
        changes["widths"] = (*base.widths[:-1], last)
    if changes.get("network", base.network) == base.network:
        changes["options"] = base.options | changes.get("options", {})
    return with_changes(base, **changes)


def run_ablation(
    plan: pd.DataFrame,
    slice_set: SliceSet,
    seeds: Sequence[int] = (0,),
    base_seeds: Sequence[int] = (0, 1, 2),
    folds: int = 3,
    only_folds: Sequence[int] | None = (0,),
    **more: Any,
) -> pd.DataFrame:
    """Train and test all recipes of a plan with `seeds`, the base with `base_seeds` too.

    The table of `experiments.run`, which also takes what `more` holds (work_dir, scheduler,
    minutes, progress, conduct). The base goes first, so that there is always something to compare.
    """
    recipes = dict(zip(plan["name"], plan["recipe"], strict=True))
    base = {BASE: recipes.pop(BASE)}
    both = sorted({*seeds, *base_seeds})
    parts = [_runs.run(base, slice_set, folds, both, only_folds=only_folds, **more)]
    for seed in seeds if recipes else ():  # all settings once before any of them twice
        parts.append(_runs.run(recipes, slice_set, folds, (seed,), only_folds=only_folds, **more))
    return pd.concat(parts, ignore_index=True)


def effects(
    plan: pd.DataFrame,
    scores: pd.DataFrame,
    score: str = "dice",
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """How far each setting lies from the base: a row a setting that has scores.

    `scores`: what `experiments.subject_scores` gives. A subject's score is its mean over the
    setting's seeds; the difference is taken subject by subject.
    Columns: factor, setting, name, seeds, subjects, mean, difference, low and high (bootstrap
    interval of the difference by subject), luck (how far two recipes that are equal would lie
    apart by their seeds alone, at this level; see `yardstick`), verdict. "better" and "worse" are
    said only where the difference exceeds the luck *and* its interval leaves zero out.
    Raises ValueError where the base has no scores.
    """
    scores = scores[scores["error"].fillna("").eq("")]
    cells = scores.groupby(["name", "subject", "seed"])[score].mean().unstack("seed")
    if BASE not in cells.index.get_level_values("name"):
        raise ValueError(
            "The base has no scores, so there is nothing to compare with: see the "
            "column error of the table of experiments."
        )
    spread, freedom = yardstick(scores, score)
    base = cells.loc[BASE].mean(axis=1)
    rows = []
    for place in plan.itertuples():
        if place.name not in cells.index.get_level_values("name"):
            continue
        mine = cells.loc[place.name]
        difference = (mine.mean(axis=1) - base).dropna()
        counts = [int(mine.notna().any().sum()), int(cells.loc[BASE].notna().any().sum())]
        luck = (
            stats.t.ppf((1 + level) / 2, freedom) * spread * np.sqrt(sum(1 / np.array(counts)))
            if freedom
            else np.nan
        )
        interval = metrics.bootstrap_interval(difference, level=level, seed=seed)
        rows.append(
            dict(
                factor=place.factor,
                setting=place.setting,
                name=place.name,
                seeds=counts[0],
                subjects=len(difference),
                mean=mine.mean(axis=1).mean(),
                difference=difference.mean(),
                low=interval.low if interval else np.nan,
                high=interval.high if interval else np.nan,
                luck=luck,
                verdict=_verdict(place.name, difference.mean(), luck, interval),
            )
        )
    return pd.DataFrame(rows)


def _verdict(name: str, difference: float, luck: float, interval) -> str:
    if name == BASE:
        return "base"
    if interval is None or np.isnan(luck):
        return "undefined: one subject" if interval is None else "undefined: no seed repeated"
    beyond = abs(difference) > luck and not interval.low <= 0 <= interval.high
    return ("better" if difference > 0 else "worse") if beyond else "no more than luck"


def yardstick(scores: pd.DataFrame, score: str = "dice") -> tuple[float, int]:
    """SD between seeds of a recipe's mean score, and its degrees of freedom.

    Pooled over all recipes that were trained with two seeds or more; (nan, 0) where none was.
    """
    means = scores.groupby(["name", "seed"])[score].mean()
    variances = means.groupby("name").agg(["var", "count"]).query("count > 1")
    freedom = int((variances["count"] - 1).sum())
    if not freedom:
        return float("nan"), 0
    return float(np.sqrt((variances["var"] * (variances["count"] - 1)).sum() / freedom)), freedom


def record_ablation(
    plan: pd.DataFrame,
    table: pd.DataFrame,
    profile: str,
    work_dir: str | os.PathLike | None = None,
    folder: str | os.PathLike | None = None,
) -> Path:
    """Keep a grid as the recorded result "ablation" (in `folder`); returns the file's path."""
    scores = _runs.subject_scores(table, work_dir)
    about = _runs.evidence(table)
    kept = ["name", "fold", "seed", "subject", "dice", "truth_volume_ml", "error"]
    return _recorded.save_result(
        "ablation",
        {
            "effects": effects(plan, scores),
            "scores": scores[[c for c in kept if c in scores]],
            "experiments": table[
                [
                    "name",
                    "fold",
                    "seed",
                    "status",
                    "dice",
                    "epochs",
                    "parameters",
                    "seconds",
                    "error",
                ]
            ],
        },
        folder,
        profile=profile,
        base=plan.loc[plan["name"] == BASE, "recipe"].iloc[0].as_dict(),
        **about,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _runs.command_line(
        "Run the ablation's grid; call again to go on.", "ablation", SCALES, "demo"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of every setting")
    parser.add_argument("--all-folds", action="store_true", help="not the first one alone")
    chosen = parser.parse_args(arguments)
    profile, scale = profiles.get(chosen.profile), SCALES[chosen.profile]
    work = artifacts.work_dir(chosen.work_dir)
    try:
        scans = profiles.open_scans(profile, chosen.data_root, work)
        plan = grid(base_recipe(profile))
        table = run_ablation(
            plan,
            open_slices(profile, scans, work),
            seeds=range(chosen.seeds),
            base_seeds=range(max(2, chosen.seeds)),
            folds=scale.folds,
            only_folds=None if chosen.all_folds else (0,),
            work_dir=work,
            scheduler=chosen.scheduler,
            minutes=chosen.minutes,
            workers=chosen.workers,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    ended = table["status"].value_counts()
    print(", ".join(f"{count} {status}" for status, count in ended.items()))
    if chosen.record and ended.get("done", 0):
        print(f"recorded in {record_ablation(plan, table, chosen.profile, work)}")


if __name__ == "__main__":
    main()

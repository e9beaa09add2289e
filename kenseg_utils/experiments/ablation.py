"""The ablation: what each choice of the network and its training is worth, beside mere luck.

The grid is plain data, a factor at a time around one base recipe. Every setting is trained with
the same seeds as the base and judged by the same subjects, so each difference is taken within a
seed and a subject; `evaluation.statistics` says what it is worth.

A question is a part of the grid and the seeds that it takes: `ken` asks for the Ken block alone,
with ten seeds; `factors` for the choices that the paper names, with five; `grid` for everything.

    python -m kenseg_utils.experiments.ablation --question ken --profile demo --record
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kenseg_utils import artifacts, profiles, slices
from kenseg_utils.evaluation import statistics
from kenseg_utils.slices import SliceSet

from . import _recorded, _runs

if TYPE_CHECKING:
    from kenseg_utils.training import Recipe

BASE = "base"
WITHOUT_KEN = "Ken block: off"
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


@dataclass(frozen=True)
class Planned:
    """A part of the grid, the seeds that it takes, and the result that it is recorded as.

    `names`: the settings that are compared with the base; None for all of them.
    """

    result: str
    names: tuple[str, ...] | None
    seeds: int


# Other choices that the paper credits: residual or dilated blocks, the nested grid, its loss.
CREDITED = ("block: plain", "block: dilated", "network: U-Net", "loss: cross-entropy")
RECOMPUTED = ("effects", "spreads")
QUESTIONS = {
    "ken": Planned("ken_block", (WITHOUT_KEN,), seeds=10),
    "factors": Planned("factors", CREDITED, seeds=5),
    "grid": Planned("ablation", None, seeds=5),
}


@dataclass(frozen=True)
class AblationScale:
    """How large an ablation is: `every` n-th slice of each subject, recipe fields, and folds.

    `live_seeds` are the pairs of trainings that a page makes itself.

    Half resolution (`pixel_mm` 2) with a level fewer leaves the deepest maps as small as the
    paper's, 8×8 pixels, and costs a quarter a step.
    """

    every: int
    recipe: dict
    folds: int = 3
    crop: dict | None = None
    live_seeds: tuple[int, ...] = (0, 1)


SCALES = {
    "smoke": AblationScale(
        every=4,
        folds=2,
        crop=_runs.HALF,
        recipe=dict(widths=(4, 8), options=dict(blocks_per_node=1), epochs=1, batch_size=8),
    ),
    "demo": AblationScale(
        every=2,
        crop=_runs.HALF,
        recipe=dict(
            widths=(8, 16, 32, 64), options=dict(blocks_per_node=1), epochs=4, batch_size=4
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
    order = whole.index.groupby(["subject", "session", "scan"], dropna=False).cumcount()
    return whole.subset((order % scale.every == 0).to_numpy())


def grid(
    base: Recipe,
    factors: Mapping[str, Mapping[str, dict]] = FACTORS,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The experiments around a base recipe: factor, setting, name and recipe, a row a setting.

    Settings that are the base bear its name and recipe. `only`: names of settings to keep, such
    as a question's; the base stays. Raises ValueError for a change or a name that there is not.
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
    base_seeds: Sequence[int] = (),
    folds: int = 3,
    only_folds: Sequence[int] | None = (0,),
    minutes: float | None = None,
    watch: Callable[[pd.DataFrame], object] | None = None,
    **more: Any,
) -> pd.DataFrame:
    """Train and test all recipes of a plan with `seeds`, the base with `base_seeds` too.

    The table of `experiments.run`, which also takes what `more` holds (work_dir, scheduler,
    progress, conduct); `minutes` are those of the whole. A seed is trained through all recipes
    before the next one begins, the base first, so that whatever is done is paired.
    """
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    recipes = dict(zip(plan["name"], plan["recipe"], strict=True))
    recipes = {BASE: recipes[BASE]} | recipes
    parts: list[pd.DataFrame] = []
    for chosen, some in (
        (recipes, list(seeds)),
        ({BASE: recipes[BASE]}, sorted({*base_seeds} - {*seeds})),
    ):
        if some:
            parts.append(
                _runs.run(
                    chosen,
                    slice_set,
                    folds,
                    some,
                    only_folds=only_folds,
                    minutes=None if ends is None else max(0.0, (ends - time.monotonic()) / 60),
                    watch=watch and (lambda table: watch(pd.concat([*parts, table]))),
                    **more,
                )
            )
    return pd.concat(parts, ignore_index=True)


def grid_effects(
    plan: pd.DataFrame, scores: pd.DataFrame, score: str = "dice", level: float = 0.95
) -> pd.DataFrame:
    """How far each setting lies from the base: a row a setting that has scores.

    `scores`: what `experiments.subject_scores` gives. Columns: factor, setting and those of
    `statistics.effects`, which pairs by seed and subject, counts trainings that collapsed apart,
    and corrects p for all settings (Holm). Rows that are the base have the verdict "base", its
    own mean, seeds and subjects, and no difference.
    """
    table = statistics.effects(scores, BASE, score, level)
    own = _whole(scores)[lambda rows: rows["name"] == BASE]
    of_base = dict(
        name=BASE,
        seeds=own["seed"].nunique(),
        subjects=own["subject"].nunique(),
        mean=own[score].mean() if len(own) else pd.NA,
        collapsed=int(statistics.collapsed_trainings(own, score)["collapsed"].sum()),
        trainings=len(statistics.collapsed_trainings(own, score)),
        verdict=BASE,
        verdict_of_family=BASE,
        note="",
    )
    table = pd.concat([pd.DataFrame([of_base], columns=table.columns).astype(table.dtypes), table])
    return plan[["factor", "setting", "name"]].merge(table, on="name")


def _whole(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows without an error."""
    return scores[scores["error"].fillna("").eq("")] if "error" in scores else scores


def spreads_table(scores: pd.DataFrame, score: str = "dice", near: float = 0.05) -> pd.DataFrame:
    """What `statistics.measure_spreads` finds, as a row to be recorded; none where it is None."""
    spreads = statistics.measure_spreads(scores, BASE, score, near)
    return pd.DataFrame([] if spreads is None else [asdict(spreads)])


def record_ablation(
    plan: pd.DataFrame,
    table: pd.DataFrame,
    profile: str,
    work_dir: str | os.PathLike | None = None,
    folder: str | os.PathLike | None = None,
    *,
    result: str = "ablation",
    data_name: str = "phantom ATLAS",
) -> Path:
    """Keep a question's trainings as a recorded result (in `folder`); returns the file's path."""
    scores = _runs.subject_scores(table, work_dir)
    about = _runs.evidence(table)
    kept = ["name", "fold", "seed", "subject", "dice", "truth_volume_ml", "error"]
    return _recorded.save_result(
        result,
        {
            "effects": grid_effects(plan, scores),
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
            "spreads": spreads_table(scores),
        },
        folder,
        profile=profile,
        data_name=data_name,
        base=plan.loc[plan["name"] == BASE, "recipe"].iloc[0].as_dict(),
        **about,
    )


def recompute(result: str, folder: str | os.PathLike | None = None) -> Path:
    """Make the effects of a recorded result anew from its scores, by today's statistics.

    Nothing is trained; the provenance stays and says so under "statistics recomputed".
    Raises ValueError where nothing of that name is recorded.
    """
    found = _recorded.open_result(result, folder)
    if found is None:
        raise ValueError(f"Nothing is recorded as {result!r}: train it with --record first.")
    scores = found.tables["scores"]
    plan = found.tables["effects"][["factor", "setting", "name"]]
    tables = found.tables | {
        "effects": grid_effects(plan, scores),
        "spreads": spreads_table(scores),
    }
    note = dict(commit=artifacts.commit(), day=date.today().isoformat(), tables=RECOMPUTED)
    return _recorded.save_result(
        result, tables, folder, **found.provenance | {"statistics recomputed": note}
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _runs.command_line(
        "Train a question of the ablation; call again to go on.", "RESULT", list(SCALES), "demo"
    )
    parser.add_argument(
        "--question",
        choices=list(QUESTIONS),
        default="grid",
        help="; ".join(f"{name}: {about}" for name, about in _asked()),
    )
    parser.add_argument("--seeds", type=int, default=None, help="paired seeds of every setting")
    parser.add_argument(
        "--recompute", action="store_true", help="train nothing: the recorded scores' effects anew"
    )
    parser.add_argument("--all-folds", action="store_true", help="not the first one alone")
    chosen = parser.parse_args(arguments)
    profile, scale = profiles.get(chosen.profile), SCALES[chosen.profile]
    question = QUESTIONS[chosen.question]
    work = artifacts.work_dir(chosen.work_dir)
    data_name = Path(chosen.data_root).name if chosen.data_root else "phantom ATLAS"

    def keep(table: pd.DataFrame) -> Path | None:
        """Record what there is so far: an interruption then loses one training."""
        if not chosen.record or not table["status"].eq("done").any():
            return None
        return record_ablation(
            plan, table, chosen.profile, work, result=question.result, data_name=data_name
        )

    try:
        if chosen.recompute:
            print(f"recomputed in {recompute(question.result)}")
            return
        scans = profiles.open_scans(profile, chosen.data_root, work)
        plan = grid(base_recipe(profile), only=question.names)
        table = run_ablation(
            plan,
            open_slices(profile, scans, work),
            seeds=range(question.seeds if chosen.seeds is None else chosen.seeds),
            folds=scale.folds,
            only_folds=None if chosen.all_folds else (0,),
            work_dir=work,
            scheduler=chosen.scheduler,
            minutes=chosen.minutes,
            workers=chosen.workers,
            watch=keep,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    ended = table["status"].value_counts()
    print(", ".join(f"{count} {status}" for status, count in ended.items()))
    if file := keep(table):
        print(f"recorded in {file}")


def _asked() -> Iterable[tuple[str, str]]:
    """Each question's name, and what it takes, in words."""
    for name, question in QUESTIONS.items():
        what = "all settings" if question.names is None else ", ".join(question.names)
        yield name, f"{what}; {question.seeds} seeds, results/{question.result}.json"


if __name__ == "__main__":
    main()

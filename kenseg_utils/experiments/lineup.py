"""The comparison of all networks: who takes part, as what, and at which scale.

One recipe for all: the same slices, steps, batches, loss and optimiser. What each published
network owes to its own training (pre-trained weights, other losses) is left out on purpose.

    python -m kenseg_utils.experiments.lineup --profile demo --epochs 16 --minutes 20 --record
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kenseg_utils import artifacts, profiles, slices
from kenseg_utils.evaluation import statistics
from kenseg_utils.slices import SliceSet

from . import _recorded, _runs

if TYPE_CHECKING:
    from kenseg_utils.training import Recipe

REFERENCE = "ken_unetpp"


@dataclass(frozen=True)
class Member:
    """One network of the comparison.

    `options`: how it is built for the comparison; `shallow`: what is added to them where each
    layer has to be traced on a small machine. `paper_row`: its name in the paper's table, "" if
    it has none there.
    """

    title: str
    source: str
    options: dict
    shallow: dict
    paper_row: str = ""
    channels: int = 1


BATCH = dict(normalisation="batch")
MEMBERS = {
    "ken_unetpp": Member("Ken-model", "the paper", {}, {}, "Proposed net"),
    "unetpp": Member("UNet++", "Zhou et al., 2018", BATCH, {}),
    "unet": Member("U-Net", "Ronneberger et al., 2015", BATCH, {}, "U-net"),
    "resunet": Member("ResUNet", "Zhang et al., 2018", {}, {}, "ResUNet"),
    "deeplab_v3plus": Member(
        "DeepLab v3+", "Chen et al., 2018", {}, dict(middle_blocks=2), "DeepLab v3+"
    ),
    "dense_unet_2d": Member(
        "2D Dense-UNet", "Li et al., 2018", {}, dict(blocks=[2, 2, 4, 2]), "2D Dense-UNet"
    ),
    "pspnet": Member("PSPNet", "Zhao et al., 2017", {}, dict(blocks=[1, 1, 2, 1]), "PSPNet"),
    "segnet": Member("SegNet", "Badrinarayanan et al., 2017", {}, {}, "SegNet"),
    "fcn8s": Member("FCN-8s", "Long et al., 2015", BATCH, {}),
    "dunet": Member("D-UNet", "Zhou et al., 2021", {}, {}, channels=4),
    "xnet": Member("X-Net", "Qi et al., 2019", {}, {}),
}


@dataclass(frozen=True)
class LineupScale:
    """How large a comparison is: filters times `multiplier`, `slices` of each subject, folds.

    `shallow`: take each member's shallow form. `widths`: instead of the multiplier, for the
    networks that take widths. `half`: slices of 64×64 pixels of 2 mm instead of 128×128 of 1 mm,
    a quarter of the work. `changes`: further options by member. `live`: the members that a page
    trains itself, None for all; the others it shows from the record.
    """

    multiplier: float
    shallow: bool
    slices: int
    epochs: int
    batch_size: int
    folds: int = 3
    widths: tuple[int, ...] | None = None
    half: bool = False
    changes: dict = field(default_factory=dict)
    live: tuple[str, ...] | None = None

    @property
    def meaning(self) -> str:
        """In words, for a caption."""
        return (
            f"{'64×64 pixels of 2 mm' if self.half else '128×128 pixels of 1 mm'}, filters × "
            f"{self.multiplier:g}{', fewer layers' if self.shallow else ''}, at most "
            f"{self.slices} slices a subject, epochs: {self.epochs}"
        )


SCALES = {
    "smoke": LineupScale(
        0.01,
        True,
        slices=2,
        epochs=1,
        batch_size=4,
        widths=(4, 8, 12),
        half=True,
        changes={
            "ken_unetpp": dict(blocks_per_node=1),
            "deeplab_v3plus": dict(middle_blocks=0),
            "dense_unet_2d": dict(blocks=[1, 1, 1, 1]),
            "pspnet": dict(blocks=[1, 1, 1, 1]),
        },
        live=("ken_unetpp", "unet", "dunet"),
    ),
    "demo": LineupScale(
        0.125,
        True,
        slices=14,
        epochs=4,
        batch_size=4,
        half=True,
        live=("ken_unetpp", "unet", "resunet", "dunet"),
    ),
    "paper": LineupScale(1.0, False, slices=1000, epochs=40, batch_size=16),
}


def spread_out(part: SliceSet, most: int) -> SliceSet:
    """A SliceSet with at most `most` slices of each scan, at equal steps from first to last."""
    scans = part.index.groupby(["subject", "session", "scan"], dropna=False)
    rows = [
        rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]
        for rows in scans.indices.values()
    ]
    return part.subset(np.sort(np.concatenate(rows)))


def slices_by_channels(
    scale: LineupScale,
    scans: pd.DataFrame,
    work_dir: str | os.PathLike | None = None,
    channels: Sequence[int] = tuple(slices.NEIGHBOURS),
) -> dict[int, SliceSet]:
    """The same slices for networks of one channel and of four: a SliceSet by channels."""
    return {
        count: spread_out(
            slices.prepare(
                scans,
                neighbours=slices.NEIGHBOURS[count],
                work_dir=work_dir,
                **(_runs.HALF if scale.half else {}),
            ),
            scale.slices,
        )
        for count in channels
    }


def recipes(
    scale: LineupScale, names: Sequence[str] | None = None, **changes: Any
) -> dict[str, Recipe]:
    """One recipe for all members (or those named), which differ in the network alone.

    ValueError for a name that is no member.
    """
    from kenseg_utils.training import Recipe

    if unknown := sorted(set(names or ()) - set(MEMBERS)):
        raise ValueError(
            f"No such network in the comparison: {', '.join(unknown)}. There are "
            f"{', '.join(MEMBERS)}."
        )
    budget = dict(epochs=scale.epochs, batch_size=scale.batch_size)
    return {
        name: Recipe.quick(**(dict(network=name) | size_of(name, scale) | budget | changes))
        for name in names or MEMBERS
    }


def size_of(name: str, scale: LineupScale) -> dict:
    """A member's widths and options at a scale, as a recipe takes them."""
    from kenseg_utils import networks

    member = MEMBERS[name]
    options = (
        member.options | (member.shallow if scale.shallow else {}) | scale.changes.get(name, {})
    )
    if scale.widths and "widths" in networks.options(name):
        return dict(widths=scale.widths, options=options)
    if scale.multiplier != 1:
        options = options | dict(width_multiplier=scale.multiplier)
    return dict(widths=None, options=options)


def run_lineup(
    chosen: Mapping[str, Recipe],
    slice_sets: Mapping[int, SliceSet],
    folds: int,
    only_folds: Sequence[int] | None = None,
    **more: Any,
) -> pd.DataFrame:
    """Train and test the recipes, each on the slices with its channels; fold by fold.

    Returns the table of `experiments.run`, which also takes what `more` holds.
    """
    by_name = {name: slice_sets[MEMBERS[name].channels] for name in chosen}
    return _runs.run(chosen, by_name, folds, only_folds=only_folds, **more)


def ranking(scores: pd.DataFrame, score: str = "dice") -> pd.DataFrame:
    """Members by their mean score, the best first, each beside the Ken-model on the same subjects.

    `scores`: what `experiments.subject_scores` gives; the held-out subjects of all its folds count
    as one test set (`statistics.pool_folds`, whose note says how large it is).
    Columns: name, title, subjects, mean, low, high, level (what to print as the interval's), pairs,
    difference (to the Ken-model), difference_low, difference_high, difference_level, p_holm,
    verdict and note (why the comparison can find nothing, where it cannot), which from pairs on
    are missing for the Ken-model itself, and for all where it has no scores.
    """
    wide = statistics.pool_folds(scores, score).wide
    titles = {name: MEMBERS[name].title if name in MEMBERS else name for name in wide}
    table = pd.DataFrame(
        [_standing(name, titles[name], wide[name]) for name in wide],
        columns=["name", "title", "subjects", "mean", "low", "high", "level"],
    ).astype(dict.fromkeys(("mean", "low", "high"), "Float64"))
    table = table.sort_values("mean", ascending=False, ignore_index=True)
    if REFERENCE not in wide or wide.shape[1] < 2:
        return table
    pairs = statistics.paired_table(wide, reference=REFERENCE)[
        ["method", "pairs", "mean_difference", "low", "high", "level", "p_holm", "verdict", "note"]
    ].rename(
        columns={
            "method": "name",
            "mean_difference": "difference",
            "low": "difference_low",
            "high": "difference_high",
            "level": "difference_level",
        }
    )
    pairs["verdict"] = [_titled(text, titles) for text in pairs["verdict"]]
    return table.merge(pairs, how="left", on="name")


def _standing(name: str, title: str, values: pd.Series) -> dict[str, Any]:
    interval = statistics.mean_interval(values.dropna(), bounds=(0, 1))
    low, high = (pd.NA if end is None else end for end in (interval.low, interval.high))
    level = interval.level_text if interval.known else ""
    return dict(
        name=name,
        title=title,
        subjects=interval.n,
        mean=interval.estimate,
        low=low,
        high=high,
        level=level,
    )


def _titled(verdict: str, titles: Mapping[str, str]) -> str:
    """A verdict that begins with a member's name, with its title instead."""
    name, said, rest = verdict.partition(" is better")
    return f"{titles[name]}{said}{rest}" if said and name in titles else verdict


def record_lineup(
    table: pd.DataFrame,
    scale: LineupScale,
    data: str,
    work_dir: str | os.PathLike | None = None,
    folder: str | os.PathLike | None = None,
) -> Path:
    """Keep a comparison as the recorded result "networks"; returns the file's path."""
    scores = _runs.subject_scores(table, work_dir)
    kept = ["name", "fold", "subject", "dice", "truth_volume_ml", "slices", "error"]
    done = table[
        [
            "name",
            "fold",
            "seed",
            "status",
            "dice",
            "dice_pooled",
            "subjects",
            "epochs",
            "parameters",
            "seconds",
            "error",
        ]
    ]
    about = _runs.evidence(table)
    return _recorded.save_result(
        "networks",
        {"experiments": done, "scores": scores[[c for c in kept if c in scores]]},
        folder,
        scale=vars(scale),
        meaning=scale.meaning,
        data_name=data,
        **about,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _runs.command_line(
        "Train and test all networks; call again to go on. Needs hours on a GPU at profile paper: "
        "the options make it smaller.",
        "networks",
        SCALES,
        "paper",
    )
    parser.add_argument("--networks", nargs="+", default=None, help="some of them, first to last")
    parser.add_argument("--multiplier", type=float, default=None, help="times every width")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--slices", type=int, default=None, help="of each subject, at most")
    parser.add_argument("--full-size", action="store_true", help="128×128 pixels in any profile")
    parser.add_argument("--folds", type=int, default=None, help="how many of the folds to run")
    chosen = parser.parse_args(arguments)
    given = {name: getattr(chosen, name) for name in ("multiplier", "epochs", "slices")}
    scale = replace(SCALES[chosen.profile], **{k: v for k, v in given.items() if v is not None})
    scale = replace(scale, half=scale.half and not chosen.full_size)
    work = artifacts.work_dir(chosen.work_dir)
    data = os.path.basename(str(chosen.data_root)) if chosen.data_root else "phantom ATLAS"
    try:
        plan = recipes(scale, chosen.networks)
        scans = profiles.open_scans(profiles.get(chosen.profile), chosen.data_root, work)
        keep = (
            partial(record_lineup, scale=scale, data=data, work_dir=work) if chosen.record else None
        )
        table = run_lineup(
            plan,
            slices_by_channels(scale, scans, work),
            scale.folds,
            only_folds=range(min(chosen.folds or scale.folds, scale.folds)),
            minutes=chosen.minutes,
            watch=keep,
            work_dir=work,
            scheduler=chosen.scheduler,
            workers=chosen.workers,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    ended = table["status"].value_counts()
    print(", ".join(f"{count} {status}" for status, count in ended.items()))
    if keep:
        print(f"recorded in {keep(table)}")


if __name__ == "__main__":
    main()

"""The network of chapters 11 and 12: it reads whole slices, and learns from widely varied ones.

    python -m kenseg_utils.experiments.whole_slices --profile demo --subjects 120 --epochs 8

trains it for longer and prints where it lies; chapter 12 takes that folder as `model`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kenseg_utils import anatomy, atlas, metrics, prediction, profiles, training
from kenseg_utils.slices import SliceSet

if TYPE_CHECKING:
    from keras import Model

# Slices and epochs that a page can afford; None: all slices.
SLICES = {"smoke": 24, "demo": 600, "paper": None}
EPOCHS = {"smoke": 1, "demo": 3, "paper": 40}
THRESHOLDS = tuple(np.arange(1, 20) / 20)


def recipe(profile: profiles.Profile, **changes: Any) -> training.Recipe:
    """A ResUNet that works on pixels of 2 mm, under wide randomisation.

    A whole slice has three times the pixels of a crop, and most teach nothing. Averaging four
    pixels into one lets the network see four times the slices in a given time, and takes the
    place of its finest level; lesions that matter here are larger than that.
    """
    widths = profile.widths[1:] if len(profile.widths) > 2 else profile.widths
    usual = dict(
        network="resunet",
        options={"reduce": 2},
        widths=widths,
        augment="wide",
        loss="cross_entropy_batch_dice",
        batch_size=min(8, profile.batch_size),  # smaller ones: more steps in the same time
        epochs=EPOCHS.get(profile.name, profile.epochs),
    )
    return profiles.quick_recipe(profile, **(usual | changes))


def open_balanced(
    profile: profiles.Profile,
    scans: pd.DataFrame,
    work_dir: str | os.PathLike | None = None,
    seed: int = 0,
    most: int | None = None,
) -> tuple[SliceSet, SliceSet]:
    """Whole slices of the scans, (train, validation), parted by subject as `open_crops` parts them.

    Slices without lesion teach where there is none, but are three of four: `balanced` takes as
    many of them as of the others. `most` caps the slices trained on (None: the profile's number).
    """
    train, validation, _ = profiles.open_crops(
        profile, scans, work_dir, seed, protocol="whole_slice"
    )
    most = most or SLICES.get(profile.name)
    few = most and max(16, most // 6)
    return balanced(train, seed, most), balanced(validation, seed, few)


def balanced(slice_set: SliceSet, seed: int = 0, most: int | None = None) -> SliceSet:
    """As many slices without lesion as with one, drawn evenly; at most `most` in all."""
    rng = np.random.default_rng(seed)
    with_lesion = np.flatnonzero(slice_set.index.lesion_pixels > 0)
    without = np.flatnonzero(slice_set.index.lesion_pixels == 0)
    count = min(len(with_lesion), (most or 2 * len(slice_set)) // 2)
    drawn = [
        rng.choice(group, min(count, len(group)), replace=False) for group in (with_lesion, without)
    ]
    return slice_set.subset(np.sort(np.concatenate(drawn)))


def train_network(
    profile: profiles.Profile,
    data_root: str | os.PathLike | None = None,
    work_dir: str | os.PathLike | None = None,
    seed: int = 0,
    most: int | None = None,
    **changes: Any,
) -> training.Run:
    """Train the network, go on with it, or open it if it is there; `changes` alter the recipe."""
    scans = profiles.open_scans(profile, data_root, work_dir, seed)
    parts = open_balanced(profile, scans, work_dir, seed, most)
    return training.train(recipe(profile, seed=seed, **changes), *parts, work_dir=work_dir)


def dice_by_threshold(
    model: Model, scans: pd.DataFrame, thresholds: Sequence[float] = THRESHOLDS
) -> pd.DataFrame:
    """Dice of whole volumes, a row a scan and a column a threshold at which to cut the answer.

    Chosen on validation subjects, the threshold is none of the test's secrets.
    """
    rows = {}
    for _, row in scans.iterrows():
        scan = atlas.load_scan(row)
        if scan.mask is None:
            raise atlas.ScanError(f"{scan.path} has no lesion mask to score against.")
        soft = prediction.lesion_probability(model, scan.image, scan.affine)
        rows[row.subject, row.session] = {
            float(threshold): float(
                metrics.dice(
                    scan.mask,
                    prediction.remove_small(
                        soft >= threshold, anatomy.voxel_ml(scan.affine), prediction.LEAST_ML
                    ),
                )
            )
            for threshold in thresholds
        }
    return pd.DataFrame(rows).T.rename_axis(["subject", "session"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the whole-slice network for longer.")
    parser.add_argument("--profile", default="demo", choices=list(profiles.PROFILES))
    parser.add_argument("--subjects", type=int, help="phantoms to train on")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--width", type=int, help="filters of the first level; each next has twice")
    parser.add_argument(
        "--slices", type=int, help="slices an epoch (default: all with lesion, and as many without)"
    )
    parser.add_argument("--augment", default="wide", choices=("wide", "light"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--record",
        action="store_true",
        help="write results/whole_slices.npz, with "
        "the threshold that is best on validation subjects",
    )
    parser.add_argument("--validation-scans", type=int, default=12, help="for that threshold")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--work-dir", default=os.environ.get("KENSEG_HOME"))
    given = parser.parse_args()
    profile = profiles.get(given.profile)
    profile = replace(profile, subjects=given.subjects or profile.subjects)
    changes = dict(augment={"wide": "wide", "light": True}[given.augment])
    if given.epochs:
        changes["epochs"] = given.epochs
    if given.width:
        changes["widths"] = [given.width * 2**level for level in range(4)]
    try:
        run = train_network(
            profile,
            given.data_root,
            given.work_dir,
            given.seed,
            most=given.slices or 10**9,
            **changes,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None
    print(
        f"Mean Dice of the validation subjects' slices: {run.history.val_dice.iloc[-1]:.3f}.\n"
        f"The network lies in {run.folder}"
    )
    if given.record:
        table = dice_by_threshold(run.model, _validation_scans(profile, given))
        threshold = float(table.mean().idxmax())
        print(table.mean().round(3).to_string())
        print(
            "recorded in",
            prediction.save_network(
                "whole_slices",
                run,
                threshold=threshold,
                threshold_scans=len(table),
                dice_by_threshold=table.mean().round(4).to_dict(),
            ),
        )


def _validation_scans(profile, given) -> pd.DataFrame:
    """The first of the scans whose subjects were used for validation."""
    scans = profiles.open_scans(profile, given.data_root, given.work_dir, given.seed)
    _, validation, _ = profiles.open_crops(
        profile, scans, given.work_dir, given.seed, protocol="whole_slice"
    )
    return scans[scans.subject.isin(validation.index.subject)].head(given.validation_scans)


if __name__ == "__main__":
    main()

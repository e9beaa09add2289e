"""Does augmentation keep a network from learning its slices by heart? One recipe, with and without.

    python -m kenseg_utils.experiments.overfitting --record

trains a small U-Net on few slices of the phantom for 120 epochs, from several seeds, and writes
results/overfitting.json, which chapter 5 shows beside the recorded run of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import pandas as pd

from kenseg_utils import metrics, profiles, training
from kenseg_utils.slices import SliceSet

from ._recorded import asked_of_seeds, save_result
from .lineup import spread_out

ARMS = {"without augmentation": False, "with augmentation": True}


@dataclass(frozen=True)
class OverfittingScale:
    """How much a profile trains: widths, slices of each training scan and of each other, epochs."""

    widths: tuple[int, ...] = (8, 16, 32, 64)
    train_slices: int = 3
    other_slices: int = 6
    epochs: int = 120


SCALES = {
    "smoke": OverfittingScale((4, 8), 2, 2, 2),
    "demo": OverfittingScale(),
    "paper": OverfittingScale((32, 64, 128, 256, 512), 1000, 1000),
}


def arm_recipe(scale: OverfittingScale, augment: bool, seed: int) -> training.Recipe:
    """The quick recipe of a U-Net with batch normalisation; both arms share all but `augment`."""
    return training.Recipe.quick(
        network="unet",
        widths=scale.widths,
        epochs=scale.epochs,
        augment=augment,
        seed=seed,
        precision="float32",
        options=dict(normalisation="batch"),
    )


def dice_by_subject(model: keras.Model, part: SliceSet) -> float:
    """The mean over subjects of the Dice of all their slices together, without augmentation."""
    images, masks = part.batch(range(len(part)))
    counts = metrics.count_slices(masks, training.predict(model, images)[..., 1] >= 0.5)
    return float(metrics.per_subject(counts, part.index.subject).mean())


def train_both(
    scale: OverfittingScale,
    parts: tuple[SliceSet, SliceSet, SliceSet],
    seed: int,
    work_dir: str | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both arms from one seed, on the same slices in the same order.

    `parts`: for training, validation and test, apart by subject.
    Returns the histories (arm, seed, epoch, loss, val_loss, val_dice: training losses are of the
    slices as they were shown, changed or not) and a row a training: arm, seed, epochs, slices,
    lowest (the epoch of the lowest validation loss) and Dice by subject at the end on the training
    slices as they are (train_dice) and on the test slices (test_dice).
    """
    train, validation, test = parts
    histories, trainings = [], []
    for arm, augment in ARMS.items():
        run = training.train(
            arm_recipe(scale, augment, seed), train, validation, work_dir=work_dir, progress=False
        )
        history = run.history[["epoch", "loss", "val_loss", "val_dice"]]
        histories.append(history.assign(arm=arm, seed=seed))
        trainings.append(
            dict(
                arm=arm,
                seed=seed,
                epochs=len(history),
                slices=len(train),
                lowest=int(history.epoch[history.val_loss.idxmin()]),
                train_dice=dice_by_subject(run.model, train),
                test_dice=dice_by_subject(run.model, test),
            )
        )
        keras.utils.clear_session(free_memory=True)
    return pd.concat(histories, ignore_index=True), pd.DataFrame(trainings)


def few_slices(
    profile: profiles.Profile, work_dir: str | None = None
) -> tuple[SliceSet, SliceSet, SliceSet]:
    """The profile's crops for training, validation and test, of which few slices of each scan."""
    scale = SCALES[profile.name]
    scans = profiles.open_scans(profile, work_dir=work_dir)
    train, validation, test = profiles.open_crops(profile, scans, work_dir)
    return (
        spread_out(train, scale.train_slices),
        spread_out(validation, scale.other_slices),
        spread_out(test, scale.other_slices),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: what it finds is printed, and recorded where `--record` asks for it."""
    asked = asked_of_seeds(__doc__, arguments)
    profile = profiles.get(asked.profile)
    parts = few_slices(profile, asked.work_dir)
    histories, trainings = [], []
    for seed in range(asked.seeds):
        history, rows = train_both(SCALES[profile.name], parts, seed, asked.work_dir)
        histories.append(history)
        trainings.append(rows)
        print(rows.to_string(index=False), flush=True)
    if asked.record:
        file = save_result(
            "overfitting",
            dict(histories=pd.concat(histories).round(5), trainings=pd.concat(trainings).round(5)),
            asked.results,
            profile=profile.name,
            seeds=asked.seeds,
            subjects=[int(part.index.subject.nunique()) for part in parts],
            data_name="phantom ATLAS",
        )
        print(file)


if __name__ == "__main__":
    main()

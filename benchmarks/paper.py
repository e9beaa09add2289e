"""The paper at its own scale: its recipe, its rivals and the quick recipe, all at full width.

    make paper                                         # all runs, in pieces of ten minutes
    python benchmarks/paper.py --list                  # what is recorded, and how far it is here
    KERAS_BACKEND=jax python benchmarks/paper.py --runs paper paper_unet --minutes 10

A piece goes on where the one before it ended, in the middle of an epoch if need be, and ends by
itself: exit status 0 where all is done, 75 where another piece is wanted, 1 where a run failed.
It wants a GPU, with JAX for the short steps of a batch of one; TensorFlow and CPUs work as well.
After each epoch it writes results/paper_scale.json, in which a run takes another's place only
where it got further.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from paper_loop import Progress, run  # noqa: E402

from kenseg_utils import artifacts, evaluation, experiments, machine, profiles, slices, training  # noqa: E402
from kenseg_utils.experiments import lineup  # noqa: E402

NAME = "paper_scale"
DONE, MORE, FAILED = 0, 75, 1  # exit statuses; 75 is "try again later" elsewhere too
SAVED_EVERY = 60  # seconds between checkpoints, unless a piece ends sooner
SCORED_EVERY = 150  # seconds between scores of the test set, should a piece be cut off
AVERAGES = {
    "per slice": "test_dice_per_slice",
    "per subject": "test_dice_per_subject",
    "pooled": "test_dice_pooled",
}


# --- What is run ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """One run: a recipe on some slices.

    `protocol`: of `slices.prepare`. `channels`: a key of slices.NEIGHBOURS.
    """

    name: str
    words: str
    recipe: training.Recipe
    protocol: str = "lesion_crop"
    channels: int = 1

    @property
    def decay(self) -> str:
        """Which reading of "weight decay" it trains by."""
        return {
            "decoupled": "decoupled from the gradient (Keras, AdamW)",
            "coupled": "coupled, an L2 term (PyTorch's Adam)",
            "rate": "of the rate: 1 / (1 + decay · step), old Keras",
        }[self.recipe.decay]


@dataclass(frozen=True)
class Size:
    """How large everything is; `slices`: of each subject, at most (None: all)."""

    subjects: int | None
    paper: dict
    quick: dict
    ken: dict
    scale: lineup.LineupScale
    crop: dict = field(default_factory=dict)
    slices: int | None = None
    seeds: int = 3


FULL = dict(widths=(32, 64, 128, 256, 512))
SMALL = dict(widths=(4, 8))
SIZES = {
    "smoke": Size(
        subjects=None,
        paper=dict(SMALL, epochs=2),
        quick=dict(SMALL, batch_size=4, epochs=2),
        ken=dict(blocks_per_node=1),
        scale=lineup.SCALES["smoke"],
        crop=dict(size=62, padded=64, pixel_mm=2.0),
        slices=8,
        seeds=2,
    ),
    "paper": Size(
        subjects=80,
        paper=dict(FULL, epochs=40),
        quick=dict(FULL, batch_size=16, learning_rate=1e-3, epochs=40),
        ken={},
        scale=lineup.SCALES["paper"],
    ),
}


def plans(size: Size) -> list[Plan]:
    """All runs, in the order in which they are wanted."""

    def paper(name, words, **changes):
        ken = size.ken if changes.get("network", "ken_unetpp") == "ken_unetpp" else {}
        changes["options"] = ken | changes.get("options", {})
        return Plan(name, f"the paper's{words}", training.Recipe.paper(**size.paper | changes))

    def quick(name, words, seed=0, protocol="lesion_crop", channels=1, **changes):
        return Plan(
            name,
            f"quick, full width{words}",
            training.Recipe.quick(**size.quick | changes | dict(seed=seed)),
            protocol=protocol,
            channels=channels,
        )

    ken, batch = dict(options=size.ken), dict(normalisation="batch")
    four = {
        "quick_full": ("", ken),
        "quick_full_no_ken": (", no Ken block", dict(options=size.ken | dict(ken=None))),
        "quick_full_unetpp": (", UNet++", dict(network="unetpp", options=batch)),
        "quick_full_unet": (", U-Net", dict(network="unet", options=batch)),
    }
    others = [name for name in lineup.MEMBERS if name not in ("ken_unetpp", "unetpp", "unet")]
    return [
        paper("paper", ""),
        paper("paper_unet", ", U-Net", network="unet"),
        paper("paper_no_ken", ", no Ken block", options=dict(ken=None)),
        paper("paper_legacy_decay", ", decay of the rate", decay="rate"),
        paper("paper_coupled_decay", ", coupled weight decay", decay="coupled"),
        *(
            quick(name, words, seed, **changes)
            for seed in range(size.seeds)
            for name, (words, changes) in four.items()
        ),
        *(
            quick(
                f"quick_full_{name}",
                f", {lineup.MEMBERS[name].title}",
                channels=lineup.MEMBERS[name].channels,
                network=name,
                **lineup.size_of(name, size.scale),
            )
            for name in others
        ),
        quick("whole_full", ", whole slices", protocol="whole_slice", **ken),
        quick(
            "whole_full_unet",
            ", whole slices, U-Net",
            protocol="whole_slice",
            network="unet",
            options=batch,
        ),
    ]


def open_parts(plan: Plan, size: Size, scans: pd.DataFrame, work: Path) -> tuple:
    """(training, validation, test) slices of a plan: the same subjects in each for every plan."""
    crop = (
        size.crop
        if plan.protocol == "lesion_crop"
        else {name: value for name, value in size.crop.items() if name == "pixel_mm"}
    )
    parts = profiles.open_crops(
        profiles.get("paper"),
        scans,
        work,
        protocol=plan.protocol,
        neighbours=slices.NEIGHBOURS[plan.channels],
        **crop,
    )
    return tuple(
        part if size.slices is None else lineup.spread_out(part, size.slices) for part in parts
    )


def open_scans(profile: str, data_root, work: Path) -> pd.DataFrame:
    """A profile's scans; of the phantom's, those of as many subjects as its size says."""
    scans = profiles.open_scans(profiles.get(profile), data_root, work)
    wanted = None if data_root else SIZES[profile].subjects
    return scans[scans.subject.isin(scans.subject.unique()[:wanted])].reset_index(drop=True)


# --- One run, a piece at a time ------------------------------------------------------------------


def build(plan: Plan, shape: tuple[int, int, int], steps: int):
    """The plan's network, compiled, from its seed."""
    import keras

    keras.utils.set_random_seed(plan.recipe.seed)
    return training.build(plan.recipe, shape, steps)


def run_folder(plan: Plan, parts: Sequence, work: Path) -> Path:
    """Where a run is kept; another recipe, other data or another backend has another folder."""
    import keras

    identity = dict(
        recipe=plan.recipe.as_dict(),
        train=parts[0].key,
        validation=parts[1].key,
        test=parts[2].key,
        backend=keras.backend.backend(),
    )
    key = artifacts.key(**identity)
    folder = work / "paper" / f"{plan.name}-{plan.recipe.seed}-{key}"
    if not (folder / "recipe.json").exists():
        artifacts.write_json(folder / "recipe.json", identity | dict(key=key))
    return folder


class Piece:
    """What is done of one run before `deadline` (Unix time; None: all of it)."""

    def __init__(self, plan: Plan, parts: Sequence, folder: Path, deadline: float | None, watch):
        self.plan, self.parts, self.folder, self.watch = plan, parts, folder, watch
        self.deadline = deadline or float("inf")
        self.ending = False
        self.saved = self.scored = self.epoch_begun = time.time()
        self.scoring = 0.0  # seconds that the test set took
        self.speed = training.Speed()

    def train(self) -> None:
        """Go on from what is there until the run is whole or time is up."""
        train, validation, _ = self.parts
        recipe = self.plan.recipe
        steps = len(train) // recipe.batch_size * recipe.epochs
        self.model = build(self.plan, train.shape, steps)
        take = training.compile_steps(self.model)
        self.speed = take.speed
        state = open_state(self.model, self.folder)
        data = training.Epochs(train, recipe.batch_size, recipe.seed, recipe.augment)
        print(
            f"  {len(train)} slices, {self.model.count_params():,} weights, "
            f"from epoch {len(state.history) + 1}, batch {state.batches + 1}",
            flush=True,
        )
        run(
            take,
            data,
            state,
            recipe.epochs,
            validate=lambda: training.validate(self.model, recipe, validation),
            keep=self.keep,
            late=self.late,
        )
        if len(state.history) == recipe.epochs:
            self.finish(state.history)

    def late(self, state: Progress) -> bool:
        """In an epoch, whether time is up; after one, whether another would not fit in."""
        return time.time() > self.deadline if state.batches else self.ending

    def keep(self, state: Progress) -> None:
        """Write what the next piece needs; score the test set where this one ends."""
        if state.batches:
            save_state(self.model, state, self.folder)
            return
        now, whole = time.time(), len(state.history) == self.plan.recipe.epochs
        self.ending = now + 1.1 * (now - self.epoch_begun) + self.scoring > self.deadline
        if whole or self.ending or now > self.scored + SCORED_EVERY:
            self.score(len(state.history))
        if whole or self.ending or now > self.saved + SAVED_EVERY:
            save_state(self.model, state, self.folder)
            self.saved = time.time()
        self.watch(state.history)
        self.epoch_begun = time.time()
        row = state.history[-1]
        print(
            f"  epoch {row['epoch']}: loss {row['loss']:.4f}, validation {row['val_loss']:.4f}, "
            f"Dice {row['val_dice_per_slice']:.3f} per slice, {row['val_dice']:.3f} per subject, "
            f"{row['val_dice_pooled']:.3f} pooled, {row['seconds']:.0f} s{self.told()}",
            flush=True,
        )

    def told(self) -> str:
        """How quick the steps of this piece were, as far as is known."""
        speed = self.speed.as_dict()
        if speed["steps_per_second"] is None:
            return ""
        return (
            f" ({speed['steps_per_second']:.1f} steps a second, {speed['waiting']:.1%} of it "
            f"waiting; the first call took {speed['compile_seconds']:.1f} s)"
        )

    def score(self, epoch: int) -> None:
        """Score the test set with the weights after an epoch."""
        begun = time.time()
        scores = evaluation.evaluate_slices(self.model, self.parts[2])
        means = scores.reductions("dice").set_index("reduction")["mean"]
        evaluation.save_table(scores.subjects, self.folder / "test_subjects.csv")
        artifacts.write_json(
            self.folder / "test.json",
            dict(
                tested_epoch=epoch,
                **{
                    column: None if pd.isna(means[name]) else float(means[name])
                    for name, column in AVERAGES.items()
                },
            ),
        )
        self.scored = time.time()
        self.scoring = self.scored - begun

    def finish(self, history: list[dict]) -> None:
        """Leave what `training.train` leaves: the network, and what made it."""
        with artifacts.write_aside(self.folder / "model.keras") as aside:
            training.alone(self.model).save(aside)
        artifacts.write_json(
            self.folder / "provenance.json",
            training.provenance(
                train=self.parts[0].key,
                validation=self.parts[1].key,
                devices=1,
                recipe=self.plan.recipe.as_dict(),
                parameters=self.model.count_params(),
                seconds=sum(row["seconds"] for row in history),
            ),
        )
        (self.folder / "state.npz").unlink()


def _variables(model) -> list:
    return [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ]


def save_state(model, state: Progress, folder: Path) -> None:
    """Write a training as it stands, in the middle of an epoch or after one, into one file.

    Numbers and text, never code; what was there stays until the new file is whole.
    """
    import keras

    arrays = {
        f"variable_{number:05d}": keras.ops.convert_to_numpy(variable)
        for number, variable in enumerate(_variables(model))
    }
    with artifacts.write_aside(folder / "state.npz") as aside:
        np.savez(aside, about=np.frombuffer(json.dumps(vars(state)).encode(), np.uint8), **arrays)
    if state.history:
        evaluation.save_table(pd.DataFrame(state.history), folder / "history.csv")


def open_state(model, folder: Path) -> Progress:
    """Where `save_state` left a training, the model as it was then; the start if there is nothing.

    A file that is broken or another network's is named, and the training starts anew.
    """
    path = folder / "state.npz"
    if not path.exists():
        return Progress()
    variables = _variables(model)
    try:
        with np.load(path, allow_pickle=False) as file:
            state = Progress(**json.loads(file["about"].tobytes()))
            arrays = [file[name] for name in sorted(file.files) if name != "about"]
        if [array.shape for array in arrays] != [tuple(one.shape) for one in variables]:
            raise ValueError("it holds another network")
    except Exception as error:  # whatever a broken archive raises
        print(f"  {path} cannot be used ({type(error).__name__}: {error}): starting anew")
        return Progress()
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return state


# --- What is recorded ----------------------------------------------------------------------------


def tables_of(plan: Plan, parts: Sequence, folder: Path, history: Sequence[dict]) -> dict:
    """The rows of one run, as far as it is: a table each for runs, history and test_subjects."""
    identity = json.loads((folder / "recipe.json").read_text())
    about = json.loads((folder / "about.json").read_text())
    recipe, last = plan.recipe, history[-1]
    tested = folder / "test.json"
    scores = (
        json.loads(tested.read_text())
        if tested.exists()
        else dict.fromkeys(["tested_epoch", *AVERAGES.values()])
    )
    key = dict(run=plan.name, seed=recipe.seed)
    row = key | dict(
        recipe=plan.words,
        network=recipe.network,
        widths=", ".join(map(str, recipe.widths or ())) or "its own",
        options=json.dumps(recipe.options),
        loss=recipe.loss,
        batch=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        schedule=recipe.schedule,
        decay=plan.decay,
        decay_factor=recipe.weight_decay,
        augment=str(recipe.augment),
        slices=plan.protocol,
        train_slices=len(parts[0]),
        validation_slices=len(parts[1]),
        test_slices=len(parts[2]),
        test_subjects=int(parts[2].index.subject.nunique()),
        epochs=last["epoch"],
        epochs_meant=recipe.epochs,
        ended="complete" if last["epoch"] == recipe.epochs else "by the clock",
        steps=last["epoch"] * (len(parts[0]) // recipe.batch_size),
        parameters=about["parameters"],
        **scores,
        device=about["device"],
        backend=about["backend"],
        precision=about["precision"],
        commit=about["commit"],
        data=parts[0].key,
        key=identity["key"],
        note="",
    )
    rows = [
        key
        | dict(
            epoch=one["epoch"],
            steps=one["epoch"] * (row["steps"] // last["epoch"]),
            **{
                name: one.get(name)
                for name in (
                    "loss",
                    "val_loss",
                    "val_dice_per_slice",
                    "val_dice",
                    "val_dice_pooled",
                    "seconds",
                )
            },
        )
        for one in history
    ]
    tables = {"runs": pd.DataFrame([row]), "history": pd.DataFrame(rows)}
    if tested.exists():
        subjects = evaluation.open_table(folder / "test_subjects.csv")
        tables["test_subjects"] = pd.DataFrame(key, index=[0]).merge(subjects, how="cross")
    return tables


def merge(before: Mapping[str, pd.DataFrame], fresh: Mapping[str, pd.DataFrame]) -> dict:
    """The tables before, in which each run of `fresh` has its place, unless theirs is further.

    A run takes the place of its own earlier rows; that of another machine or backend only with more
    epochs, or as many and scores where the other has none, and never without scores where the other
    has some. Raises ValueError where the run there was trained on other slices.
    """
    merged = {
        name: before.get(name, pd.DataFrame()) for name in ("runs", "history", "test_subjects")
    }
    for row in fresh["runs"].to_dict("records"):
        there = _rows_of(merged["runs"], row)
        if len(there) and not _replaces(row, there.iloc[0].to_dict()):
            continue
        for name, table in merged.items():
            rest = table.drop(_rows_of(table, row).index)
            new = _rows_of(fresh.get(name, pd.DataFrame()), row)
            merged[name] = pd.DataFrame([*rest.to_dict("records"), *new.to_dict("records")])
    return {name: _in_order(table) for name, table in merged.items()}


def _rows_of(table: pd.DataFrame, row: Mapping) -> pd.DataFrame:
    if not len(table):
        return table
    return table[table["run"].eq(row["run"]) & table["seed"].eq(row["seed"])]


def _replaces(new: Mapping, old: Mapping) -> bool:
    if new["data"] != old["data"]:
        raise ValueError(
            f"{new['run']}, seed {new['seed']}, is recorded on other slices "
            f"({old['data']} there, {new['data']} now): give another folder as "
            "--results."
        )
    if (new["key"], new["device"]) == (old["key"], old["device"]):
        return new["epochs"] >= old["epochs"]  # fewer where it was killed and goes on from before
    scored = [not pd.isna(one["tested_epoch"]) for one in (new, old)]
    return (new["epochs"], scored[0]) > (old["epochs"], scored[1]) and scored[0] >= scored[1]


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Runs in the order in which they are wanted, then by seed; their rows as they were."""
    if not len(table):
        return table
    known = list(dict.fromkeys(plan.name for plan in plans(SIZES["paper"])))
    place = table["run"].map(lambda name: known.index(name) if name in known else len(known))
    table = (
        table.assign(_place=place)
        .sort_values(["_place", "run", "seed"], kind="stable")
        .drop(columns="_place")
        .reset_index(drop=True)
    )
    return table.astype({name: "Int64" for name in ("parameters", "tested_epoch") if name in table})


def record(
    fresh: Mapping[str, pd.DataFrame],
    about: Mapping,
    recipe: Mapping,
    folder: Path,
    name: str = NAME,
) -> Path:
    """Merge a run into the recorded result, with its provenance; returns the file's path."""
    with FileLock(artifacts.work_dir() / f".{name}.lock"):
        before = experiments.open_result(name, folder)
        tables = merge(before.tables if before else {}, fresh)
        by_run = dict(before.provenance.get("by_run", {})) if before else {}
        recipes = dict(before.provenance.get("recipes", {})) if before else {}
        said = before.provenance if before else {}
        kept = {name: said[name] for name in ("data", "speed") if name in said}
        row = fresh["runs"].iloc[0]
        title = f"{row['run']}-{row['seed']}"
        if _rows_of(tables["runs"], row).iloc[0]["key"] == row["key"]:
            by_run[title], recipes[title] = dict(about), dict(recipe)
        return experiments.save_result(name, tables, folder, **provenance(by_run, recipes), **kept)


def provenance(by_run: Mapping[str, Mapping], recipes: Mapping[str, Mapping]) -> dict:
    """Of all runs together: what they agree in once, else a list of all there is; then by run."""
    found = {
        name: _agreed(about.get(name) for about in by_run.values())
        for name in ("python", "backend", "device", "processor", "cores", "commit")
    }
    packages = dict.fromkeys(package for about in by_run.values() for package in about["versions"])
    found["versions"] = {
        package: _agreed(about["versions"].get(package) for about in by_run.values())
        for package in packages
    }
    found["finished"] = max(
        (about["finished"] for about in by_run.values() if about.get("finished")), default=None
    )
    return found | dict(
        what="the paper's recipe and the quick one at the paper's widths",
        by_run=dict(by_run),
        recipes=dict(recipes),
    )


def _agreed(values):
    """The one value that there is, or a list of the different ones; None is none."""
    found = list(dict.fromkeys(value for value in values if value is not None))
    return found[0] if len(found) == 1 else found


# --- The command ---------------------------------------------------------------------------------


def listing(size: Size, results: Path, name: str, work: Path) -> pd.DataFrame:
    """A row a run: how far the record and this work folder have it."""
    found = experiments.open_result(name, results)
    runs = found.tables["runs"] if found else pd.DataFrame()
    lines = []
    for plan in plans(size):
        key = dict(run=plan.name, seed=plan.recipe.seed)
        line = key | dict(recipe=plan.words, recorded="", per_subject="", on="", here="")
        if len(there := _rows_of(runs, key)):
            row = there.iloc[0]
            line |= dict(recorded=f"{row['epochs']} of {row['epochs_meant']}", on=row["device"])
            if not pd.isna(row["test_dice_per_subject"]):
                line["per_subject"] = f"{row['test_dice_per_subject']:.3f}"
        folders = list((work / "paper").glob(f"{plan.name}-{plan.recipe.seed}-*"))
        if folders:
            furthest = max(folders, key=epochs_of)
            line["here"] = f"{epochs_of(furthest)} of {plan.recipe.epochs}" + (
                ", failed" if (furthest / "failed.json").exists() else ""
            )
        lines.append(line)
    return pd.DataFrame(lines)


def epochs_of(folder: Path) -> int:
    """How many epochs a run's folder has."""
    history = folder / "history.csv"
    return len(pd.read_csv(history)) if history.exists() else 0


def advance(
    plan: Plan, parts: Sequence, folder: Path, deadline: float | None, results: Path, name: str
) -> bool:
    """One piece of one run, recorded; whether the run is whole then."""
    import keras

    if (folder / "provenance.json").exists():
        history = pd.read_csv(folder / "history.csv").to_dict("records")
        keep(plan, parts, folder, history, results, name)
        return True
    machine.spare_graph_optimisers()

    def watch(history):
        about = training.provenance(
            precision=machine.choose_precision(plan.recipe.precision),
            parameters=piece.model.count_params(),
            speed=piece.speed.as_dict(),
        )
        artifacts.write_json(folder / "about.json", about)
        keep(plan, parts, folder, history, results, name)

    piece = Piece(plan, parts, folder, deadline, watch)
    try:
        piece.train()
    finally:
        keras.utils.clear_session()
        gc.collect()
    return (folder / "provenance.json").exists()


def keep(
    plan: Plan, parts: Sequence, folder: Path, history: Sequence[dict], results: Path, name: str
) -> None:
    """Record a run as far as it is."""
    about = json.loads((folder / "about.json").read_text())
    record(tables_of(plan, parts, folder, history), about, plan.recipe.as_dict(), results, name)


def work_through(
    chosen: Sequence[Plan],
    size: Size,
    scans: pd.DataFrame,
    work: Path,
    deadline: float | None,
    least: float,
    results: Path,
    name: str,
) -> int:
    """Run what is left of the plans until `deadline`; the exit status.

    Nothing new is begun with fewer than `least` seconds left. A run that another process is at is
    left to it; one that failed is left alone from then on, with its error in its folder.
    """
    left, failed = 0, 0
    for number, plan in enumerate(chosen):
        if number and deadline and time.time() > deadline - least:
            return MORE
        parts = open_parts(plan, size, scans, work)
        folder = run_folder(plan, parts, work)
        if (folder / "failed.json").exists():
            failed += 1
            continue
        print(f"{plan.name}, seed {plan.recipe.seed} ({plan.words}):", flush=True)
        try:
            with FileLock(folder / ".lock", timeout=0):
                whole = advance(plan, parts, folder, deadline, results, name)
        except Timeout:
            print("  another process is at it")
            left += 1
            continue
        except Exception as error:  # whatever it is, the other runs go on
            failed += 1
            artifacts.write_json(
                folder / "failed.json",
                dict(error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc()),
            )
            print(
                f"  failed: {type(error).__name__}: {str(error)[:500]}\n  (kept in "
                f"{folder / 'failed.json'}; remove that file to try again)",
                flush=True,
            )
            continue
        print("  done" if whole else "  to be gone on with", flush=True)
        left += not whole
    return MORE if left else FAILED if failed else DONE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", nargs="+", metavar="NAME", help="some of them (--list has all)")
    parser.add_argument("--minutes", type=float, help="of this piece (default: until all is done)")
    parser.add_argument("--profile", choices=list(SIZES), default="paper")
    parser.add_argument("--data-root", help="an ATLAS release (default: phantom)")
    parser.add_argument("--work-dir", default=os.environ.get("KENSEG_HOME"))
    parser.add_argument(
        "--results",
        type=Path,
        help="folder of the recorded result (default: "
        "results, or the work folder's for profile smoke)",
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and train nothing")
    given = parser.parse_args(arguments)
    if given.minutes is not None and not given.minutes > 0:
        parser.error(f"--minutes is {given.minutes:g}: give more than 0.")
    begun = time.time()
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # each network is traced: no news
    work, size = artifacts.work_dir(given.work_dir), SIZES[given.profile]
    os.environ["KENSEG_HOME"] = str(work)
    results = given.results or (
        work / "results"
        if given.profile == "smoke"
        else Path(__file__).resolve().parents[1] / "results"
    )
    name = NAME + (
        f"_{re.sub('[^A-Za-z0-9_-]', '_', Path(given.data_root).name)}" if given.data_root else ""
    )
    all_plans = plans(size)
    if unknown := sorted(set(given.runs or ()) - {plan.name for plan in all_plans}):
        parser.error(
            f"no run is called {', '.join(unknown)}: there are "
            f"{', '.join(dict.fromkeys(plan.name for plan in all_plans))}."
        )
    chosen = [plan for plan in all_plans if not given.runs or plan.name in given.runs]
    try:
        if given.list:
            print(listing(size, results, name, work).to_string(index=False))
            return DONE
        _keep_compiled(work)
        scans = open_scans(given.profile, given.data_root, work)
        seconds = 60 * given.minutes if given.minutes else None
        return work_through(
            chosen,
            size,
            scans,
            work,
            seconds and begun + seconds,
            0.2 * (seconds or 0),
            results,
            name,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from None


def _keep_compiled(work: Path) -> None:
    """Let JAX find tomorrow what it compiled today: a piece could otherwise do little else."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_compilation_cache_dir", str(work / "compiled"))


if __name__ == "__main__":
    sys.exit(main())

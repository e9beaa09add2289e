"""Many recipes on many folds, here or on a cluster; an experiment is one training and its test.

In the work folder's `experiments/`, `<key>.json` says how an experiment ended, `<key>.csv` has its
scores (a row a held-out subject), and `table.csv` a row an experiment.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from filelock import FileLock
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from kenseg_utils import artifacts, evaluation, machine, slices
from kenseg_utils.slices import SliceSet

if TYPE_CHECKING:
    from kenseg_utils.training import Recipe

# Raised by hand whenever `train_and_score` would give another result for the same recipe and data.
VERSION = 1
# What `slices.prepare` is told for windows of 64×64 pixels of 2 mm: a quarter of the work.
HALF: dict[str, Any] = dict(size=62, padded=64, pixel_mm=2.0)
WHOLE_NUMBERS = ("fold", "seed", "subjects", "epochs", "parameters")
NUMBERS = ("dice", "dice_pooled", "seconds")
COLUMNS = [
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
    "device",
    "commit",
    "data",
    "key",
    "error",
]
# Keras keeps its seed and number format by process, so two trainings in one would disturb
# each other: a worker with several threads does them in turn.
ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Experiment:
    """One recipe on one fold, in plain values, so that it can travel to a worker.

    The slices travel as their folder and row numbers (None: all of them), never as arrays.
    """

    key: str
    recipe: dict
    fold: int
    folds: int
    data: str
    slices_folder: str
    rows: tuple[int, ...] | None
    work_dir: str

    @property
    def file(self) -> Path:
        """Where its result is kept; the scores of its subjects are beside it, as .csv."""
        return Path(self.work_dir) / "experiments" / f"{self.key}.json"

    def slice_sets(self) -> tuple[SliceSet, SliceSet, SliceSet]:
        """(training, validation, held-out) SliceSets, apart by subject.

        A fold is held out; of the other subjects a fifth is for validation.
        """
        rest, held_out = _open_slices(self.slices_folder, self.rows).split(self.folds)[self.fold]
        train, validation = rest.split(min(5, rest.index.subject.nunique()))[0]
        return train, validation, held_out


def run(
    recipes: Mapping[str, Recipe],
    slice_set: SliceSet | Mapping[str, SliceSet],
    folds: int = 5,
    seeds: Sequence[int] = (0,),
    scheduler: str | None = None,
    work_dir: str | os.PathLike | None = None,
    table: str | os.PathLike | None = None,
    *,
    only_folds: Sequence[int] | None = None,
    minutes: float | None = None,
    workers: int = 1,
    conduct: Callable | None = None,
    watch: Callable | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Train and test each recipe on each fold with each seed: a table with a row an experiment.

    `recipes`: a `training.Recipe` by name; `seeds` take the place of their own seed. `slice_set`:
    one for all, or a dict of one for each name (networks of other channels). `folds` are
    `slice_set.split(folds)`, by subject and the same for all; `only_folds` runs some (0 the first).
    One after another in this process; or side by side in as many processes of this machine as
    `workers` says; or on the Dask cluster of the `scheduler`'s address, whose workers must reach
    the work folder under the same path; give each one thread and one device. Dask sends functions
    and arguments by cloudpickle, between processes that trust each other; files hold no pickles.

    Columns: name, fold, seed, status (done, failed, not started), dice (mean over held-out
    subjects), dice_pooled, subjects, epochs, parameters, seconds (of training), device, commit,
    data, key, error. Each row also goes into the CSV file `table` (`experiments/table.csv` of the
    work folder) as soon as it is known; rows of other experiments there stay.

    What is done is not done again; what failed, is. A recipe that fails becomes a row with its
    error. An experiment whose worker died is given to another one, where training goes on from
    the last whole epoch. After `minutes` no more are started; call again for the rest.
    `conduct(experiment)` does one, by default `train_and_score`; it is a named function, since
    its name is part of the key. `watch(table)` is called after each.
    Raises ValueError for no recipes, more folds than subjects, a scheduler that does not answer,
    or a `table` that is another kind of file.
    """
    work = artifacts.work_dir(work_dir)
    conduct = conduct or train_and_score
    plan = _plan(recipes, slice_set, folds, seeds, only_folds, work, conduct)
    todo = {experiment.key: experiment for experiment in plan.values()}
    results = {
        key: result for key, experiment in todo.items() if (result := _done_before(experiment))
    }
    waiting = [experiment for key, experiment in todo.items() if key not in results]
    target = artifacts.as_path(table) if table else work / "experiments" / "table.csv"
    _add_rows(target, _as_table(plan, results))
    deadline = None if minutes is None else time.time() + 60 * minutes
    with tqdm(
        total=len(todo),
        initial=len(results),
        unit="experiment",
        desc="experiments",
        disable=not progress,
    ) as bar:
        for key, result in _perform_all(waiting, conduct, deadline, scheduler, workers):
            bar.update()
            if result is None:  # not started in time
                continue
            results[key] = result
            _add_rows(target, _as_table(plan, {key: result}))
            if watch:
                watch(_as_table(plan, results, whole=True))
    return _as_table(plan, results, whole=True)


def train_and_score(experiment: Experiment) -> tuple[dict, pd.DataFrame]:
    """Train on one fold and score the held-out subjects: numbers of the row, scores by subject."""
    import keras

    try:
        scores, epochs, evidence = _train_and_score(experiment)
    finally:  # networks hang in cycles of references: a grid of them would fill the memory
        keras.utils.clear_session(free_memory=True)
    if evaluation.failed(scores.subjects).all():
        raise ValueError(scores.subjects["error"].iloc[0])
    dice = scores.reductions("dice").set_index("reduction")["mean"]
    numbers = dict(
        dice=float(dice["per subject"]),
        dice_pooled=float(dice["pooled"]),
        subjects=scores.subjects["subject"].nunique(),
        epochs=epochs,
        **{name: evidence[name] for name in ("parameters", "seconds", "device", "commit")},
    )
    return numbers, scores.subjects


def _train_and_score(experiment: Experiment) -> tuple:
    """Scores, epochs and provenance; the network is free when this has returned."""
    from kenseg_utils import training

    train, validation, held_out = experiment.slice_sets()
    run = training.train(
        training.Recipe(**experiment.recipe),
        train,
        validation,
        work_dir=experiment.work_dir,
        progress=False,
    )
    return evaluation.evaluate_slices(run.model, held_out), len(run.history), run.provenance


def perform(experiment: Experiment, conduct: Callable, deadline: float | None) -> dict | None:
    """Do one experiment and write its result; None if `deadline` (Unix time) has passed."""
    with ONE_AT_A_TIME:
        if deadline is not None and time.time() > deadline:
            return None
        try:
            numbers, subjects = conduct(experiment)
            evaluation.save_table(subjects, experiment.file.with_suffix(".csv"))
            outcome = dict(status="done") | {
                name: value.item() if isinstance(value, np.generic) else value
                for name, value in numbers.items()
            }
        except Exception as error:  # whatever it is, it is this experiment's result
            outcome = _failure(experiment, error) | dict(traceback=traceback.format_exc())
        result = (
            dict(
                key=experiment.key,
                data=experiment.data,
                folds=experiment.folds,
                fold=experiment.fold,
                recipe=experiment.recipe,
            )
            | outcome
        )
        artifacts.write_json(experiment.file, result)
    return result


def _failure(experiment: Experiment, error: BaseException) -> dict:
    text = f"{type(error).__name__}: {error}".replace(experiment.work_dir, "<work folder>")
    return dict(status="failed", error=text)


def _plan(recipes, slice_set, folds, seeds, only_folds, work, conduct) -> dict:
    """Every experiment by its (name, fold, seed), all recipes of a fold before the next one."""
    from kenseg_utils.training import Recipe

    wrong = [name for name, recipe in recipes.items() if not isinstance(recipe, Recipe)]
    if wrong or not recipes:
        raise ValueError(
            "Give recipes as a dict of training.Recipe by name"
            + (f": {wrong[0]!r} is none." if wrong else "; this one is empty.")
        )
    if not len(seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {list(seeds)}: give at least one, and each once.")
    by_name = slice_set if isinstance(slice_set, Mapping) else dict.fromkeys(recipes, slice_set)
    if without := [name for name in recipes if name not in by_name]:
        raise ValueError(f"slice_set has no slices for {', '.join(map(repr, without))}.")
    places = {id(one): _place(one, folds) for one in by_name.values()}
    chosen = range(folds) if only_folds is None else only_folds
    if not set(chosen) <= set(range(folds)) or not len(chosen):
        raise ValueError(f"only_folds is {list(chosen)}: choose from 0 to {folds - 1}.")
    plan = {}
    for seed in seeds:
        for fold in chosen:
            for name, recipe in recipes.items():
                place = places[id(by_name[name])]
                about = dict(
                    recipe=replace(recipe, seed=seed).as_dict(),
                    fold=int(fold),
                    folds=folds,
                    data=place["data"],
                )
                plan[name, int(fold), int(seed)] = Experiment(
                    key=artifacts.key(**about, conduct=conducted_by(conduct)),
                    work_dir=str(work),
                    **about | place,
                )
    return plan


def conducted_by(conduct: Callable) -> str:
    """What a key says of the function that does an experiment: its name and the version."""
    return f"{conduct.__qualname__} {VERSION}"


def _place(slice_set, folds: int) -> dict:
    """Where a worker finds these slices, and the key that they have there."""
    whole = len(slice_set) == len(np.load(slice_set.folder / "masks.npy", mmap_mode="r"))
    rows = None if whole else tuple(map(int, slice_set.rows))
    folder = str(slice_set.folder.resolve())
    same = _open_slices(folder, rows)
    fewest = min(len(set(part.index.subject)) for part, _ in same.split(folds))
    if fewest < 2:
        raise ValueError(
            f"With {folds} folds of {same.index.subject.nunique()} subjects, {fewest} "
            "is left to train on, and another is needed to validate: take more "
            "subjects or folds."
        )
    return dict(data=same.key, rows=rows, slices_folder=folder)


def _open_slices(folder, rows):
    """The SliceSet of some rows (None: all) of a folder."""
    if not (Path(folder) / "settings.json").exists():
        raise ValueError(
            f"{folder} is not there on {platform.node()}: every worker must reach the "
            "same work folder under the same path."
        )
    with contextlib.redirect_stdout(io.StringIO()):  # what was left out was said by `prepare`
        whole = slices.open_set(folder)
    return whole if rows is None else whole.subset(rows)


def _done_before(experiment: Experiment) -> dict | None:
    try:
        result = json.loads(experiment.file.read_text())
    except (OSError, ValueError):
        return None
    whole = result.get("status") == "done" and experiment.file.with_suffix(".csv").exists()
    return result if whole else None


def _perform_all(
    waiting: list[Experiment], conduct, deadline, scheduler: str | None, workers: int
) -> Iterator[tuple[str, dict | None]]:
    """Yield (key, result) as the experiments end: here in order, side by side in any."""
    if not scheduler:
        done = set()
        if min(workers, len(waiting)) > 1:
            for key, result in _side_by_side(waiting, conduct, deadline, workers):
                done.add(key)
                yield key, result
        for experiment in waiting:
            if experiment.key not in done:
                yield experiment.key, perform(experiment, conduct, deadline)
        return
    if not waiting:
        return
    with machine.connect(scheduler) as client:
        from distributed import as_completed

        if not client.scheduler_info()["workers"]:
            warnings.warn(
                f"The scheduler at {scheduler} has no workers yet: waiting for them.", stacklevel=3
            )
        futures = {
            client.submit(perform, experiment, conduct, deadline, pure=False): experiment
            for experiment in waiting
        }
        for future in as_completed(futures):
            experiment = futures[future]
            if future.status in ("cancelled", "lost"):
                raise ValueError(
                    f"The scheduler at {scheduler} went away. Start one and call "
                    "again: what is done is kept."
                )
            error = future.exception()  # of Dask itself: `perform` keeps those of the experiment
            yield experiment.key, (_failure(experiment, error) if error else future.result())


def _side_by_side(
    waiting: list[Experiment], conduct, deadline, workers: int
) -> Iterator[tuple[str, dict | None]]:
    """Yield (key, result) from processes of this machine; if one dies, stop with a warning."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    try:
        yield from machine.side_by_side(
            _perform_apart, waiting, workers, conduct, deadline, threads
        )
    except TerminatedWorkerError:
        warnings.warn(
            "A process that trained was killed, most likely for want of memory: going on "
            "with one training at a time.",
            stacklevel=5,
        )


def _perform_apart(experiment: Experiment, conduct, deadline, threads: int):
    """`perform` in a process of its own, which shares the cores with others."""
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, str(threads))  # read when TensorFlow starts
    return experiment.key, perform(experiment, conduct, deadline)


def _as_table(plan: Mapping, results: Mapping, whole: bool = False) -> pd.DataFrame:
    """Rows of the experiments with a result; with `whole` also of those not started."""
    rows = [
        results.get(experiment.key, dict(status="not started"))
        | dict(name=name, fold=fold, seed=seed, key=experiment.key, data=experiment.data)
        for (name, fold, seed), experiment in plan.items()
        if whole or experiment.key in results
    ]
    return _typed(pd.DataFrame(rows, columns=COLUMNS))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The same types whether a table was put together or read."""
    kinds = dict.fromkeys(WHOLE_NUMBERS, "Int64") | dict.fromkeys(NUMBERS, "float64")
    return pd.DataFrame(
        {
            name: pd.to_numeric(table[name]).astype(kinds[name])
            if name in kinds
            else table[name].astype(object).fillna("").astype(str)
            for name in COLUMNS
        }
    )


def open_experiments(path: str | os.PathLike) -> pd.DataFrame:
    """Read the CSV file that `run` writes. ValueError if it is another kind of table."""
    path = artifacts.as_path(path)
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(found) != COLUMNS:
        raise ValueError(
            f"{path} is no table of experiments (its columns are {list(found)}): "
            "choose another file."
        )
    return _typed(found)


def _add_rows(target: Path, rows: pd.DataFrame) -> None:
    """Put rows into the table on disk, each in the place of an older one of that experiment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    identity = ["name", "fold", "seed", "key"]
    with FileLock(target.parent / f".{target.name}.lock"):
        if target.exists():
            rows = pd.concat([open_experiments(target), rows]).drop_duplicates(
                identity, keep="last"
            )
        evaluation.save_table(rows.sort_values(identity), target)


def subject_scores(table: pd.DataFrame, work_dir: str | os.PathLike | None = None) -> pd.DataFrame:
    """Scores of the held-out subjects of all done experiments: a row a subject, fold and seed.

    Columns: name, fold, seed and those of `evaluation.SliceScores.subjects`. Split by name, they
    go to `evaluation.compare`. ValueError where `work_dir` is not the one of `run`.
    """
    folder = artifacts.work_dir(work_dir) / "experiments"
    parts = []
    for row in table[table["status"] == "done"].itertuples():
        file = folder / f"{row.key}.csv"
        if not file.exists():
            raise ValueError(f"{file} is missing: give the work_dir that the table was made in.")
        about = pd.DataFrame(dict(name=row.name, fold=row.fold, seed=row.seed), index=[0])
        parts.append(about.merge(evaluation.open_table(file), how="cross"))
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=["name", "fold", "seed", "subject", "error"])
    )


def summary_by_recipe(
    table: pd.DataFrame,
    work_dir: str | os.PathLike | None = None,
    score: str = "dice",
    level: float = 0.95,
    scores: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One line a recipe: its mean score over held-out subjects, folds and seeds.

    `scores`: what `subject_scores` gives (which is asked where they are left out).
    Columns: name, experiments (done), failed, not_started, subjects, failed_subjects, mean,
    median, low, high, interval (Student's t by subject, whose seeds stay together), level (what
    to print as the interval's), seed_sd (SD between seeds of the mean Dice, over the folds that
    all seeds have done), parameters, seconds (mean of an experiment).
    """
    scores = subject_scores(table, work_dir) if scores is None else scores
    lines = []
    for name, rows in table.groupby("name", sort=False):
        done, ended = rows[rows["status"] == "done"], rows["status"].value_counts()
        line = dict(
            name=name,
            experiments=len(done),
            failed=int(ended.get("failed", 0)),
            not_started=int(ended.get("not started", 0)),
            subjects=0,
            failed_subjects=0,
            mean=pd.NA,
            median=pd.NA,
            low=pd.NA,
            high=pd.NA,
            interval="undefined: no experiment done",
            level="",
            seed_sd=_seed_sd(done),
        )
        if len(done):
            found = evaluation.summarise(scores[scores["name"] == name], [score], level=level)
            found = found.iloc[0].to_dict()
            line |= {
                field: found[field]
                for field in ("subjects", "mean", "median", "low", "high", "interval", "level")
            }
            line["failed_subjects"] = found["failed"]
        lines.append(
            line | dict(parameters=done["parameters"].max(), seconds=done["seconds"].mean())
        )
    numbers = ("mean", "median", "low", "high", "seed_sd", "seconds")
    return pd.DataFrame(lines).astype(dict.fromkeys(numbers, "Float64") | {"parameters": "Int64"})


def _seed_sd(done: pd.DataFrame):
    """SD between seeds of the mean Dice over folds, or NA with fewer than two seeds."""
    cells = done.pivot(index="fold", columns="seed", values="dice").dropna()
    return cells.mean().std() if len(cells) and cells.shape[1] > 1 else pd.NA


def evidence(table: pd.DataFrame) -> dict:
    """Of a table of `run`, for `save_result`: data keys, seeds, folds, device, commit, seconds."""
    done = table[table["status"] == "done"]
    found = {
        name: sorted(done[name].unique().tolist())
        for name in ("data", "seed", "fold", "device", "commit")
    }
    return found | dict(seconds=float(done["seconds"].sum()))


def command_line(
    description: str, result: str, scales: Iterable[str], default: str
) -> argparse.ArgumentParser:
    """The arguments that every command which runs experiments takes; it adds its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--profile", choices=list(scales), default=default)
    parser.add_argument("--data-root", default=None, help="an ATLAS release (default: phantom)")
    parser.add_argument("--work-dir", default=os.environ.get("KENSEG_HOME"))
    parser.add_argument("--minutes", type=float, default=None, help="start nothing after these")
    parser.add_argument("--scheduler", default=None, help="address of a Dask scheduler")
    parser.add_argument("--workers", type=int, default=1, help="trainings at once, here")
    parser.add_argument("--record", action="store_true", help=f"write results/{result}.json")
    return parser

"""The judge of networks for whole heads: how a threshold is chosen, and what they then score.

    python benchmarks/judge_heads.py --model best.keras --network unet3d --heads T1.nii.gz …

Without `--model` it judges the recorded network; `--keep-choice` then keeps the choice with it.

The rule, written down before any network was judged:

1. Development: phantoms of the other generator (`kenseg_utils.phantom`) with even numbers, and
   lesions with even numbers painted into `--heads` (healthy T1w that no training saw): drawn ones,
   and `--outlines MASK …`, real ones of chronic strokes in MNI space (`judging.with_outline`).
   What has an odd number is kept apart: it is scored once, with what was chosen.
   40 phantoms and 30 drawn lesions in each head; it was 12 and 10 until the halves were seen to
   disagree about one network by more than networks differed, and there were two healthy heads.
2. Healthy: each of `--heads` as it is, and changed as scans differ (turned, noisy, thick slices,
   cut off, its edge peeled, moved by two voxels of the frame, mirrored), and the MNI152 template,
   which is an averaged head. The last two ways were added when a network found 1.2 ml, at a
   threshold of 0.05, in a head that was moved, and 0.3 ml in the same head where it lay.
   Also 24 fresh heads without lesion by the generator of training's heads (`judging.made_healthy`),
   which are harder than the real ones at hand. They were added when three networks had been seen
   to find nothing in any real one, and 0.1 to 0.5 ml in the mean of such.
3. Choices: thresholds 0.05, 0.1, 0.15, 0.2, 0.3, … 0.9 (those below 0.2 were added when a
   network had found nothing in any healthy head at 0.2, before the next one was judged); least
   size of a component 0.1, 0.3, 0.5 or 1 ml; the mean over the head and its mirror image, or not;
   the mean over each of them and the same moved by one voxel, or not (added when it had been seen,
   with the network before, that answers changed with the grid of 4 mm on which it works); from
   which part of a find's highest probability on it is drawn, 0 (all of it), 0.1, 0.2, … 0.5
   (added when it had been seen, with the network before and on all cases, that large lesions are
   drawn too large at the threshold at which faint ones are found).
4. Chosen is what has the highest mean of the groups' means of Dice (development alone) among the
   choices that find at most 1 ml in every healthy head; where there is none, what finds least in
   the worst of them. Of the synthetic healthy heads, at most one in twelve may get more than 1 ml;
   where no choice does so well, the smallest share counts. Two looks in place of one, and four in
   place of two, must bring 0.005 each, for they double the time; a choice within 0.005 of the best
   that finds less in healthy heads is preferred to it.
   Real outlines choose since a network had been judged without them: by phantoms and drawn
   lesions, mostly small ones, 0.05 was taken, at which large ones are drawn too large.
5. `--turned-over T2w MASK` is scored with the rest and chooses nothing: a real lesion, but a T2w
   whose grey values were turned over (`judging.turned_over`).

6. `--holes` of the painted lesions with odd numbers, in each head, are shown once more, as cavities
   up to their border. They are scored with the rest and choose nothing. They were added when it had
   been seen that the network before was less sure of a small lesion the darker it was.

7. What lies outside a generous hull of the brain counts nowhere, for no scan's answer shows it.
   It did count until a network had been refused for 9 ml in the muscles of a neck.

Volumes are scored in the frame (2 mm). Writes results/NAME.json with all choices.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
from nilearn import datasets
from scipy import ndimage

from kenseg_utils import artifacts, prediction, training
from kenseg_utils.experiments import judging, synthesis
from kenseg_utils.experiments.judging import CHOICE, choose, judge, scores_by_scan
from kenseg_utils.prediction import frames


def changed(image: np.ndarray, affine: np.ndarray, way: str) -> tuple[np.ndarray, np.ndarray]:
    """A healthy scan as another scanner, or another tool, might have left it."""
    rng = np.random.default_rng(0)
    top = float(np.percentile(image, 99))
    if way == "turned":
        angle = np.deg2rad(14)
        turn = np.eye(4)
        turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return image, turn @ affine
    if way == "noisy":
        noise = 0.08 * top * rng.standard_normal((2, *image.shape), dtype=np.float32)
        return np.hypot(image + noise[0], noise[1]), affine
    if way == "thick slices":
        step = max(1, round(5 / abs(affine[2, 2]) if affine[2, 2] else 5))
        count = image.shape[2] // step
        slices = image[:, :, : count * step].reshape(*image.shape[:2], count, step).mean(3)
        thick = affine @ np.diag([1, 1, step, 1])
        thick[:3, 3] += affine[:3, 2] * (step - 1) / 2
        return slices, thick
    if way == "cut off":
        cut = image.copy()
        cut[:, :, -image.shape[2] // 5 :] = 0
        return cut, affine
    if way == "edge peeled":
        inside = ndimage.binary_erosion(image > 0.15 * top, iterations=4)
        return np.where(inside, image, 0), affine
    return image, affine


IN_FRAME = {
    "moved": lambda seen: np.roll(seen, 2, axis=1),  # air on all sides goes round
    "mirrored": lambda seen: seen[::-1].copy(),
}
WAYS = ("as it is", "turned", "noisy", "thick slices", "cut off", "edge peeled", *IN_FRAME)


def healthy(file: Path | None, way: str):
    if file is None:
        mean = datasets.load_mni152_template(resolution=1)
        image, affine, name = mean.get_fdata(dtype=np.float32), mean.affine, "MNI152 template"
    else:
        image, affine = changed(*judging.opened(file), way)
        name = f"{file.name.split('.')[0]}, {way}"
    seen = frames.look(image, affine)[1]
    return judging.HEALTHY, name, 0, IN_FRAME.get(way, np.asarray)(seen), None


def cases(
    heads: list[Path],
    phantoms: int,
    painted: int,
    jobs: int,
    turned: list[Path] | None = None,
    outlines: Sequence[Path] = (),
    made: int = 0,
    holes: int = 0,
) -> list:
    """(group, name, number, volume in the frame, mask in the frame or None) of all there is."""
    tasks = [joblib.delayed(judging.of_phantom)(number) for number in range(phantoms)]
    for file in heads:
        tasks += [joblib.delayed(judging.with_lesion)(file, number) for number in range(painted)]
        tasks += [
            joblib.delayed(judging.with_lesion)(file, 2 * number + 1, judging.HOLLOW)
            for number in range(holes)
        ]
        tasks += [joblib.delayed(healthy)(file, way) for way in WAYS]
        tasks += [
            joblib.delayed(judging.with_outline)(file, drawn, number)
            for number, drawn in enumerate(outlines)
        ]
    tasks.append(joblib.delayed(healthy)(None, "as it is"))
    tasks += [joblib.delayed(judging.made_healthy)(number) for number in range(made)]
    if turned:
        tasks.append(joblib.delayed(judging.turned_over)(*turned))
    return joblib.Parallel(n_jobs=jobs)(tasks)


def opened_table(file: Path, model: Path) -> pd.DataFrame:
    """A table that was written before; ValueError if another model was judged in it."""
    table = pd.read_csv(file)
    if "model" not in table or set(table.model.astype(str)) != {artifacts.fingerprint(model)}:
        raise ValueError(f"{file} is the table of another model than {model}: give another name.")
    if not set(CHOICE) <= set(table):
        raise ValueError(f"{file} is an earlier judge's table: give another name.")
    return table.drop(columns="model")


def as_told(plan: dict) -> dict:
    """A plan with the widths that its network has, and of what it began with the name alone."""
    begun = Path(plan["start_from"]).name if plan.get("start_from") else None
    widths = list(plan["widths"] or synthesis.VIEWS[plan["network"]].widths)
    return plan | dict(widths=widths, start_from=begun)


def trainings(plan: dict, history: pd.DataFrame, parent: dict | None) -> list[dict]:
    """All trainings that led to a network, in their order: what is told of each.

    `plan` and `history`: of the last one, as `as_told` gives it. `parent`: what is recorded of the
    network that it began with, whose own trainings come first.
    """
    own = {name: plan[name] for name in ("batch", "heads", "device", "widths")}
    own |= dict(
        steps=int(history.step.iloc[-1]),
        minutes=round(float(history.seconds.iloc[-1]) / 60, 1),
        began_with=plan["start_from"],
    )
    return [*(parent or {}).get("trainings", []), own]


def past_of(training_folder: Path) -> list[dict]:
    """All trainings that led to what a training's folder holds, in their order.

    One that began with another training's network (a .keras in its folder) has that one's past
    too, and one that began with `heads.npz` that of the recorded network.
    """
    told = json.loads((training_folder / "plan.json").read_text())
    plan, parent = as_told(told), None
    if plan["start_from"] == "heads.npz":  # the one that this one takes the place of
        parent = (prediction.recorded_network("heads") or (None, None))[1]
    elif plan["start_from"] and (Path(told["start_from"]).parent / "plan.json").is_file():
        parent = dict(trainings=past_of(Path(told["start_from"]).parent))
    return trainings(plan, pd.read_csv(training_folder / "log.csv"), parent)


def record(model, training_folder: Path, choice: dict, scans: pd.DataFrame, note: str) -> Path:
    """Keep the network as results/heads.npz, with what chose it and how it was trained."""
    plan = as_told(json.loads((training_folder / "plan.json").read_text()))
    view = synthesis.VIEWS[plan["network"]]
    recipe = dict(network=view.network, widths=plan["widths"], options=view.options)
    history = pd.read_csv(training_folder / "log.csv")
    made = dict(device=plan["device"], seconds=float(history.seconds.iloc[-1]))
    told = dict(recipe=recipe, plan=plan, training=note, trainings=past_of(training_folder))
    run = SimpleNamespace(
        model=model, provenance=training.provenance() | made | told, history=history
    )
    return _saved(run, choice, scans)


def keep_choice(choice: dict, scans: pd.DataFrame, folder: Path | None = None) -> Path:
    """Keep what the recorded network was judged to need with it: weights and past stay.

    ValueError where none is recorded.
    """
    kept = prediction.recorded_network("heads", folder)
    if kept is None:
        raise ValueError("No network is recorded in results/: give --model and --record.")
    model, about = kept
    others = {"input_shape", "history", "judged", *choice}
    past = {name: value for name, value in about.items() if name not in others}
    run = SimpleNamespace(model=model, provenance=past, history=pd.DataFrame(about["history"]))
    return _saved(run, choice, scans, folder)


def _saved(run, choice: dict, scans: pd.DataFrame, folder: Path | None = None) -> Path:
    means = judging.means(scans).to_json(orient="records", double_precision=4)
    return prediction.save_network("heads", run, folder, **choice, judged=json.loads(means))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a training's best.keras; else the recorded one")
    parser.add_argument("--network", choices=list(synthesis.VIEWS), default="unet3d")
    parser.add_argument("--heads", type=Path, nargs="*", default=[], help="healthy T1w")
    parser.add_argument("--outlines", type=Path, nargs="*", default=[], help="masks, MNI space")
    parser.add_argument("--turned-over", type=Path, nargs=2, metavar=("T2w", "MASK"))
    parser.add_argument("--phantoms", type=int, default=40)
    parser.add_argument("--painted", type=int, default=30, help="lesions in each head")
    parser.add_argument("--made", type=int, default=24, help="synthetic healthy heads")
    parser.add_argument("--holes", type=int, default=12, help="hollow lesions in each head")
    parser.add_argument("--name", required=True, help="of the result")
    parser.add_argument("--folder", type=Path, help="of the result (default: results/)")
    parser.add_argument("--table", type=Path, help="all cases by all choices; read if it is there")
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--record", type=Path, help="the training's folder: keep the network")
    keep.add_argument(
        "--keep-choice", action="store_true", help="with the recorded network, which was judged"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that make the cases")
    parser.add_argument("--note", default="", help="how it was trained, in words")
    given = parser.parse_args()
    if (given.record and not given.model) or (given.keep_choice and given.model):
        parser.error("--record goes with --model, and --keep-choice with the recorded network")
    if given.model:
        file, model = given.model, prediction.open_network(given.model)
    else:  # by name: `open_network` would take another one where this is missing
        kept = prediction.recorded_network("heads")
        if kept is None:
            parser.error("No network is recorded in results/: give --model")
        file, model = artifacts.results_file("heads", suffix=".npz"), kept[0]
    if given.table and given.table.exists():
        table = opened_table(given.table, file)
    else:
        everything = cases(
            given.heads,
            given.phantoms,
            given.painted,
            given.jobs,
            given.turned_over,
            given.outlines,
            given.made,
            given.holes,
        )
        view = synthesis.VIEWS[given.network]
        table = judge(lambda seen: view.probability(model, seen), everything, say=print)
        if given.table:
            given.table.parent.mkdir(parents=True, exist_ok=True)
            table.assign(model=artifacts.fingerprint(file)).to_csv(given.table, index=False)
    choice, told = choose(table)
    scans = scores_by_scan(table, choice)
    print(given.name, choice)
    print(scans.round(3).to_string())
    from kenseg_utils import experiments  # which asks for more than judging does

    print(
        experiments.save_result(
            given.name,
            {"scans": scans, "choices": told},
            given.folder,
            network=given.note,
            parameters=model.count_params(),
            choice=choice,
            inside_hull=True,
        )
    )
    if given.record:
        print(record(model, given.record, choice, scans, given.note))
    if given.keep_choice:
        print(keep_choice(choice, scans))


if __name__ == "__main__":
    main()

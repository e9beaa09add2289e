"""What the page "The network, in this page" needs: chapter 5's network as ONNX, and some slices.

Written for the page as `network.onnx` and as `slices.js`, a script, since a page that is opened
from a file may load scripts and nothing else.
"""

import argparse
import base64
import json
from pathlib import Path

import numpy as np

from kenseg_utils import artifacts, metrics, profiles, training
from kenseg_utils.prediction import export

CHAPTER = "05_gpu_training.ipynb"
COUNT = 6  # slices to choose from
# Grey values are stored as whole numbers, and Keras gets what the page gets: number / STEPS.
STEPS = 6000


def trained(executed: Path):
    """Chapter 5's run and its test set, opened; made first where they are lacking."""
    about = json.loads((executed / CHAPTER).read_text(encoding="utf-8"))["metadata"]["papermill"]
    given = about.get("parameters", {})
    profile, seed = profiles.get(given.get("profile", "demo")), given.get("seed", 0)
    work = given.get("work_dir")
    scans = profiles.open_scans(profile, given.get("data_root"), work, seed)
    train, validation, test = profiles.open_crops(profile, scans, work, seed)
    recipe = profiles.quick_recipe(profile, seed=seed)
    return training.train(recipe, train, validation, work_dir=work, progress=False), test


def positions(test) -> list[int]:
    """Test slices from small lesions to large ones."""
    order = test.index.lesion_pixels.argsort(kind="stable").to_numpy()
    places = np.linspace(0.1, 0.95, min(COUNT, len(order))) * (len(order) - 1)
    return [int(order[place]) for place in np.unique(places.round().astype(int))]


def stored(run, test) -> dict:
    """Slices with their true lesion and Keras's probability, as the page's script reads them."""
    chosen = positions(test)
    images, truths = test.batch(chosen)
    numbers = np.clip(np.rint(images * STEPS), -32768, 32767).astype("<i2")
    # In float32, as the exported file; on some devices the run computes in fewer digits.
    model = export.in_float32(run.model)
    found = np.asarray(training.predict(model, numbers.astype(np.float32) / STEPS))[..., -1]
    slices = []
    for row, number, truth, probability in zip(
        test.index.iloc[chosen].itertuples(), numbers, truths, found
    ):
        slices.append(
            {
                "name": f"{row.subject}, z = {row.z}: lesion of {row.lesion_pixels} pixels",
                "image": _text(number),
                "truth": _text(truth.astype(np.uint8)),
                "probability": _text(np.rint(probability * 65535).astype("<u2")),
                "dice": round(float(metrics.dice(truth, probability >= 0.5)), 3),
            }
        )
    return {"side": images.shape[1], "steps": STEPS, "slices": slices}


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executed", type=Path, help="the folder of executed notebooks")
    parser.add_argument("folder", type=Path, help="where the page's files go")
    arguments = parser.parse_args()
    run, test = trained(arguments.executed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    content = stored(run, test)
    try:
        export.to_onnx(run.model, arguments.folder / "network.onnx")
    except ValueError as reason:  # the exporter is not installed: the page shows what is stored
        print(reason)
    content["provenance"] = (
        f"{run.recipe.network}, {run.model.count_params():,} weights, "
        f"{len(run.history)} epoch(s), run {run.folder.name}, "
        f"commit {artifacts.commit()}"
    )
    (arguments.folder / "slices.js").write_text(f"window.kensegNetwork = {json.dumps(content)};\n")


if __name__ == "__main__":
    main()

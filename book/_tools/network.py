"""What the page "The network, in this page" needs: two networks as ONNX, slices, and a poster.

Chapter 5's network is written as `network.onnx`, the whole-slice network that is recorded with the
book as `whole.onnx`, their kernels in half precision, and slices as `slices.js`, a script, since a
page that is opened from a file may load scripts and nothing else. `poster.png` is for readers
without scripts. In a folder `head` beside it goes what the first page shows in 3-D, which asks a
network, too.
"""

import argparse
import base64
import copy
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import head_3d
import numpy as np
from PIL import Image

from kenseg_utils import artifacts, machine, metrics, prediction, profiles, training
from kenseg_utils.prediction import export

CHAPTER = "05_gpu_training.ipynb"
COUNT = 6  # slices to choose from
# Grey values are stored as whole numbers, and Keras gets what the page gets: number / STEPS.
STEPS = 6000
ALIKE = 0.999
FRAME = (208, 240)  # ATLAS's slices, 197 by 233, filled up to multiples of 16


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


def stored(run, test, file: Path | None = None) -> dict:
    """Slices with their true lesion and its probability, as the page's script reads them.

    Answered by the page's file, where there is one and something that runs it, or else by Keras.
    """
    chosen = positions(test)
    images, truths = test.batch(chosen)
    numbers = np.clip(np.rint(images * STEPS), -32768, 32767).astype("<i2")
    given = numbers.astype(np.float32) / STEPS
    # In float32, as the exported file; on some devices the run computes in fewer digits.
    found = np.asarray(training.predict(export.in_float32(run.model), given))[..., -1]
    if file is not None and find_spec("onnxruntime"):
        answers = [export.run_exported(file, one[None])[0, ..., -1] for one in given]
        found = checked(np.stack(answers), found)
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


def checked(found: np.ndarray, keras: np.ndarray) -> np.ndarray:
    """What the file found, once its masks are Keras's: half precision must change next to nothing.

    SystemExit where fewer than `ALIKE` of the pixels are called the same; pixels that Keras itself
    has within a hundredth of the threshold are nobody's.
    """
    alike = (((found >= 0.5) == (keras >= 0.5)) | (np.abs(keras - 0.5) < 0.01)).mean()
    if alike < ALIKE:
        sys.exit(f"network.onnx calls only {alike:.2%} of the pixels as Keras does.")
    return found


def _text(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def written(model, path: Path) -> Path:
    """Write a network for the page, its kernels in half precision, computed in single.

    What normalises stays single, in whatever shape the exporter writes its vectors.
    """
    export.to_onnx(model, path)
    import onnx

    content = onnx.load(path)
    kernels, vectors = [], []
    for one in map(copy.deepcopy, content.graph.initializer):
        (kernels if np.prod(one.dims) > max(one.dims, default=1) else vectors).append(one)
    del content.graph.initializer[:]
    content.graph.initializer.extend(kernels)
    export._halve(content)
    content.graph.initializer.extend(vectors)
    onnx.checker.check_model(content)
    onnx.save(content, path)
    return path


def single(model, folder: Path) -> dict:
    """Write a network of single slices as `network.onnx`; what the page is told of it."""
    return {"weight": written(model, folder / "network.onnx").stat().st_size}


def whole(folder: Path) -> dict:
    """Write the recorded whole-slice network as `whole.onnx`; what the page is told of it."""
    kept = prediction.recorded_network("whole_slices")
    if kept is None:
        return {"whole": "", "whole_weight": 0}
    model, about = kept
    path = written(prediction.at_shape(model, FRAME), folder / "whole.onnx")
    network = about["recipe"]["network"]
    made = f"{network}, {model.count_params():,} weights, commit {about['commit']}"
    return {"whole": path.name, "whole_weight": path.stat().st_size, "whole_made": made}


def poster(slices: dict, path: Path) -> None:
    """One stored slice as a picture, true and called lesion outlined as the page does."""
    side, chosen = slices["side"], slices["slices"][len(slices["slices"]) // 2]

    def opened(name: str, kind: str) -> np.ndarray:
        numbers = np.frombuffer(base64.b64decode(chosen[name]), kind).reshape(side, side)
        return numbers[:, ::-1].T  # x right, y up

    image = opened("image", "<i2").astype(float)
    low, high = image.min(), np.quantile(image, 0.995)
    picture = np.repeat(np.clip((image - low) / (high - low or 1), 0, 1)[..., None] * 255, 3, 2)
    inside = opened("truth", "u1"), opened("probability", "<u2") >= 65535 / 2
    for mask, colour in zip(inside, ((230, 159, 0), (86, 180, 233))):
        picture[_rim(mask.astype(bool))] = colour
    large = np.kron(picture.astype(np.uint8), np.ones((3, 3, 1), np.uint8))
    Image.fromarray(large).save(path)


def _rim(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask that border on its outside."""
    wide = np.pad(mask, 1)
    core = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~core


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("executed", type=Path, help="the folder of executed notebooks")
    parser.add_argument("folder", type=Path, help="where the page's files go")
    arguments = parser.parse_args()
    head_3d.kept(arguments.folder.parent / "head")
    run, test = trained(arguments.executed)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    content, file = {"whole": "", "whole_weight": 0, "weight": 0}, None
    try:
        content |= single(run.model, arguments.folder)
        file = arguments.folder / "network.onnx"
        content |= whole(arguments.folder)
    except ValueError as reason:  # the exporter is not installed: the page shows what is stored
        print(reason)
    content |= stored(run, test, file)
    poster(content, arguments.folder / "poster.png")
    content["provenance"] = (
        f"{run.recipe.network}, {run.model.count_params():,} weights, "
        f"{machine.so_many(len(run.history), 'epoch')}, run {run.folder.name}, "
        f"commit {artifacts.commit()}"
    )
    (arguments.folder / "slices.js").write_text(f"window.kensegNetwork = {json.dumps(content)};\n")


if __name__ == "__main__":
    main()

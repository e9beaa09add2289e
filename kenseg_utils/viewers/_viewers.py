"""Pictures to play with: each moves in a notebook, on Colab and in the book's static pages.

Each function returns a widget whose caption says what it shows; `stacks` holds what they are made
of. Arrays are in RAS order, and lesions coloured as in `figures`.
"""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets
import numpy as np
from PIL import Image, ImageDraw

from kenseg_utils import figures, slices
from kenseg_utils.metrics import dice

from ._stacks import BUDGET, choice, picture, pictured, with_caption

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
SIDES = ("L", "R")
ENDS = {"sagittal": ("P", "A"), "coronal": SIDES, "axial": SIDES}
SLICES_BUDGET = 3_000_000  # bytes of the pictures in a browser of slices, base64 included


def slice_browser(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    planes: Sequence[str] = ("axial", "coronal", "sagittal"),
    count: int | None = None,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    caption: str = "",
) -> ipywidgets.VBox:
    """Leaf through a volume's slices in each plane, with the true and the predicted lesion.

    image, mask, prediction : (X, Y, Z); spacing : voxel size in mm; count : slices a plane,
    by default every second one.
    The slice with most lesion is among them, and shown first.
    Raises ValueError on other shapes or an unknown plane.
    """
    image = np.asarray(image)
    for name, array in (("image", image), ("mask", mask), ("prediction", prediction)):
        if array is not None and (np.ndim(array) != 3 or np.shape(array) != image.shape):
            raise ValueError(
                f"the {name} has shape {np.shape(array)}; a volume (X, Y, Z) of the "
                f"image's shape {image.shape} is needed."
            )
    unknown = [plane for plane in planes if plane not in AXES]
    if unknown or not planes:
        raise ValueError(f"unknown plane {unknown}: choose from {', '.join(AXES)}.")
    grey = figures.window(image)
    panels = {}
    for plane in planes:
        panels[plane] = _plane_panel(
            image,
            mask,
            prediction,
            plane,
            count,
            spacing,
            grey,
            budget=SLICES_BUDGET // len(planes),
        )
    words = "Slices of a T1-weighted head."
    if mask is not None:
        words += " The true lesion is orange with a solid outline."
    if prediction is not None:
        words += " The predicted lesion is blue with a dashed outline."
    sided = any(ENDS[plane] == SIDES for plane in planes)
    return with_caption(choice("plane", panels), caption or words, sided)


def _plane_panel(
    image, mask, prediction, plane: str, count: int | None, spacing, grey, budget: int
) -> ipywidgets.VBox:
    axis = AXES[plane]
    places, start = _chosen_slices(image, mask, axis, count, grey)
    across, up = (spacing[other] for other in range(3) if other != axis)
    pictures, notes = [], []
    for place in places:
        here = tuple(place if other == axis else slice(None) for other in range(3))
        truth, found = (None if array is None else array[here] for array in (mask, prediction))
        pictures.append(picture(image[here], grey, truth, found, (), aspect=up / across))
        area = "" if truth is None else f"; lesion {np.count_nonzero(truth) * across * up:.0f} mm²"
        notes.append(f"{plane} slice {place} of {image.shape[axis]}{area}")
    labels = [f"{'xyz'[axis]} = {place}" for place in places]
    return pictured(f"{plane} slice", labels, pictures, notes, start, budget, ENDS[plane])


def _chosen_slices(image, mask, axis: int, count: int | None, grey) -> tuple[list[int], int]:
    """Evenly spaced slices through the head, the one with most lesion among them; where it is."""
    others = tuple(other for other in range(3) if other != axis)
    low, high = grey
    head = np.flatnonzero((image > low + 0.1 * (high - low)).mean(axis=others) > 0.01)
    first, last = (head[0], head[-1]) if head.size else (0, image.shape[axis] - 1)
    areas = np.zeros(image.shape[axis]) if mask is None else np.count_nonzero(mask, axis=others)
    largest = int(np.argmax(areas)) if areas.any() else (first + last) // 2
    if count is None:
        first, last = min(first, largest), max(last, largest)
        places = np.arange(first + (largest - first) % 2, last + 1, 2)
    else:
        places = np.linspace(first, last, min(count, last - first + 1)).round().astype(int)
        places = np.unique(places)
    middle = int(np.argmin(np.abs(places - largest)))
    if areas.any():
        places[middle] = largest
    return [int(place) for place in places], middle


def threshold_slider(
    image: np.ndarray,
    truth: np.ndarray,
    probability: np.ndarray,
    thresholds: Sequence[float] = tuple(np.linspace(0.05, 0.95, 19).round(2)),
    caption: str = "",
) -> ipywidgets.VBox:
    """Where to cut a soft map: the mask and its Dice at each threshold; pixels at or above count.

    image, truth, probability : slices (X, Y); thresholds : increasing, within 0 … 1.
    Opens at the threshold nearest to 0.5. Raises ValueError on shapes that differ.
    """
    image, truth, probability = (_slice(array) for array in (image, truth, probability))
    _same_shapes(image=image, truth=truth, probability=probability)
    grey, pictures, notes = figures.window(image), [], []
    for threshold in thresholds:
        found = probability >= threshold
        pictures.append(picture(image, grey, truth, found, ()))
        notes.append(
            f"threshold {threshold:.2f}: Dice {dice(truth != 0, found):.2f}, "
            f"{found.sum()} pixels called lesion, {np.count_nonzero(truth)} are lesion"
        )
    start = int(np.argmin(np.abs(np.asarray(thresholds) - 0.5)))
    viewer = pictured(
        "threshold",
        [f"{threshold:.2f}" for threshold in thresholds],
        pictures,
        notes,
        start,
        ends=SIDES,
    )
    return with_caption(
        viewer,
        caption
        or (
            "The same soft map, cut at different thresholds. Orange, solid: the true lesion; blue, "
            "dashed: what is called lesion."
        ),
        sided=True,
    )


def strength_slider(
    name: str,
    labels: Sequence[str],
    images: Sequence[np.ndarray],
    truth: np.ndarray,
    predictions: Sequence[np.ndarray],
    caption: str = "",
) -> ipywidgets.VBox:
    """One slice harmed more and more: image, what a network finds in it, and its Dice, a step each.

    labels : what the slider shows at each step; images, predictions : slices (X, Y), one a step;
    truth : the lesion's mask, the same for all. Each image has a grey window of its own.
    Raises ValueError on shapes that differ, and on numbers of steps that do.
    """
    _same_lengths(labels=labels, images=images, predictions=predictions)
    truth, pictures, notes = _slice(truth), [], []
    for label, image, found in zip(labels, map(_slice, images), map(_slice, predictions)):
        _same_shapes(image=image, truth=truth, prediction=found)
        pictures.append(picture(image, figures.window(image), truth, found, ()))
        notes.append(
            f"{name} {label}: Dice {dice(truth != 0, found != 0):.2f}, "
            f"{np.count_nonzero(found)} pixels called lesion, {np.count_nonzero(truth)} are lesion"
        )
    return with_caption(
        pictured(name, labels, pictures, notes, ends=SIDES),
        caption
        or (
            "One slice, harmed more and more. Orange, solid: the true lesion; blue, dashed: what "
            "is called lesion."
        ),
        sided=True,
    )


def crop_explorer(
    image: np.ndarray,
    mask: np.ndarray,
    sizes: Sequence[int] = (64, 80, 96, 112, 124, 128, 144, 160, 192),
    multiple: int = 16,
    caption: str = "",
) -> ipywidgets.VBox:
    """What a window of each size holds of the lesion, and what pads it to a `multiple`.

    image, mask : slices (X, Y). One panel puts the window around the true lesion, which only an
    oracle can, the other in the middle of the slice. The windows are those of `slices.crop`.
    """
    image, mask = _slice(image), _slice(mask) != 0
    _same_shapes(image=image, mask=mask)
    middle = tuple((side - 1) / 2 for side in image.shape)
    centres = {"in the middle of the slice": middle}
    if mask.any():
        centres = {"around the true lesion (an oracle)": slices.lesion_centre(mask), **centres}
    panels = {}
    for name, centre in centres.items():
        pictures, notes = [], []
        for size in sizes:
            cut, place = slices.crop(image, centre, size)
            side = -(-max(cut.shape) // multiple) * multiple
            cut_mask = slices.crop(mask, centre, size)[0]
            pictures.append(
                _window_picture(
                    image,
                    mask,
                    place,
                    slices.pad(cut, side),
                    slices.pad(cut_mask, side),
                    slices.pad(np.zeros(cut.shape), side, fill=1),
                )
            )
            inside = cut_mask.sum() / max(mask.sum(), 1)
            notes.append(
                f"{cut.shape[0]}×{cut.shape[1]} pixels, padded to {side}×{side}; "
                f"{inside:.0%} of the lesion inside"
            )
        start = list(sizes).index(124) if 124 in sizes else 0
        panels[name] = pictured(
            "window", [str(size) for size in sizes], pictures, notes, start, BUDGET // len(centres)
        )
    return with_caption(
        choice("place", panels),
        caption
        or (
            "Left, the slice with the window (blue); right, the window, padded (yellow) until its "
            f"sides are multiples of {multiple}. The true lesion is orange."
        ),
    )


def _window_picture(image, mask, place, padded, padded_mask, padding):
    """The slice with its window, and beside it the window in its frame, equally high."""
    grey, high = figures.window(image), 300
    whole = picture(image, grey, mask, width=round(high * image.shape[0] / image.shape[1]))
    scale = whole.size[1] / image.shape[1]
    corners = [
        scale * place.top,
        whole.size[1] - scale * (place.left + place.width),
        scale * (place.top + place.height) - 1,
        whole.size[1] - scale * place.left - 1,
    ]
    ImageDraw.Draw(whole).rectangle(corners, outline=figures.SKY_BLUE, width=2)
    frame = picture(padded, grey, padded_mask, width=whole.size[1])
    yellow = Image.new("RGB", frame.size, figures.YELLOW)
    margin = Image.fromarray((255 * padding).astype(np.uint8).T[::-1])
    frame.paste(yellow, mask=margin.resize(frame.size, Image.Resampling.NEAREST))
    both = Image.new("RGB", (whole.size[0] + 10 + frame.size[0], whole.size[1]), "white")
    both.paste(whole, (0, 0))
    both.paste(frame, (whole.size[0] + 10, 0))
    return both


def best_to_worst(
    images: Sequence,
    truths: Sequence,
    predictions: Sequence,
    scores: Sequence[float],
    names: Sequence[str] | None = None,
    score_name: str = "Dice",
    caption: str = "",
) -> ipywidgets.VBox:
    """Slices (X, Y) with true and predicted lesion, from the best score to the worst."""
    _same_lengths(
        images=images,
        truths=truths,
        predictions=predictions,
        scores=scores,
        names=scores if names is None else names,
    )
    order = np.argsort(-np.asarray(scores, dtype=float), kind="stable")
    pictures, notes, labels = [], [], []
    for rank, place in enumerate(order, start=1):
        image = _slice(images[place])
        pictures.append(
            picture(
                image, figures.window(image), _slice(truths[place]), _slice(predictions[place]), ()
            )
        )
        who = "" if names is None else f", {names[place]}"
        labels.append(f"{rank} of {len(order)}")
        notes.append(f"{rank} of {len(order)}{who}: {score_name} {scores[place]:.2f}")
    return with_caption(
        pictured("rank", labels, pictures, notes, ends=SIDES),
        caption
        or (
            f"From the best {score_name} to the worst. Orange, solid: the true lesion; "
            "blue, dashed: the prediction."
        ),
        sided=True,
    )


def _slice(array) -> np.ndarray:
    """A slice (X, Y) from (X, Y) or (X, Y, 1)."""
    array = np.asarray(array)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.ndim != 2:
        raise ValueError(f"a slice has shape (X, Y) or (X, Y, 1), and this one {array.shape}.")
    return array


def _same_shapes(**arrays: np.ndarray) -> None:
    if len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"these should have one shape: {shapes}.")


def _same_lengths(**sequences: Sequence) -> None:
    lengths = {name: len(sequence) for name, sequence in sequences.items()}
    if len(set(lengths.values())) > 1 or not max(lengths.values()):
        raise ValueError(f"these should be equally long, and not empty: {lengths}.")

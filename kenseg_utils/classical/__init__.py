"""The prior-based methods that the paper names (II.A), thin over well-kept libraries.

What each is given is part of its result, and `needs(name)` says it:

- "nothing" but the slice: `thresholding`;
- a "seed_point", which is a click that a clinician could make (`click` makes it from the truth, so
  these four are told where the lesion is and only find how far it reaches): `region_growing`,
  `edge_detection`, `graph_cut`, `level_set`;
- a "model" trained on other subjects' slices with their masks (`fit`): `svm`, `random_forest`.

All work on one 2-D slice whose grey values are normalised per volume, lesions darker than tissue.
`steps` returns everything on the way to the mask and `segment` the last of it, so the teaching
pictures show what really runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kenseg_utils.anatomy import brain_mask, check_image, is_constant

from .brain import brain_around, check_seed_point, click
from .energy import graph_cut, level_set, minimum_cut
from .intensity import edge_detection, region_growing, thresholding
from .learned import PixelModel, classify_pixels, fit, pixel_features

__all__ = [
    "PixelModel",
    "brain_mask",
    "click",
    "fit",
    "minimum_cut",
    "names",
    "needs",
    "options",
    "pixel_features",
    "segment",
    "segment_slices",
    "steps",
]

METHODS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    "thresholding": thresholding,
    "region_growing": region_growing,
    "edge_detection": edge_detection,
    "graph_cut": graph_cut,
    "level_set": level_set,
    "svm": classify_pixels,
    "random_forest": classify_pixels,
}


def names() -> list[str]:
    """The seven methods, in the paper's order."""
    return list(METHODS)


def needs(name: str) -> str:
    """What a method is given beside the slice: "nothing", a "seed_point" or a "model"."""
    parameters = inspect.signature(_method(name)).parameters
    return next((p for p in ("seed_point", "model") if p in parameters), "nothing")


def options(name: str) -> dict[str, object]:
    """The options of a method, each with its default."""
    parameters = inspect.signature(_method(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}


def segment(
    name: str,
    image: ArrayLike,
    seed_point: tuple[int, int] | None = None,
    model: PixelModel | None = None,
    brain: ArrayLike | None = None,
    **method_options: Any,
) -> np.ndarray:
    """The lesion in one slice, (H, W) uint8 of 0 and 1, by one of the methods of `names()`.

    `image` is an (H, W) slice, `seed_point` a (row, column), `model` what `fit` returned, `brain`
    an (H, W) mask of the pixels to look at (by default estimated, see `brain_mask`).
    A click or a model that the method does not use is ignored, so that one call serves all.
    Raises ValueError for: an unknown method or option (the message lists the known ones), or an
    option out of range; a slice that is no (H, W) array of finite numbers, or is constant; a click
    that is missing, outside the slice or on its padding; a model that is missing or another
    method's.
    """
    return steps(name, image, seed_point, model, brain, **method_options)["mask"]


def steps(
    name: str,
    image: ArrayLike,
    seed_point: tuple[int, int] | None = None,
    model: PixelModel | None = None,
    brain: ArrayLike | None = None,
    **method_options: Any,
) -> dict[str, np.ndarray]:
    """What a method does, step by step: (H, W) arrays by name, from "image" to "mask" (uint8).

    Takes and raises what `segment` does. All are finite.
    """
    method = _method(name)
    unknown = set(method_options) - set(options(name))
    if unknown:
        raise ValueError(
            f"{name} has no option {sorted(unknown)[0]!r}: "
            f"its options are {', '.join(options(name)) or 'none but brain'}."
        )
    checked = check_image(image)
    wanted, given, point = needs(name), dict[str, Any](), None
    if wanted == "seed_point":
        given[wanted] = point = check_seed_point(seed_point, checked.shape)
    elif wanted == "model":
        given[wanted] = _check_model(name, model)
    inside = brain_around(checked, brain, point)
    found = method(checked, inside, **given, **method_options)
    found["mask"] = found["mask"].astype(np.uint8)
    return {"image": checked} | found


def segment_slices(
    name: str,
    images: ArrayLike,
    seed_points: Sequence[tuple[int, int] | None] | None = None,
    model: PixelModel | None = None,
    **method_options: Any,
) -> np.ndarray:
    """`segment` for a stack of slices (n, H, W), for example those of one volume: uint8 (n, H, W).

    `seed_points` has a click or None for each slice. In a volume an empty slice is no mistake, so
    here a constant slice gets an empty mask, and so does a slice that nobody clicked on.
    Other errors are raised with the number of the slice.
    """
    stack = np.asarray(images)
    if stack.ndim != 3:
        raise ValueError(
            f"A stack of slices (n, H, W) is needed, and this is {stack.shape}: "
            "pass images[..., 0], or np.moveaxis(volume, 2, 0)."
        )
    clicked = needs(name) == "seed_point"
    points = seed_points if clicked else [None] * len(stack)
    if points is None or len(points) != len(stack):
        raise ValueError(
            f"{name} needs seed_points: {len(stack)} clicks, with None for a slice without one."
        )
    masks = np.zeros(stack.shape, np.uint8)
    for number, (image, point) in enumerate(zip(stack, points)):
        if is_constant(image) or (clicked and point is None):
            continue
        try:
            masks[number] = segment(name, image, point, model, **method_options)
        except ValueError as error:
            raise ValueError(f"Slice {number}: {error}") from None
    return masks


def _method(name: str) -> Callable[..., dict[str, np.ndarray]]:
    if name not in names():
        raise ValueError(
            f"Unknown prior-based method {name!r}: choose one of {', '.join(names())}."
        )
    return METHODS[name]


def _check_model(name: str, model: object) -> PixelModel:
    advice = f"train one on the training folds: model = classical.fit({name!r}, images, masks)"
    if model is None:
        raise ValueError(f"{name} is a trained method and got no model: {advice}.")
    if not isinstance(model, PixelModel) or model.name != name:
        kind = f"a model of {model.name}" if isinstance(model, PixelModel) else repr(type(model))
        raise ValueError(f"{name} got {kind}: {advice}.")
    return model

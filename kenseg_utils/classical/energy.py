"""Energies that are minimised (paper, II.A.2): graph cut and level set.

Both start from a click, and return their steps by name as (H, W) arrays; the last is "mask".
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from skimage import segmentation

from .brain import at_least, containing, disc, grey_levels, whole_number

UNIT = 100  # capacities are whole numbers: this many to one unit of energy


def minimum_cut(
    lesion_cost: np.ndarray, other_cost: np.ndarray, right: np.ndarray, down: np.ndarray
) -> np.ndarray:
    """The (H, W) bool labelling of least energy, exactly, by maximum flow.

    The energy is the sum of `lesion_cost` over the lesion's pixels, `other_cost` over the others,
    and of the links between neighbours of different label: `right` (H, W-1), `down` (H-1, W).
    All are whole numbers below `2**30`, the links not negative, or it is a ValueError.
    Among labellings of equal energy the smallest lesion wins.
    Source: Greig, Porteous and Seheult 1989; Boykov and Jolly 2001.
    """
    for costs in (lesion_cost, other_cost, right, down):
        if costs.dtype.kind not in "iu" or np.abs(costs).max(initial=0) >= 2**30:
            raise ValueError("Costs and links must be whole numbers below 2**30: scale and round.")
    if min(right.min(initial=0), down.min(initial=0)) < 0:
        raise ValueError("A link between neighbours is negative: a minimum cut needs 0 or more.")
    height, width = lesion_cost.shape
    pixel = np.arange(height * width).reshape(height, width)
    source, sink = height * width, height * width + 1
    pull = (other_cost.astype(np.int64) - lesion_cost).ravel()  # only the difference matters
    towards, away = np.flatnonzero(pull > 0), np.flatnonzero(pull < 0)
    first = np.concatenate([pixel[:, :-1].ravel(), pixel[:-1].ravel()])
    second = np.concatenate([pixel[:, 1:].ravel(), pixel[1:].ravel()])
    link = np.concatenate([right.ravel(), down.ravel()])
    start = np.concatenate([first, second, np.full(len(towards), source), away])
    end = np.concatenate([second, first, towards, np.full(len(away), sink)])
    capacity = np.concatenate([link, link, pull[towards], -pull[away]]).astype(np.int32)
    graph = sparse.csr_matrix((capacity, (start, end)), shape=(sink + 1, sink + 1))
    graph.eliminate_zeros()
    residual = graph - maximum_flow(graph, source, sink).flow
    residual.eliminate_zeros()
    # What the source still reaches over unfilled links lies on its side of the cut.
    reached = breadth_first_order(residual, source, return_predecessors=False)
    lesion = np.zeros(sink + 1, bool)
    lesion[reached] = True
    return lesion[:-2].reshape(height, width)


def graph_cut(
    image: np.ndarray,
    brain: np.ndarray,
    seed_point: tuple[int, int],
    *,
    smoothness: float = 10.0,
    radius: int = 2,
) -> dict[str, np.ndarray]:
    """Cut the pixel graph where it is cheapest. Given the slice and a click.

    The energy has two terms (Boykov and Jolly 2001). Data: the negative log-likelihoods of two
    normal distributions, lesion (the grey value at the click) and tissue (the brain's median),
    with a common SD of a quarter of their distance. Border: `smoothness` between 4-neighbours,
    less across an edge, exp(-(difference)² / 2 SD²) with the SD of all neighbours' differences.
    The disc of `radius` pixels around the click is lesion and everything beyond the brain is not,
    at any price. Of the global minimum, the piece under the click is kept.
    Fails by its model: two grey values cannot tell fluid from lesion, and a click on a fluid-dark
    core gives up the lesion's paler rim.
    """
    at_least(0, smoothness=smoothness, radius=radius)
    if smoothness > 1000:
        raise ValueError(f"smoothness is {smoothness!r}, and it must be a number ≤ 1000.")
    clicked, tissue = grey_levels(image, brain, seed_point)
    spread = max(abs(tissue - clicked) / 4, 1e-3 * np.ptp(image))
    lesion_cost = np.minimum((image - clicked) ** 2 / (2 * spread**2), 20)
    other_cost = np.minimum((image - tissue) ** 2 / (2 * spread**2), 20)
    # Beyond its centre towards the dark side a pixel is no less a lesion (or tissue, if bright).
    side = np.sign(clicked - tissue)
    lesion_cost[side * (image - clicked) > 0] = 0
    other_cost[side * (image - tissue) < 0] = 0
    certain = disc(image.shape, seed_point, radius) & brain
    forced = 21 + 4 * smoothness  # more than any pixel's data and four links together
    lesion_cost[~brain] = forced
    other_cost[~brain] = 0
    other_cost[certain] = forced
    lesion_cost[certain] = 0
    right, down = np.diff(image, axis=1), np.diff(image, axis=0)
    inside = np.concatenate([right[brain[:, 1:] & brain[:, :-1]], down[brain[1:] & brain[:-1]]])
    step = max(np.sqrt(np.mean(np.append(inside, 0) ** 2)), 1e-3 * np.ptp(image))
    whole = [
        np.round(UNIT * cost).astype(np.int64)
        for cost in (
            lesion_cost,
            other_cost,
            smoothness * np.exp(-(right**2) / (2 * step**2)),
            smoothness * np.exp(-(down**2) / (2 * step**2)),
        )
    ]
    cut = minimum_cut(*whole)
    return {
        "pull to lesion": np.clip(other_cost - lesion_cost, -20, 20),
        "links to the right": np.pad(whole[2] / UNIT, ((0, 0), (0, 1))),
        "minimum cut": cut,
        "mask": ndimage.binary_fill_holes(containing(cut, seed_point)) & brain,
    }


def level_set(
    image: np.ndarray,
    brain: np.ndarray,
    seed_point: tuple[int, int],
    *,
    contour: str = "chan_vese",
    radius: int = 3,
    smoothing: int = 1,
    iterations: int = 150,
) -> dict[str, np.ndarray]:
    """Let a contour move until it rests. Given the slice and a click.

    It starts as a circle of `radius` pixels around the click. `contour` chooses what moves it:
    "chan_vese" makes inside and outside each as even as it can (Chan and Vese 2001), "geodesic"
    blows it up like a balloon until it meets edges (Caselles, Kimmel and Sapiro 1997); both in
    the morphological form of Marquez-Neila, Baumela and Alvarez 2014, `smoothing` times a step.
    It stops when ten steps change nothing, or after `iterations`.
    Fails by its parameters: too stiff, and small lesions vanish; too soft, and it flows into sulci.
    """
    at_least(1, radius=radius)
    whole_number(1, iterations=iterations)
    whole_number(0, smoothing=smoothing)
    clicked, tissue = grey_levels(image, brain, seed_point)
    # Bone and air would be a third region: they are painted as tissue.
    low, high = sorted((clicked, tissue))
    even = np.where(brain, np.clip(image, low, high), tissue)
    start = disc(image.shape, seed_point, radius)
    if contour == "chan_vese":
        drive = even
        evolve = partial(segmentation.morphological_chan_vese, drive, smoothing=smoothing)
    elif contour == "geodesic":
        contrast = max(abs(tissue - clicked), 1e-3 * np.ptp(image))
        drive = segmentation.inverse_gaussian_gradient(even / contrast, alpha=100, sigma=1.5)
        evolve = partial(
            segmentation.morphological_geodesic_active_contour,
            drive,
            smoothing=smoothing,
            balloon=1,
            threshold=0.5,
        )
    else:
        raise ValueError(f"The contour is {contour!r}: choose 'chan_vese' or 'geodesic'.")
    steps, level = {"what drives the contour": drive, "start": start}, start
    for done in range(0, iterations, 10):
        before = level
        level = evolve(min(10, iterations - done), init_level_set=before.astype(np.int8)) > 0
        steps.setdefault("after 10 steps", level)
        if (level == before).all():
            break
    steps["at rest"] = level
    steps["mask"] = ndimage.binary_fill_holes(containing(level & brain, seed_point))
    return steps

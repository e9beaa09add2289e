"""Traditional image processing (paper, II.A.1): thresholding, region growing, edges with filling.

Every method takes a checked (H, W) float32 slice and a (H, W) bool brain mask, and returns its
steps by name, in order, as (H, W) arrays; the last, "mask", is the result.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import feature, filters, morphology, segmentation

from .brain import EIGHT, at_least, containing, grey_levels, whole_number


def thresholding(
    image: np.ndarray,
    brain: np.ndarray,
    *,
    rule: str = "otsu",
    deviations: float = 1.0,
    opening: int = 2,
) -> dict[str, np.ndarray]:
    """Call the dark part of the brain a lesion. Given nothing but the slice.

    `rule` chooses the threshold: "hypointense" is `deviations` robust SDs (1.4826 × the median
    absolute deviation) below the brain's median, the usual way of z-scored lesion maps;
    "otsu" is the level that best splits the brain's pixels into two classes (Otsu 1979).
    Specks and threads thinner than an opening by a disc of `opening` pixels are removed.
    Fails where fluid is: ventricles and sulci are as dark as an old lesion.
    """
    at_least(0, deviations=deviations)
    whole_number(0, opening=opening)
    values = image[brain]
    if rule == "otsu":
        level = filters.threshold_otsu(values)
    elif rule == "hypointense":
        middle = np.median(values)
        level = middle - deviations * 1.4826 * np.median(np.abs(values - middle))
    else:
        raise ValueError(f"The rule is {rule!r}: choose 'hypointense' or 'otsu'.")
    dark = brain & (image < level)
    return {
        "brain": np.where(brain, image, values.min()),
        "below the threshold": dark,
        "mask": ndimage.binary_opening(dark, morphology.disk(opening)),
    }


def region_growing(
    image: np.ndarray,
    brain: np.ndarray,
    seed_point: tuple[int, int],
    *,
    tolerance: float | None = None,
    smoothing: float = 0.5,
) -> dict[str, np.ndarray]:
    """Grow from a click over the neighbours that are about as dark. Given the slice and a click.

    A pixel joins if it touches the region and lies within `tolerance` of the clicked value, after
    Gaussian smoothing of `smoothing` pixels. Without a tolerance it is half the contrast between
    the click and the brain's median, so that the region ends half-way up its border.
    Fails by leaking: one bridge of dark pixels, and a sulcus or a ventricle belongs to the lesion.
    """
    at_least(0, smoothing=smoothing)
    smooth = filters.gaussian(image, smoothing, preserve_range=True)
    clicked, tissue = grey_levels(smooth, brain, seed_point)
    if tolerance is None:
        tolerance = abs(tissue - clicked) / 2
    at_least(0, tolerance=tolerance)
    far = smooth.max() + 2 * tolerance + 1
    grown = segmentation.flood(
        np.where(brain, smooth, far), seed_point, connectivity=1, tolerance=tolerance
    )
    return {
        "smoothed": smooth,
        "difference from the clicked value": np.where(brain, np.abs(smooth - clicked), 0),
        "grown": grown,
        "mask": ndimage.binary_fill_holes(grown) & brain,
    }


def edge_detection(
    image: np.ndarray,
    brain: np.ndarray,
    seed_point: tuple[int, int],
    *,
    sigma: float = 1.5,
    weak: float = 0.15,
    strong: float = 0.3,
    largest_gap: int = 4,
    largest_share: float = 0.4,
) -> dict[str, np.ndarray]:
    """Find edges, close them, and fill the contour around a click. Given the slice and a click.

    Edges are Canny's (1986) at scale `sigma` pixels: ridges of the gradient that are somewhere
    `strong` and everywhere `weak`, as shares of the slope of a step from the clicked grey value
    to the brain's median; the brain's outline counts as an edge. If the contour around
    the click is open, gaps are closed with ever larger discs, up to `largest_gap` pixels;
    it is open as long as it encloses more than `largest_share` of the brain.
    Fails where the border fades: a contour that never closes gives an empty mask.
    """
    at_least(0.1, sigma=sigma)
    at_least(0, weak=weak, strong=strong, largest_share=largest_share)
    whole_number(0, largest_gap=largest_gap)
    if weak > strong:
        raise ValueError(f"weak is {weak} and strong is {strong}: strong cannot be below weak.")
    smooth = filters.gaussian(image, sigma, preserve_range=True)
    clicked, tissue = grey_levels(image, brain, seed_point)
    # The slope of a blurred step; skimage's Canny takes Sobel's sums, 8 times the gradient.
    slope = 8 * max(abs(tissue - clicked), 1e-3 * np.ptp(image)) / (np.sqrt(2 * np.pi) * sigma)
    edges = feature.canny(image, sigma, weak * slope, strong * slope)
    outline = brain & ~ndimage.binary_erosion(brain, border_value=1)
    edges = (edges & brain) | outline
    inside = np.zeros(image.shape, bool)
    for gap in range(largest_gap + 1):
        contours = ndimage.binary_closing(np.pad(edges, gap), morphology.disk(gap))
        contours = contours[gap:-gap, gap:-gap] if gap else contours
        enclosed = containing(brain & ~contours, seed_point, connectivity=None)
        if enclosed.any() and enclosed.sum() <= largest_share * brain.sum():
            inside = ndimage.binary_fill_holes(enclosed)
            break
    return {
        "gradient": ndimage.gaussian_gradient_magnitude(image, sigma),
        "edges": edges,
        "closed edges": contours,
        "enclosed": inside,
        "mask": _take_border(smooth, inside, brain),
    }


def _take_border(smooth: np.ndarray, inside: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Add those pixels of the rim whose grey value is nearer to the inside.

    A ridge of the gradient runs through pixels of both sides: the half-way level parts them.
    """
    if not inside.any():
        return inside
    near = ndimage.binary_dilation(inside, EIGHT) & ~inside & brain
    outside = ndimage.binary_dilation(inside, EIGHT, iterations=4) & ~inside & ~near & brain
    if not outside.any():
        return inside
    level = (np.median(smooth[inside]) + np.median(smooth[outside])) / 2
    darker = np.median(smooth[inside]) < level
    return inside | near & ((smooth < level) == darker)

"""Machine learning on hand-made features (paper, II.A.3): a support vector machine, a forest.

Both classify pixels one by one. They see only the slices given to `fit`, which must be those of
the training folds. A fitted model is not saved: fitting again with the same seed gives the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage
from skimage import feature, filters
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from kenseg_utils.anatomy import brain_mask, check_image, is_constant

from .brain import at_least, whole_number

LARGEST_SCALE = 16  # pixels


@dataclass(frozen=True)
class PixelModel:
    """A fitted pixel classifier: which method, scikit-learn's estimator, and what it was fed.

    A pixel is lesion if its score, smoothed by a Gaussian of `smoothing` pixels, is above
    `threshold`.
    """

    name: str
    classifier: ClassifierMixin
    smoothing: float
    threshold: float
    training_slices: int
    training_pixels: int
    seed: int


def pixel_features(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """(H, W, 21) float32: what a pixel's neighbourhood looks like, and how deep it lies.

    At scales 1, 2, 4, 8 and 16 pixels: smoothed grey value, gradient magnitude, and the two
    eigenvalues of the Hessian (blobs and ridges); last, the distance to the brain's edge in
    pixels, at most 40. Outside the brain the slice is painted with the brain's median first.
    """
    even = np.where(brain, image, np.median(image[brain]))
    local = feature.multiscale_basic_features(even, sigma_min=1, sigma_max=LARGEST_SCALE)
    depth = np.minimum(ndimage.distance_transform_edt(brain), 40)
    return np.dstack([local, depth]).astype(np.float32)


def fit(
    name: str,
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    seed: int = 0,
    *,
    subjects: Sequence | None = None,
    pixels_per_slice: int = 100,
    smoothing: float = 1.0,
) -> PixelModel:
    """Train the "svm" or the "random_forest" on slices (n, H, W) and their masks.

    Give it the training folds alone; `subjects` says for each slice whose it is.
    The first four fifths of the subjects teach the classifier: of each slice at most
    `pixels_per_slice` lesion pixels and as many others of the brain (of a slice without lesion:
    that many others). As lesions are rare and the sample is balanced, the classifier's own
    threshold would call far too much: the last fifth of the subjects (at least one, of three or
    more) chooses the threshold with the best mean Dice, on slices that the classifier has not
    seen. Without `subjects` every slice counts as a subject.
    The SVM has a radial kernel, approximated with 200 landmarks (Nyström; Williams and Seeger
    2001) so that it is quick; the forest has 100 trees (Breiman 2001).
    Raises ValueError for another name, shapes or numbers that differ, labels other than 0 and 1,
    NaN, or no lesion pixel to learn from. Constant slices teach nothing and are passed over.
    """
    if name not in ("svm", "random_forest"):
        raise ValueError(f"{name!r} is not trained: choose 'svm' or 'random_forest'.")
    whole_number(1, pixels_per_slice=pixels_per_slice)
    at_least(0, smoothing=smoothing)
    taught, held_back = _hold_back(_check_training(images, masks, subjects))
    random = np.random.default_rng(seed)
    samples, labels = [], []
    for image, mask in taught:
        brain = brain_mask(image)
        chosen = _sample(mask & brain, brain & ~mask, pixels_per_slice, random)
        samples.append(pixel_features(image, brain)[chosen])
        labels.append(mask[chosen])
    x, y = np.concatenate(samples), np.concatenate(labels)
    if not y.any() or y.all():
        raise ValueError(
            f"The {len(taught)} slices that teach the classifier have "
            f"{'no' if not y.any() else 'only'} lesion pixels: it needs both kinds."
        )
    with threadpool_limits(1):  # sums in one order, so the same model on any number of cores
        classifier = _classifier(name, len(y), seed).fit(x, y)
    model = PixelModel(
        name,
        classifier,
        smoothing,
        0.5 if name == "random_forest" else 0.0,
        len(taught),
        len(y),
        seed,
    )
    return replace(model, threshold=_best_threshold(model, held_back))


def classify_pixels(
    image: np.ndarray, brain: np.ndarray, model: PixelModel
) -> dict[str, np.ndarray]:
    """Score every pixel of the brain with a fitted model. Given the slice and the model.

    The scores (SVM: signed distance from the separating surface; forest: the trees' mean
    probability) are smoothed and cut as the model says.
    Fails where the neighbourhood does not say enough: it cannot know a ventricle by its place.
    """
    features = pixel_features(image, brain)
    score = _score(model, features, brain)
    smooth = filters.gaussian(score, model.smoothing)
    return {
        "grey value at 4 pixels": features[..., 8],
        "gradient at 2 pixels": features[..., 5],
        "depth in the brain": features[..., -1],
        "score": score,
        "smoothed score": smooth,
        "mask": brain & (smooth > model.threshold),
    }


def _check_training(images, masks, subjects) -> list[tuple[np.ndarray, np.ndarray, object]]:
    """(image, mask, subject) of each slice that is not constant."""
    subjects = range(len(images)) if subjects is None else subjects
    if not len(images) == len(masks) == len(subjects) or len(images) == 0:
        raise ValueError(
            f"{len(images)} slices, {len(masks)} masks and {len(subjects)} subjects: "
            "equally many are needed, and at least one."
        )
    slices = []
    for number, (image, mask, subject) in enumerate(zip(images, masks, subjects, strict=True)):
        image, mask = np.asarray(image), np.asarray(mask)
        if image.shape != mask.shape:
            raise ValueError(f"Training slice {number} is {image.shape} and its mask {mask.shape}.")
        if not np.isin(mask, (0, 1)).all():
            raise ValueError(
                f"The mask of training slice {number} has other labels than 0 and 1: "
                f"{np.setdiff1d(mask, (0, 1))[:3].tolist()}."
            )
        if is_constant(image):
            continue
        try:
            slices.append((check_image(image), mask > 0, subject))
        except ValueError as error:
            raise ValueError(f"Training slice {number}: {error}") from None
    if not slices:
        raise ValueError("Every training slice is constant: there is nothing to learn from.")
    return slices


def _hold_back(slices) -> tuple[list, list]:
    """(image, mask) of the subjects that teach, and of the last fifth, which does not."""
    subjects = list(dict.fromkeys(subject for *_, subject in slices))
    count = max(1, len(subjects) // 5) if len(subjects) >= 3 else 0
    last = subjects[len(subjects) - count :]
    return (
        [(image, mask) for image, mask, subject in slices if subject not in last],
        [(image, mask) for image, mask, subject in slices if subject in last],
    )


def _sample(
    lesion: np.ndarray, other: np.ndarray, most: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of at most `most` lesion pixels and as many others."""
    lesion = random.permutation(np.argwhere(lesion))[:most]
    other = random.permutation(np.argwhere(other))[: len(lesion) or most]
    return tuple(np.concatenate([lesion, other]).T)


def _classifier(name: str, pixels: int, seed: int) -> ClassifierMixin:
    if name == "random_forest":
        return RandomForestClassifier(
            100, min_samples_leaf=5, class_weight="balanced", random_state=seed
        )
    return make_pipeline(
        StandardScaler(),
        Nystroem(n_components=min(200, pixels), random_state=seed),
        LinearSVC(class_weight="balanced", random_state=seed),
    )


def _score(model: PixelModel, features: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """The classifier's score of every pixel; outside the brain the lowest within."""
    with threadpool_limits(1):
        if model.name == "random_forest":
            inside = model.classifier.predict_proba(features[brain])[:, 1]
        else:
            inside = model.classifier.decision_function(features[brain])
    score = np.full(brain.shape, inside.min(), np.float32)
    score[brain] = inside
    return score


def _best_threshold(model: PixelModel, held_back) -> float:
    """The threshold with the best mean Dice on slices with a lesion; else the model's own."""
    scored = []
    for image, mask in held_back:
        if mask.any():
            steps = classify_pixels(image, brain_mask(image), model)
            scored.append((steps["smoothed score"], mask))
    if not scored:
        return model.threshold
    candidates = np.quantile(
        np.concatenate([s.ravel() for s, _ in scored]), np.linspace(0.5, 0.999, 60)
    )
    dice = [
        np.mean(
            [
                2 * np.sum((score > level) & mask) / (np.sum(score > level) + mask.sum())
                for score, mask in scored
            ]
        )
        for level in candidates
    ]
    return float(candidates[int(np.argmax(dice))])

"""What lies around a brain: fluid, skull, scalp, face and neck; or what a tool left of them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ._anatomy import Person
from ._fields import logistic, smooth_field

EYES = ((-32.0, 62.0, -36.0), (32.0, 62.0, -36.0))  # mm of the template
# The muscle over each temple and down to the jaw: grey, smooth, as large as a lesion, and none.
TEMPLE, TEMPLE_HALF = (62.0, 12.0, -32.0), (18.0, 34.0, 42.0)  # mm: centre, and half axes


def wrapped(
    rng: np.random.Generator, picture: np.ndarray, person: Person, fluid: float
) -> np.ndarray:
    """The brain's picture with a whole head around it: white matter 1, air 0."""
    outside = -person.depth
    mottled, uneven, slow = (smooth_field(rng, width) for width in (7, 30, 45))
    fat = rng.uniform(0.7, 1.9)
    start = rng.uniform(0.5, 3) + 0.7 * uneven
    end = start + np.clip(rng.uniform(4, 8) + 1.3 * slow, 2, None)
    marrow = np.clip(1.2 - np.abs(outside - (start + end) / 2) / rng.uniform(1.5, 2.5), 0, 1)
    bone = rng.uniform(0.03, 0.15) + rng.uniform(0.1, 0.9) * marrow * (0.8 + 0.3 * mottled)
    scalp = fat * (0.85 + 0.12 * mottled)
    muscle = rng.uniform(0.4, 0.8) * (1 + 0.1 * mottled)
    # Below the brain all is a mosaic of muscle, fat, bone and air.
    mosaic = smooth_field(rng, rng.uniform(9, 16)) + 0.5 * smooth_field(rng, 6)
    deep = np.where(
        mosaic > 0.5, muscle, np.where(mosaic > -0.3, 0.8 * scalp, rng.uniform(0.02, 0.3))
    )
    soft = np.where(
        (person.skin > rng.uniform(5, 9)), np.where(mosaic > -0.2, muscle, scalp), scalp
    )
    layers = np.where(outside < start, fluid, np.where(outside < end, bone, soft))
    below = person.places[2] < -20 - 0.35 * np.abs(person.places[1] + 20)
    layers = np.where(below & (outside > start + 2), deep, layers)
    for eye in EYES:
        off = person.places - np.array(eye, np.float32).reshape(3, 1, 1, 1)
        ball = logistic(11.5 - np.sqrt((off**2).sum(0)))
        layers = layers + ball * (fluid * rng.uniform(0.8, 1.2) - layers)
    layers = _with_temples(rng, layers, person, outside > end, muscle)
    skin = np.where(person.skin < rng.uniform(1, 4), rng.uniform(0.4, 1), 1)
    layers = layers * skin * np.clip(person.skin / 2 + 0.5, 0, 1)
    return picture + np.clip(layers, 0, None) * np.clip(1 - person.brain, 0, 1)


def _with_temples(
    rng: np.random.Generator,
    layers: np.ndarray,
    person: Person,
    beyond_bone: np.ndarray,
    muscle: np.ndarray,
) -> np.ndarray:
    """The same layers with the muscle of each temple, as thick as somebody's is."""
    fat = rng.uniform(2, 5)  # mm of skin and fat over it
    room = beyond_bone & (person.skin > fat)
    size = np.array(TEMPLE_HALF) * rng.uniform(0.8, 1.15, 3)
    grey = muscle * rng.uniform(0.85, 1.15)
    for side in (-1, 1):
        centre = np.array(TEMPLE) * (side, 1, 1) + rng.normal(0, 3, 3)
        off = (person.places - centre.reshape(3, 1, 1, 1)) / size.reshape(3, 1, 1, 1)
        inside = logistic(8 * (1 - np.sqrt((off**2).sum(0)))) * room
        layers = layers + inside * (grey - layers)
    return layers


def extracted(
    rng: np.random.Generator, picture: np.ndarray, person: Person, fluid: float
) -> np.ndarray:
    """The brain alone, as some tool cuts it out: too tight, too wide, or a little of both.

    Some keep the fluid around the brain, some follow the tissue into the sulci.
    """
    around = picture + fluid * np.clip(1 - person.brain, 0, 1)
    edge = rng.uniform(-3, 4) + rng.uniform(0, 2) * smooth_field(rng, 25)
    kept = person.depth > edge
    if rng.random() < 0.35:  # by brightness: what is dark near the surface is lost
        tissue = ndimage.gaussian_filter(picture, rng.uniform(0.5, 1.2))
        bright = tissue > fluid + rng.uniform(0.1, 0.4) * (1 - fluid)
        kept &= bright | (person.depth > rng.uniform(4, 14))
        kept = ndimage.binary_opening(kept)
    return np.where(kept, around, 0)


def defaced(rng: np.random.Generator, person: Person) -> np.ndarray:
    """Where a defacing tool set everything to zero: bool."""
    _, y, z = person.places
    brow, slope = rng.uniform(62, 76), rng.uniform(0.5, 1.6)
    cut = (y > brow + slope * (z + 18)) & (z < rng.uniform(0, 20))
    if rng.random() < 0.3:
        cut |= person.places[2] < rng.uniform(-75, -55)
    return cut & (person.depth < -1)

"""How a network reads a head: whole, or slice by slice, alone or with its neighbours.

For each, how a batch is cut from volumes, and how a volume's probabilities are put together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kenseg_utils.prediction.frames import SHAPE

if TYPE_CHECKING:
    from keras import Model

SIDE = max(SHAPE)  # slices of every plane are filled up to squares
SLICES = 12  # of each volume, to a batch
AT_LESION = 2 / 3  # of the patches of a head that has any


@dataclass(frozen=True)
class View:
    """A network's name in `networks`, its usual widths, and what it is shown."""

    network: str
    widths: tuple[int, ...]
    channels: int = 1  # neighbouring slices, the middle one being segmented
    planes: tuple[int, ...] = ()  # axes across which slices are cut; none: whole volumes
    reduce: int = 1  # 2: all but the ends at half the resolution
    patch: tuple[int, ...] | None = None  # voxels of what training cuts from volumes; None: all

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one thing that the network reads."""
        return (SIDE, SIDE, self.channels) if self.planes else (*SHAPE, 1)

    @property
    def training_shape(self) -> tuple[int, ...]:
        """Of one thing that the network learns from."""
        return (*self.patch, 1) if self.patch else self.input_shape

    def build(
        self, widths: tuple[int, ...] | None = None, shape: tuple[int, ...] | None = None
    ) -> Model:
        """The network, with one channel of probabilities; it reads `input_shape`, or `shape`."""
        from kenseg_utils import networks

        return networks.build(
            self.network,
            input_shape=shape or self.input_shape,
            classes=1,
            widths=widths or self.widths,
            **self.options,
        )

    @property
    def options(self) -> dict[str, int | str]:
        """What else `networks.build` is told.

        The 3-D network normalises by groups of channels; the slices' U-Net does so here, too.
        Without, at the rate that suits the other, both 2-D trainings ended in zeros everywhere.
        """
        if self.planes:
            return {"normalisation": "group"}
        return {"reduce": self.reduce} if self.reduce != 1 else {}

    def cut(
        self, images: np.ndarray, masks: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the network reads of volumes `(n, *SHAPE)`, and the masks that belong to it.

        Of slices, half hold lesion where there is one; of patches, two in three.
        """
        if self.patch:
            parts = [_patch(*head, self.patch, rng) for head in zip(images, masks)]
            seen = np.stack([image for image, _ in parts])
            told = np.stack([mask for _, mask in parts]).astype(np.float32)
            return seen[..., None], told[..., None]
        if not self.planes:
            return images[..., None], masks.astype(np.float32)[..., None]
        shown, truth = [], []
        for image, mask in zip(images, masks):
            for _ in range(SLICES):
                plane = int(rng.choice(self.planes))
                across = mask.any(tuple(k for k in range(3) if k != plane))
                hit = np.flatnonzero(across)
                at = (
                    rng.choice(hit)
                    if len(hit) and rng.random() < 0.5
                    else rng.integers(len(across))
                )
                shown.append(self._slabs(image, plane, np.array([at]))[0])
                truth.append(_square(np.take(mask, [at], plane), plane)[0])
        return np.stack(shown), np.stack(truth).astype(np.float32)[..., None]

    def probability(self, model: Any, image: np.ndarray, batch: int = 32) -> np.ndarray:
        """The lesion's probability in a volume of `SHAPE`: float32; the mean of all planes."""

        def ask(shown):
            return np.asarray(model.predict_on_batch(shown), np.float32)[..., 0]

        if not self.planes:
            return ask(image[None, ..., None].astype(np.float32))[0].astype(np.float32)
        total = np.zeros(SHAPE, np.float32)
        for plane in self.planes:
            count = SHAPE[plane]
            answers = []
            for start in range(0, count, batch):
                at = np.minimum(np.arange(start, start + batch), count - 1)  # one shape for all
                answers.append(ask(self._slabs(image, plane, at))[: count - start])
            sides = [n for axis, n in enumerate(SHAPE) if axis != plane]
            whole = np.concatenate(answers)[:, : sides[0], : sides[1]]
            total += np.moveaxis(whole, 0, plane)
        return total / len(self.planes)

    def _slabs(self, image: np.ndarray, plane: int, at: np.ndarray) -> np.ndarray:
        """Slices `at` across an axis with their neighbours: (n, SIDE, SIDE, channels)."""
        reach = self.channels // 2
        near = np.clip(at[:, None] + np.arange(-reach, reach + 1), 0, image.shape[plane] - 1)
        slices = [_square(np.take(image, near[:, k], plane), plane) for k in range(self.channels)]
        return np.stack(slices, -1).astype(np.float32)


def _patch(
    image: np.ndarray, mask: np.ndarray, size: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A patch of a head and its mask: somewhere over a voxel of lesion, or over one of the head."""
    lesion = mask.any() and rng.random() < AT_LESION
    inside = np.flatnonzero(mask if lesion else image > 0)
    voxel = rng.choice(inside) if len(inside) else rng.integers(image.size)
    start = np.array(np.unravel_index(voxel, image.shape)) - rng.integers(0, size)
    start = np.clip(start, 0, np.array(image.shape) - size)
    part = tuple(slice(low, low + n) for low, n in zip(start, size))
    return image[part], mask[part]


def _square(slices: np.ndarray, plane: int) -> np.ndarray:
    """Slices across an axis as (n, SIDE, SIDE), filled up with zeros."""
    slices = np.moveaxis(slices, plane, 0)
    return np.pad(slices, [(0, 0)] + [(0, SIDE - n) for n in slices.shape[1:]])


VIEWS = {
    "unet3d": View("unet3d", (16, 32, 64, 80, 80)),
    "unet3d_half": View("unet3d", (32, 64, 96, 128), reduce=2),
    "unet25d": View("unet", (32, 64, 128, 160), channels=5, planes=(0, 1, 2)),
    "unet2d": View("unet", (32, 64, 128, 160), planes=(2,)),
}

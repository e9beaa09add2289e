"""Prepared slices on disk, as training and evaluation take them: subsets, folds, batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from kenseg_utils import artifacts

from ._windows import Placement

# By the channels of a network's input: where along z, seen from its slice, those that it reads lie.
NEIGHBOURS = {1: (0,), 4: (-2, -1, 0, 1)}


@dataclass(frozen=True)
class SliceSet:
    """Slices of many subjects, memory-mapped: images, masks, and an index with a row a slice.

    `stored` is the key of the arrays in `folder`; `rows` are the positions in them that belong to
    this set, in order.
    `index` has subject, session, site, scan (what tells a session's scans apart), z, placement
    (top, left, height, width, source_height, source_width), scale_row and scale_column (stored
    pixels for one of the scan's, along each axis), voxel_ml (millilitres of the scan's voxel),
    lesion_pixels, lesion_rows and lesion_columns (the sides of the box around the slice's lesion),
    outside (share of the slice's lesion that the window misses) and the sides of the scan's own
    voxel, row_mm, column_mm, slice_mm.
    """

    folder: Path
    rows: np.ndarray
    index: pd.DataFrame
    protocol: str
    stored: str
    report: pd.DataFrame

    @property
    def key(self) -> str:
        """Names these very slices in this order, whichever way they were chosen."""
        return artifacts.key(stored=self.stored, rows=self.rows.tolist())

    @property
    def images(self) -> np.ndarray:
        """(n, H, W, channels) float16; reads them all, so prefer `batch` for large sets."""
        return self._take("images.npy", self.rows)

    @property
    def masks(self) -> np.ndarray:
        """(n, H, W) uint8; reads them all, so prefer `batch` for large sets."""
        return self._take("masks.npy", self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a slice."""
        return self._open("images.npy").shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, positions: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (float32) and masks (uint8) at some positions of this set."""
        rows = self.rows[np.asarray(positions)]
        return self._take("images.npy", rows).astype(np.float32), self._take("masks.npy", rows)

    def mask_blocks(self, size: int = 256) -> Iterator[np.ndarray]:
        """The masks in order, `size` slices at a time, so that little is in memory at once."""
        for start in range(0, len(self), size):
            yield self._take("masks.npy", self.rows[start : start + size])

    def placement(self, position: int) -> Placement:
        """Where the slice at `position` was cut from."""
        row = self.index.iloc[position]
        return Placement(
            int(row.top),
            int(row.left),
            int(row.height),
            int(row.width),
            (int(row.source_height), int(row.source_width)),
        )

    def subset(self, positions: Sequence[int] | np.ndarray) -> SliceSet:
        """The same set with fewer slices; nothing is copied."""
        chosen = np.asarray(positions)
        if chosen.dtype == bool:
            chosen = np.flatnonzero(chosen)
        return replace(
            self, rows=self.rows[chosen], index=self.index.iloc[chosen].reset_index(drop=True)
        )

    def of_subjects(self, subjects: Sequence[str]) -> SliceSet:
        """The slices of some subjects."""
        missing = set(subjects) - set(self.index.subject)
        if missing:
            raise ValueError(
                f"No slices of {sorted(missing)} in this set of "
                f"{self.index.subject.nunique()} subjects."
            )
        return self.subset(self.index.subject.isin(list(subjects)).to_numpy())

    def split(
        self, folds: int = 5, seed: int = 0, by: str = "subject"
    ) -> list[tuple[SliceSet, SliceSet]]:
        """Cross-validation by subject, never by slice: a list of (train, validation) sets.

        `by="site"` keeps whole sites together, the harder question.
        Raises ValueError where there are more folds than groups, or no such column in the index.
        """
        if by not in self.index:
            raise ValueError(
                f"by is {by!r}, and no column of the index: choose one of {', '.join(self.index)}."
            )
        groups = self.index[by].to_numpy()
        names = np.unique(groups)
        if len(names) < 2:
            raise ValueError(f"The set holds one {by} only, {names[0]}: two are needed to part.")
        if not artifacts.is_whole(folds) or not 2 <= folds <= len(names):
            raise ValueError(
                f"{folds!r} folds of {len(names)} {by}s: choose between 2 and {len(names)} folds."
            )
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise ValueError(f"seed is {seed!r}: give a whole number from 0 upwards.")
        order = np.random.default_rng(seed).permutation(names)
        held_out = [np.isin(groups, part) for part in np.array_split(order, folds)]
        return [(self.subset(~out), self.subset(out)) for out in held_out]

    def _open(self, name: str) -> np.ndarray:
        return np.load(self.folder / name, mmap_mode="r", allow_pickle=False)

    def _take(self, name: str, rows: np.ndarray) -> np.ndarray:
        stored = self._open(name)
        whole = len(rows) == len(stored) and (rows == np.arange(len(stored))).all()
        return stored if whole else stored[rows]

"""A phantom ATLAS release: synthetic heads with stroke lesions in the tree of ATLAS R2.0.

Everything here is synthetic; no person was scanned.
The heads derive from the MNI152 2009a template (its notice stands in the README that is written).
"""

from __future__ import annotations

import gzip
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from filelock import FileLock
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from kenseg_utils import __version__, artifacts, atlas, machine

from . import _head, _lesions, _paint

SITES = 8
# Raised by hand whenever the code behind `make_subject` gives other heads or lesions: it is part of
# the key under which a release is kept, and a test fails where output changes and it does not.
VERSION = 1
README = """Phantom ATLAS: SYNTHETIC images in the layout of ATLAS R2.0
=============================================================

No person was scanned for these files. Heads, lesions and masks were computed by kenseg_utils.
They are for teaching and for testing software, and say nothing about any patient.
They are not ATLAS, which is to be had from its authors under their terms.

The anatomy derives from the ICBM 2009a symmetric MNI152 template, which carries this notice:

Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University.
Permission to use, copy, modify, and distribute this software and its
documentation for any purpose and without fee is hereby granted, provided that
the above copyright notice appear in all copies. The authors and McGill
University make no representations about the suitability of this software for
any purpose. It is provided "as is" without express or implied warranty. The
authors are not responsible for any data loss, equipment damage, property loss,
or injury to subjects or patients resulting from the use or misuse of this
software.
"""


def make_subject(index: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict]:
    """Subject `index` of the release with this seed, whatever the release's size.

    Returns the T1w (197, 233, 189) uint8 or int16, its lesion mask uint8, and what was drawn.
    """
    with _one_thread():
        draws = _Draws.of(index, seed)
        warp = _head.draw_warp(draws.warp, draws.age, draws.wider_side)
        tissue = _head.grow_tissue(draws.folds, warp, draws.age)
        mask = _lesions.grow_mask(draws.growth, draws.plan, tissue)
        scanner = _head.draw_scanner(_site_stream(index, seed))
        brain = _head.clean_brain(draws.paint, tissue, scanner)
        _paint.paint_distractors(draws.paint, brain, tissue, draws.age, scanner.fluid)
        _paint.paint_lesions(draws.paint, brain, mask, tissue, scanner.fluid)
        head = _head.wrap_head(draws.paint, brain, tissue, warp, scanner)
        image = _head.scan(draws.paint, head, scanner)
    info = {
        "subject": subject_name(index),
        "site": site_name(index),
        "age": draws.age,
        "side": "L" if draws.plan.side < 0 else "R",
        "volume_ml": int(mask.sum()) / 1000,
    }
    return image, mask, info


def make_mask(index: int, seed: int = 0) -> np.ndarray:
    """The lesion mask of `make_subject(index, seed)` alone, several times as fast."""
    with _one_thread():
        draws = _Draws.of(index, seed)
        warp = _head.draw_warp(draws.warp, draws.age, draws.wider_side)
        tissue = _head.grow_tissue(draws.folds, warp, draws.age, draws.plan.box)
        return _lesions.grow_mask(draws.growth, draws.plan, tissue)


@dataclass(frozen=True)
class _Draws:
    """One subject's plan, and a stream of random numbers for each step that follows it."""

    plan: _lesions.Plan
    age: float
    warp: np.random.Generator
    folds: np.random.Generator
    growth: np.random.Generator
    paint: np.random.Generator

    @classmethod
    def of(cls, index: int, seed: int) -> _Draws:
        # A subject has a stream of its own, so that it does not depend on how many there are.
        streams = np.random.SeedSequence(seed, spawn_key=(index,)).spawn(5)
        first, *others = (np.random.default_rng(stream) for stream in streams)
        age = first.random()
        return cls(_lesions.draw_plan(first, _evenly(index, seed)), age, *others)

    @property
    def wider_side(self) -> float:
        """Lost tissue lets the ventricle beside it widen."""
        return self.plan.side * 0.5 * min(1, self.plan.volume / 1e5)


def _evenly(index: int, seed: int) -> np.ndarray:
    """Point `index` of a sequence that fills the unit cube evenly (Roberts' R3, shifted)."""
    root = 1.2207440846057596  # of x**4 = x + 1
    shift = np.random.default_rng([seed, 3]).random(3)
    return (shift + (index + 1) * root ** -np.arange(1.0, 4.0)) % 1


def _site_stream(index: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 17, index % SITES])


def site_name(index: int) -> str:
    return f"R{index % SITES + 1:03d}"


def subject_name(index: int) -> str:
    """What a release calls its subject of that number (0 is the first)."""
    return f"sub-r{index % SITES + 1:03d}s{index // SITES + 1:03d}"


def _one_thread():
    """One BLAS thread: sums in one order, so the same bytes whatever the number of workers."""
    return threadpool_limits(1)


def make_release(
    root: str | os.PathLike, n_subjects: int = 24, seed: int = 0, workers: int | None = None
) -> pd.DataFrame:
    """Write a phantom ATLAS R2.0 tree below `root` and return `atlas.find_scans(root)`.

    The same seed gives the same bytes whatever `workers` (None: a process a core), and the first
    subjects of a longer release are those of a shorter one. A subject's folder appears when it is
    whole, and whole ones are kept: start a killed run again, and it goes on. Where that was
    another seed's, choose another `root`.
    Raises ValueError for an `n_subjects` or a `workers` below one.
    """
    if n_subjects < 1:
        raise ValueError(f"n_subjects is {n_subjects}: a release needs at least one subject.")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}: give 1 or more, or None for a process a core.")
    root = artifacts.as_path(root)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".writing.lock"):
        for left_over in root.glob(".partial-*"):  # of a killed run
            shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()
        _check_seed(root, seed)
        missing = [i for i in range(n_subjects) if not _subject_folder(root, i).exists()]
        _write_subjects(missing, root, seed, workers or os.cpu_count() or 1)
    return atlas.find_scans(root)


def _check_seed(root: Path, seed: int) -> None:
    """Write the README with the seed in it; ValueError where it names another."""
    readme = root / "README.txt"
    text = f"{README}\nkenseg_utils {__version__}, phantom {VERSION}, seed {seed}\n"
    if readme.exists() and readme.read_text() != text:
        raise ValueError(
            f"{readme} is not that of a phantom with seed {seed}: subjects of two "
            "seeds or versions would mix there. Choose another folder."
        )
    with artifacts.write_aside(readme) as partial_file:
        partial_file.write_text(text)


def _write_subjects(indices: list[int], root: Path, seed: int, workers: int) -> None:
    workers = min(workers, len(indices)) or 1
    done = machine.side_by_side(write_subject, indices, workers, root, seed, in_order=True)
    for _ in tqdm(done, total=len(indices), desc="phantom", unit="subject", disable=not indices):
        pass


def _subject_folder(root: Path, index: int) -> Path:
    return root / "ATLAS_2" / "Training" / site_name(index) / subject_name(index)


def write_subject(index: int, root: str | os.PathLike, seed: int = 0) -> None:
    """Write one subject's T1w and mask into the release at `root`, whole or not at all."""
    root = artifacts.as_path(root)
    image, mask, _ = make_subject(index, seed)
    partial_folder = root / f".partial-{subject_name(index)}"
    anat = partial_folder / "ses-1" / "anat"
    anat.mkdir(parents=True)
    stem = f"{subject_name(index)}_ses-1_space-MNI152NLin2009aSym"
    _write_nifti(anat / f"{stem}_T1w.nii.gz", image)
    _write_nifti(anat / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", mask)
    target = _subject_folder(root, index)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial_folder, target)


def _write_nifti(path: Path, array: np.ndarray) -> None:
    """NIfTI-1 in MNI space; gzip without name or time, so that bytes depend on content only."""
    image = nib.Nifti1Image(array, _head.AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(_head.AFFINE, code="mni")
    image.set_qform(_head.AFFINE, code="mni")
    with open(path, "wb") as file:
        file.write(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
        file.flush()
        os.fsync(file.fileno())

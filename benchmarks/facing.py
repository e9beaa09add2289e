"""Learn from synthetic heads how one that looks to the front differs from one turned round.

    python benchmarks/facing.py --pool FOLDER --heads 1500 --real T1.nii.gz …

`--pool`: a folder of synthetic heads (`synthesis.fill_pool`), which are made where they lack.
Half of them are learned from, the others tell how well it does; so do `--real`, heads or brains.
Writes kenseg_utils/prediction/facing.tsv: a logistic regression's weights, in whole numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from nilearn import datasets
from scipy import ndimage
from sklearn.linear_model import LogisticRegression

from kenseg_utils.experiments import judging, synthesis
from kenseg_utils.prediction import _doubts, _facing, _looks, frames

PENALTY = 0.3  # small enough that weights do not chase single heads
SCALE = 10.0
TILTS = (-20, -10, 0, 10, 20)  # degrees, nodding


def learned(differences: np.ndarray) -> np.ndarray:
    """Weights (like one head's differences) by which heads (first axis) get more than 0."""
    flat = differences.reshape(len(differences), -1)
    both = np.concatenate([flat, -flat])
    told = np.repeat([1, 0], len(flat))
    fitted = LogisticRegression(C=1 / PENALTY, fit_intercept=False, max_iter=1000).fit(both, told)
    return np.rint(SCALE * fitted.coef_[0]).reshape(differences.shape[1:])


def differences(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """What is weighed of a scan, looked at as where it is doubted."""
    return _facing.differences(*_looks.blocks_of(image, affine, _doubts.BLOCKS_MM))


def nodding(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """`differences` of a scan whose head nods by each of `TILTS`."""
    turned = (
        ndimage.rotate(image, angle, (1, 2), reshape=False, order=1, cval=image.min())
        for angle in TILTS
    )
    return np.stack([differences(one, affine) for one in turned])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--heads", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    pool = synthesis.fill_pool(given.pool, given.heads, given.workers, given.seed)
    affine = np.diag([frames.SPACING] * 3 + [1.0])
    seen = np.stack([differences(image.astype(np.float32), affine) for image in pool.images])
    weights = learned(seen[::2])
    np.savetxt(_facing.WEIGHTS, weights, "%d", delimiter="\t")
    said = (weights * seen[1::2]).sum((1, 2))
    print(f"{len(said)} synthetic heads that were not learned from:")
    for share in (0, 0.1, 0.5, 1, 2, 5, 50):
        print(f"  {share:g} % say less than {np.percentile(said, share):.1f}")
    print(f"  as it is, taken to look back: {(said < _facing.BACKWARDS).mean():.4f}")
    print(f"  turned round, told: {(-said < _facing.BACKWARDS).mean():.4f}")
    template = datasets.load_mni152_template(resolution=1)
    scans = {"MNI152 template": (template.get_fdata(dtype=np.float32), template.affine)}
    scans |= {file.name: judging.opened(file) for file in given.real}
    print(f"Nodding by {TILTS} degrees:")
    for name, scan in scans.items():
        said = (weights * nodding(*scan)).sum((1, 2))
        print(f"  {name}:", " ".join(f"{value:.1f}" for value in said))


if __name__ == "__main__":
    main()

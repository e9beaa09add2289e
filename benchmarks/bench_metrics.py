"""Scoring whole masks with every score, on one core; target: 2 volumes a second within 1 GiB.

Phantom lesions against predictions made from them by shifting, growing or shrinking, adding false
alarms and leaving lesions out, and a soft map of each; `--subjects 955` scores as many pairs as the
largest ATLAS release has subjects. Every pair gets all of `metrics.lesion_scores`, PR-AUC and
calibration.
Processor time counts, of one process with one thread; making the pairs is not part of it.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time

import numpy as np
import psutil
from common import save
from scipy import ndimage
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from kenseg_utils import metrics, phantom
from kenseg_utils.anatomy import box_around

SUBJECTS = 120  # each lesion three times: a minute or two
SPACING = (1.0, 1.0, 1.0)


def imagined_prediction(truth: np.ndarray, random: np.random.Generator):
    """What a middling network might give for a mask: a mask of its shape, and its soft map."""
    box = box_around(truth, 8)
    near = np.roll(truth[box], random.integers(-2, 3, 3), axis=(0, 1, 2))
    change = (ndimage.binary_erosion, ndimage.binary_dilation)[random.integers(2)]
    near = change(near, iterations=int(random.integers(1, 3)))
    soft = np.zeros(truth.shape, np.float32)
    soft[box] = ndimage.gaussian_filter(near.astype(np.float32), 1.5)
    for _ in range(random.integers(0, 12)):  # false alarms anywhere
        low = random.integers(0, np.subtract(truth.shape, 12))
        soft[tuple(map(slice, low, low + random.integers(1, 12, 3)))] = random.uniform(0.2, 1)
    soft += random.random(truth.shape, dtype=np.float32) * np.float32(0.02)  # softmax is never 0
    return soft >= 0.5, np.clip(soft, 0, 1)


def all_scores(truth: np.ndarray, prediction: np.ndarray, soft: np.ndarray) -> dict:
    """Every score that the package has for a volume."""
    return metrics.lesion_scores(truth, prediction, SPACING) | dict(
        pr_auc=metrics.pr_auc(truth, soft), calibration_error=metrics.calibration_error(truth, soft)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=SUBJECTS)
    parser.add_argument("--masks", type=int, default=40, help="different phantom lesions")
    arguments = parser.parse_args()
    random, seconds, masks_alone = np.random.default_rng(0), [], []
    with threadpool_limits(1):
        truths = [
            np.packbits(phantom.make_mask(index), axis=None)  # an eighth of the memory
            for index in tqdm(range(arguments.masks), desc="phantom lesions")
        ]
        shape = phantom.make_mask(0).shape
        before = psutil.Process().memory_info().rss
        for number in tqdm(range(arguments.subjects), desc="scores"):
            bits = truths[number % arguments.masks]
            truth = np.unpackbits(bits, count=np.prod(shape)).reshape(shape)
            prediction, soft = imagined_prediction(truth, random)
            begun = time.process_time()
            metrics.lesion_scores(truth, prediction, SPACING)
            masks_alone.append(time.process_time() - begun)
            begun = time.process_time()
            all_scores(truth, prediction, soft)
            seconds.append(time.process_time() - begun)
    save(
        "metrics",
        {
            "volumes": len(seconds),
            "different_lesions": arguments.masks,
            "volumes_a_second_a_core": len(seconds) / sum(seconds),
            "seconds_a_volume": statistics.mean(seconds),
            "seconds_slowest_volume": max(seconds),
            "volumes_a_second_masks_alone": len(masks_alone) / sum(masks_alone),
            "peak_process_mib": _peak_bytes() / 2**20,
            "before_scoring_mib": before / 2**20,
            "target_volumes_a_second": 2.0,
            "target_mib": 1024.0,
        },
    )


def _peak_bytes() -> int:
    """The most memory that this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()

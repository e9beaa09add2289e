"""Seconds a phantom volume takes on one core, from random numbers to .nii.gz; target: 3.

One process with one thread writes a release; processor time counts, since other processes on
the machine would be counted by the clock. The template is read once a process: told apart.
"""

from __future__ import annotations

import statistics
import tempfile
import time

from common import save
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from kenseg_utils import phantom

SUBJECTS = 16


def main() -> None:
    begun = time.process_time()
    phantom.template()
    template = time.process_time() - begun
    volumes, masks = [], []
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        for index in tqdm(range(SUBJECTS), desc="phantom"):
            begun = time.process_time()
            phantom.write_subject(index, folder, seed=0)
            volumes.append(time.process_time() - begun)
            begun = time.process_time()
            phantom.make_mask(index, seed=0)
            masks.append(time.process_time() - begun)
    save(
        "phantom",
        {
            "volumes": SUBJECTS,
            "seconds_a_volume": statistics.mean(volumes),
            "seconds_slowest_volume": max(volumes),
            "seconds_a_mask_alone": statistics.mean(masks),
            "seconds_template_a_process": template,
            "target_seconds_a_volume": 3.0,
        },
    )


if __name__ == "__main__":
    main()

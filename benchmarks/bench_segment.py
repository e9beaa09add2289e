"""A whole volume, 197×233×189 voxels: prediction beside MONAI's slice inferer.

The same UNet++ convolutions on both sides, widths 32 … 512, bfloat16, untrained; ours with batch
normalisation, MONAI's too (its default, instance normalisation, is slower). Both see each slice in
a frame of 208×240. Ours leaves out slices without head, as it does for every scan, and its first
round includes tracing the network. `--mirrored` adds the second look that `segment_volume` takes by
default, which MONAI's does not.
MONAI comes with `pip install -e .[peers]`; without it only our own figures are written.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
from common import medians, paired_rounds, save

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WIDTHS, BATCH = (32, 64, 128, 256, 512), 16


def ours(image, affine, flips):
    """Probabilities of a volume by `prediction.lesion_probability`."""
    from kenseg_utils import machine, prediction, training

    machine.spare_graph_optimisers()
    recipe = training.Recipe.paper(
        network="unetpp",
        widths=WIDTHS,
        precision="mixed_bfloat16",
        options=dict(normalisation="batch"),
    )
    model = training.build(recipe, (128, 128, 1))
    return lambda: prediction.lesion_probability(
        model, image, affine, BATCH, flips=flips, inside_brain=False
    )


def theirs(image):
    """Probabilities of a volume by MONAI's SliceInferer, in bfloat16, channels last."""
    import torch
    from monai.inferers import SliceInferer
    from monai.networks.nets import BasicUNetPlusPlus

    model = BasicUNetPlusPlus(2, 1, 2, features=(*WIDTHS, WIDTHS[0]), norm="batch").eval()
    model = model.to(memory_format=torch.channels_last)
    volume = (image - image.mean()) / image.std()
    volume = torch.from_numpy(volume[None, None].astype(np.float32))
    slices = SliceInferer(roi_size=(208, 240), sw_batch_size=BATCH, spatial_dim=2)

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return (
                slices(
                    volume,
                    lambda x: model(x.contiguous(memory_format=torch.channels_last))[0].softmax(1),
                )
                .float()
                .numpy()
            )

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=None, help="only so many, from the middle")
    parser.add_argument("--mirrored", action="store_true", help="also the mirrored second look")
    arguments = parser.parse_args()
    from kenseg_utils import anatomy, atlas, prediction, profiles

    scans = profiles.open_scans(profiles.get("smoke"))
    scan = atlas.load_scan(scans.iloc[0])
    image, spare = scan.image, scan.image.shape[2] - (arguments.slices or scan.image.shape[2])
    if spare:
        image = image[:, :, spare // 2 : spare // 2 + arguments.slices]
    grid = prediction.WorkingGrid.of(image, scan.affine)
    shown = len(anatomy.slices_to_segment(grid.there(image)))
    contenders = {"kenseg_utils": ours(image, scan.affine, False)}
    if arguments.mirrored:
        contenders["kenseg_utils, mirrored too"] = ours(image, scan.affine, True)
    try:
        import monai

        contenders[f"MONAI {monai.__version__}"] = theirs(image)
    except ImportError:
        print("MONAI is not installed: measuring kenseg_utils alone (pip install -e .[peers]).")
    seconds = paired_rounds(contenders, arguments.rounds)
    middle = medians(seconds)
    result = {
        "what": "whole-volume segmentation",
        "shape": list(image.shape),
        "slices_shown": shown,
        "widths": WIDTHS,
        "batch": BATCH,
        "precision": "bfloat16",
        "seconds": seconds,
        "seconds_a_volume": middle,
    }
    peers = [value for name, value in middle.items() if name.startswith("MONAI")]
    if peers:
        result["ratio"] = peers[0] / middle["kenseg_utils"]
    save("segment_volume", result)


if __name__ == "__main__":
    main()

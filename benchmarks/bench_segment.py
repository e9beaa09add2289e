"""A whole volume, 197×233×189 voxels: prediction beside MONAI's slice inferer.

The same UNet++ convolutions on both sides, widths 32 … 512, untrained, in the same number format
(bfloat16 where the processor has it; float32 elsewhere and with BFLOAT16=off); ours with batch
normalisation, MONAI's too (its default, instance normalisation, is slower). Both see each slice in
a frame of 208×240. Ours leaves out slices without head, as it does for every scan, and its first
round includes tracing the network. `--mirrored` adds the second look that `segment_volume` takes by
default, which MONAI's does not.
`--heads` measures something else: how long and with how much memory a whole head of 1 mm (188 × 256
× 190) takes from the start of a process to its mask, by the command line and an untrained 3-D
network with its second look: by TensorFlow, and by ONNX without it.
MONAI comes with `pip install -e .[peers]`; without it only our own figures are written.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import medians, monai_if_there, named, products_of_a_slice, rounds_under_roof, save

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WIDTHS, BATCH, FRAME = (32, 64, 128, 256, 512), 16, (208, 240)


def ours(image, affine, flips, precision):
    """Probabilities of a volume by `prediction.lesion_probability`."""
    from kenseg_utils import machine, prediction, training

    machine.spare_graph_optimisers()
    recipe = training.Recipe.paper(
        network="unetpp", widths=WIDTHS, precision=precision, options=dict(normalisation="batch")
    )
    model = training.build(recipe, (128, 128, 1))
    return lambda: prediction.lesion_probability(
        model, image, affine, BATCH, flips=flips, inside_brain=False
    )


def theirs(image, precision):
    """Probabilities of a volume by MONAI's SliceInferer, channels last."""
    import torch
    from monai.inferers import SliceInferer
    from monai.networks.nets import BasicUNetPlusPlus

    model = BasicUNetPlusPlus(2, 1, 2, features=(*WIDTHS, WIDTHS[0]), norm="batch").eval()
    model = model.to(memory_format=torch.channels_last)
    volume = (image - image.mean()) / image.std()
    volume = torch.from_numpy(volume[None, None].astype(np.float32))
    half = precision == "mixed_bfloat16"
    slices = SliceInferer(roi_size=FRAME, sw_batch_size=BATCH, spatial_dim=2)

    def run():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            return (
                slices(
                    volume,
                    lambda x: model(x.contiguous(memory_format=torch.channels_last))[0].softmax(1),
                )
                .float()
                .numpy()
            )

    return run


HEAD = (188, 256, 190)
_UNTRAINED = """
import sys
import keras
from kenseg_utils import networks
from kenseg_utils.prediction import export
keras.utils.set_random_seed(0)
model = networks.build("unet3d")
model.save(f"{sys.argv[1]}/net.keras")
export.to_onnx(model, f"{sys.argv[1]}/net.onnx", half=True)
"""


def heads(rounds: int) -> None:
    """A process for each whole head: seconds from its start, processor seconds, and peak memory."""
    import nibabel
    from nilearn import datasets

    template = datasets.load_mni152_template(resolution=1)
    image = template.get_fdata(dtype=np.float32)
    sides = [(want - have) // 2 for want, have in zip(HEAD, image.shape)]
    image = np.pad(image, [(max(s, 0), max(s, 0)) for s in sides])
    image = image[tuple(slice(max(-s, 0), max(-s, 0) + n) for s, n in zip(sides, HEAD))]
    image = np.pad(image, [(0, want - have) for want, have in zip(HEAD, image.shape)])
    rows: dict[str, list[dict[str, float]]] = {"TensorFlow": [], "ONNX": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nibabel.save(nibabel.Nifti1Image(image, template.affine), folder / "head.nii.gz")
        # In a process of its own: what this one has in memory would count as its children's.
        subprocess.run([sys.executable, "-c", _UNTRAINED, name], check=True)
        for _ in range(rounds):
            for way, file in (("TensorFlow", "net.keras"), ("ONNX", "net.onnx")):
                rows[way].append(_one_head(folder, file))
    save(
        "segment_head",
        {
            "what": "a whole head, from the start of the process to the mask in its file",
            "shape": list(HEAD),
            "network": "unet3d, untrained, float32, asked twice",
            "rounds": rows,
            **{
                f"{key}, {way}": medians({way: [row[key] for row in found]})[way]
                for way, found in rows.items()
                for key in ("seconds", "processor seconds", "peak MB", "seconds to the first step")
            },
        },
    )


def _one_head(folder: Path, network: str) -> dict[str, float]:
    """One run of the command line."""
    command = [sys.executable, "-m", "kenseg_utils.prediction", folder / "head.nii.gz"]
    command += [folder / "mask.nii.gz", "--replace", "--force", "--network", folder / network]
    begun = time.perf_counter()
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        first = 0.0
        for line in process.stderr:
            if not first and ": reading" in line:
                first = time.perf_counter() - begun
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{network}: the command ended with {process.returncode}.")
    return {
        "seconds": time.perf_counter() - begun,
        "seconds to the first step": first,
        "processor seconds": used.ru_utime + used.ru_stime,
        "peak MB": used.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=None, help="only so many, from the middle")
    parser.add_argument("--mirrored", action="store_true", help="also the mirrored second look")
    parser.add_argument("--heads", action="store_true", help="whole heads by the command line")
    arguments = parser.parse_args()
    if arguments.heads:
        heads(arguments.rounds)
        return
    monai = monai_if_there()
    from kenseg_utils import anatomy, atlas, machine, prediction, profiles

    scans = profiles.open_scans(profiles.get("smoke"))
    scan = atlas.load_scan(scans.iloc[0])
    image, spare = scan.image, scan.image.shape[2] - (arguments.slices or scan.image.shape[2])
    if spare:
        image = image[:, :, spare // 2 : spare // 2 + arguments.slices]
    grid = prediction.WorkingGrid.of(image, scan.affine)
    shown = len(anatomy.slices_to_segment(grid.there(image)))
    precision = machine.choose_precision()
    contenders = {"kenseg_utils": ours(image, scan.affine, False, precision)}
    if arguments.mirrored:
        contenders["kenseg_utils, mirrored too"] = ours(image, scan.affine, True, precision)
    if monai:
        contenders[f"MONAI {monai.__version__}"] = theirs(image, precision)
    a_slice = products_of_a_slice(WIDTHS, *FRAME, monai=monai is not None)
    looks = {
        name: image.shape[2] if name.startswith("MONAI") else shown * (1 + ("mirrored" in name))
        for name in contenders
    }
    products = {name: count * a_slice[name.split()[0].strip(",")] for name, count in looks.items()}
    seconds, roof = rounds_under_roof(contenders, products, precision, rounds=arguments.rounds)
    middle = medians(seconds)
    result = {
        "what": "whole-volume segmentation",
        "shape": list(image.shape),
        "slices_shown": shown,
        "widths": WIDTHS,
        "batch": BATCH,
        "precision": precision,
        "seconds": seconds,
        "seconds_a_volume": middle,
        "multiply_adds_of_a_slice": a_slice,
        **roof,
    }
    peers = [value for name, value in middle.items() if name.startswith("MONAI")]
    if peers:
        result["ratio"] = peers[0] / middle["kenseg_utils"]
    save(named("segment_volume", precision), result)


if __name__ == "__main__":
    main()

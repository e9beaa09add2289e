"""Training speed on whatever device there is, made for a GPU: the paper's network beside MONAI's.

    KERAS_BACKEND=jax python benchmarks/bench_gpu.py
    python benchmarks/bench_gpu.py --batches 1 16 --precisions mixed_bfloat16 --minutes 1

A row is one network, number format and batch. Each has a process of its own and so many seconds;
it is printed and saved as soon as it is there, and one that fails or takes too long says so while
the others go on. Compiling and running are timed apart. Ours runs many steps in one compiled loop
over slices that lie on the device; MONAI's `BasicUNetPlusPlus`, channels last, with `torch.compile`
and without, has its batch there too. `share_of_matrix_peak` is that of the multiply-adds a second
that a product of two large matrices reaches on the same device in the same format: how far below
the roofline a row is. On a CPU it measures batch 1 and 16 in float32 with narrower networks, and
`torch.compile`, which takes minutes there, only where --networks asks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from common import RESULTS, matrix_product

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # rows and PyTorch share the card
SIDE, SLICES, EPOCHS = 128, int(655 * 189 * 0.8), 40  # ATLAS R2.0, four fifths to train on
OURS = ("ken_unetpp", "unetpp")
THEIRS = ("monai", "monai_compiled")
# What is measured unless asked otherwise. Without units of its own for bfloat16, a processor takes
# minutes for what says nothing, and minutes to compile MONAI's.
ON_GPU = dict(
    widths=(32, 64, 128, 256, 512),
    precisions=("mixed_bfloat16", "float32"),
    batches=(1, 16, 64),
    theirs=THEIRS,
    limit=180,
    minutes=20,
)
ON_CPU = dict(
    widths=(8, 16, 32, 64, 128),
    precisions=("float32",),
    batches=(1, 16),
    theirs=THEIRS[:1],
    limit=60,
    minutes=4,
)
MARK = "row: "  # before a row's JSON, among whatever libraries print


@dataclass(frozen=True)
class Row:
    """What one process measures: `network` is one of OURS, THEIRS, or "peak", the matrix product.

    `seconds`: of running, about, after compiling.
    """

    network: str
    precision: str
    batch: int = 0
    widths: tuple[int, ...] = ()
    seconds: float = 2.0

    @property
    def title(self) -> str:
        """Its name in a line."""
        batch = f", batch {self.batch}" if self.batch else ""
        return f"{self.network}, {self.precision}{batch}"


def rows_of(
    networks: Sequence[str],
    precisions: Sequence[str],
    batches: Sequence[int],
    widths: Sequence[int],
    seconds: float,
    peaks: bool = True,
) -> list[Row]:
    """By format, then batch, then network, so that a short run can compare; then the peaks."""
    rows = [
        Row(network, precision, batch, tuple(widths), seconds)
        for precision in precisions
        for batch in batches
        for network in networks
    ]
    if not peaks:
        return rows
    return rows + [Row("peak", precision, seconds=seconds) for precision in precisions]


# --- In a row's own process ----------------------------------------------------------------------


def measure(row: Row) -> dict:
    """A row's numbers, measured here and now."""
    if row.network == "peak":
        found = measure_peak(row)
    elif row.network in THEIRS:
        found = measure_theirs(row)
    else:
        found = measure_ours(row)
    return asdict(row) | found


def rate_of(run: Callable[[int], None], seconds: float, rounds: int = 3) -> float:
    """Steps a second of `run(steps)`, the median of rounds that take `seconds` together."""
    steps, took = 1, 0.0
    while took < seconds / rounds / 4:  # how many steps fill a round
        steps = steps * 4 if took else 1
        begun = time.perf_counter()
        run(steps)
        took = time.perf_counter() - begun
    steps = max(1, round(steps * seconds / rounds / took))
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run(steps)
        times.append(time.perf_counter() - begun)
    return steps / statistics.median(times)


def measure_peak(row: Row) -> dict:
    """Multiply-adds a second of a product of two large matrices."""
    from kenseg_utils import machine

    size = 8192 if machine.device().startswith("GPU") else 1024
    run = matrix_product(row.precision.removeprefix("mixed_"), size)
    return dict(multiply_adds_per_second=rate_of(run, row.seconds) * size**3) | about()


def batch_of(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Images (batch, H, W, 1) and labels (batch, H, W) with nothing in them but noise."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(row.batch, SIDE, SIDE, 1)).astype(np.float32)
    return images, (rng.random((row.batch, SIDE, SIDE)) > 0.9).astype(np.int32)


def measure_ours(row: Row) -> dict:
    """Our network in the compiled loop, over slices that lie on the device."""
    from kenseg_utils import machine, networks, training

    machine.spare_graph_optimisers()
    options = dict(normalisation="batch") if row.network == "unetpp" else {}
    recipe = training.Recipe.paper(
        network=row.network,
        widths=row.widths,
        precision=row.precision,
        batch_size=row.batch,
        loss="cross_entropy_dice",
        learning_rate=1e-4,
        options=options,
    )
    model = training.build(recipe, (SIDE, SIDE, 1))
    steps = training.compile_steps(model)
    images, labels = batch_of(row)
    arrays = training.place(images.astype(np.float16), labels.astype(np.uint8))
    most = 4096
    rows = np.zeros((most, row.batch), np.int32) + np.arange(row.batch, dtype=np.int32)

    def run(count: int) -> None:
        for start in range(0, count, most):
            steps.take(*arrays, rows, min(most, count - start))

    begun = time.perf_counter()
    run(1)
    compiling = time.perf_counter() - begun
    rate = rate_of(run, row.seconds)
    forward = networks.multiply_adds(model)
    return speeds(row, rate, compiling, forward) | dict(parameters=model.count_params()) | about()


def measure_theirs(row: Row) -> dict:
    """MONAI's UNet++, channels last, its batch on the device."""
    import monai
    import torch
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNetPlusPlus

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    model = BasicUNetPlusPlus(2, 1, 2, features=(*row.widths, row.widths[0]), norm="batch")
    parameters = sum(weight.numel() for weight in model.parameters())
    model = model.to(device, memory_format=torch.channels_last)
    call = torch.compile(model) if row.network == "monai_compiled" else model
    optimiser = torch.optim.AdamW(
        model.parameters(), 1e-4, weight_decay=1e-4, fused=device == "cuda"
    )
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    images, labels = batch_of(row)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels[:, None]).to(device)
    half = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(row.precision)

    def run(count: int) -> None:
        for _ in range(count):
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(device, half, enabled=half is not None):
                answer = call(x)[0]
            loss = loss_function(answer.float(), y)
            loss.backward()
            optimiser.step()
        float(loss)  # waits until all is done

    begun = time.perf_counter()
    run(1)
    compiling = time.perf_counter() - begun
    run(2)
    rate = rate_of(run, row.seconds)
    told = dict(parameters=parameters, monai=monai.__version__, torch=torch.__version__)
    return speeds(row, rate, compiling) | told | about()


def speeds(row: Row, rate: float, compiling: float, forward: int | None = None) -> dict:
    """What a rate in steps a second means."""
    images = rate * row.batch
    return dict(
        steps_per_second=rate,
        images_per_second=images,
        compile_seconds=compiling,
        multiply_adds_forward=forward,
        minutes_of_the_paper=SLICES * EPOCHS / images / 60,
    )


def about() -> dict:
    """The device and its provenance, as this process sees them."""
    import psutil

    from kenseg_utils import training

    return dict(provenance=training.provenance(load_average=psutil.getloadavg()))


# --- In the process that asks --------------------------------------------------------------------


def measure_apart(row: Row, limit: float) -> dict:
    """A row measured in a process of its own within `limit` seconds; what went wrong is a row too.

    Whatever it has started ends with it.
    """
    with subprocess.Popen(
        [sys.executable, __file__, "--row", json.dumps(asdict(row))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            told, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return asdict(row) | dict(error=f"not done after {limit:.0f} s")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    found = [line for line in told.splitlines() if line.startswith(MARK)]
    if process.returncode or not found:
        last = [line for line in told.splitlines() if line.strip()][-1:] or ["nothing said"]
        return asdict(row) | dict(error=f"exit status {process.returncode}: {last[0][-300:]}")
    return json.loads(found[-1].removeprefix(MARK))


def merge(before: dict, fresh: Sequence[dict], widths: Sequence[int]) -> dict:
    """What is saved: fresh rows, and those of an earlier call on the same device and widths.

    `before` is what was saved there ({} for nothing). Ours get their share of the matrix peak: a
    backward pass takes about twice the forward pass's products. `ratio_to_monai` has images a
    second of our UNet++ over the quicker of MONAI's, by format and batch.
    """
    abouts = [row["provenance"] for row in fresh if "provenance" in row]
    provenance = abouts[-1] if abouts else before.get("provenance", {})
    if not _same_place(before, provenance, widths):
        before = {}
    peaks = before.get("matrix_peak_multiply_adds", {}) | {
        row["precision"]: row["multiply_adds_per_second"]
        for row in fresh
        if row["network"] == "peak" and "error" not in row
    }
    rows = {_name(row): row for row in before.get("rows", ())}
    for row in fresh:
        if row["network"] != "peak" and not (
            "error" in row and "error" not in rows.get(_name(row), row)
        ):
            rows[_name(row)] = {name: value for name, value in row.items() if name != "provenance"}
    for row in rows.values():
        if row.get("multiply_adds_forward") and row["precision"] in peaks:
            products = 3 * row["multiply_adds_forward"] * row["images_per_second"]
            row["share_of_matrix_peak"] = products / peaks[row["precision"]]
    return dict(
        what="training speed by device",
        network="ken_unetpp",
        widths=list(widths),
        side=SIDE,
        matrix_peak_multiply_adds=peaks,
        slices_an_epoch=SLICES,
        epochs=EPOCHS,
        rows=list(rows.values()),
        ratio_to_monai=_ratios(rows),
        provenance=provenance,
    )


def _name(row: dict) -> tuple[str, str, int]:
    return row["network"], row["precision"], row["batch"]


def _same_place(before: dict, provenance: dict, widths: Sequence[int]) -> bool:
    there = before.get("provenance", {})
    return before.get("widths") == list(widths) and all(
        there.get(name) == provenance.get(name) for name in ("device", "backend", "cores", "commit")
    )


def _ratios(rows: dict[tuple, dict]) -> dict[str, float]:
    found = {}
    for (network, precision, batch), row in rows.items():
        there = [
            other["images_per_second"]
            for name in THEIRS
            if "images_per_second" in (other := rows.get((name, precision, batch), {}))
        ]
        if network == "unetpp" and "images_per_second" in row and there:
            found[f"{precision}, batch {batch}"] = row["images_per_second"] / max(there)
    return found


def line_of(row: dict, seconds: float) -> str:
    """A row as it is printed."""
    if "error" in row:
        told = row["error"]
    elif row["network"] == "peak":
        told = f"{row['multiply_adds_per_second'] / 1e12:.3g} tera multiply-adds a second"
    else:
        told = (
            f"{row['steps_per_second']:.1f} steps a second, "
            f"{row['images_per_second']:.1f} images a second, compiled in "
            f"{row['compile_seconds']:.0f} s"
        )
    wanted = Row(**{name: row[name] for name in ("network", "precision", "batch")})
    return f"{wanted.title}: {told} ({seconds:.0f} s in all)"


def open_rows(
    rows: Sequence[Row],
    path: Callable[[dict], Path],
    widths: Sequence[int],
    limit: float,
    deadline: float,
    measure: Callable[[Row, float], dict] = measure_apart,
) -> list[dict]:
    """Measure rows until `deadline` (Unix time), each within `limit` seconds, saving as they come.

    What there was no time for is left out, and said.
    """
    from kenseg_utils import artifacts

    done: list[dict] = []
    for number, row in enumerate(rows):
        left = min(limit, deadline - time.time())
        if left <= 0:
            print(f"time is up: {len(rows) - number} rows are left out", flush=True)
            break
        begun = time.perf_counter()
        done.append(measure(row, left))
        print(line_of(done[-1], time.perf_counter() - begun), flush=True)
        about = next((one["provenance"] for one in done if "provenance" in one), None)
        if about:  # a device has told its name
            there = path(about)
            before = json.loads(there.read_text()) if there.exists() else {}
            artifacts.write_json(there, merge(before, done, widths))
    return done


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="+", help="default: the paper's on a GPU")
    parser.add_argument("--networks", nargs="+", choices=(*OURS, *THEIRS))
    parser.add_argument(
        "--precisions", nargs="+", help="default: mixed_bfloat16 float32, on a CPU float32"
    )
    parser.add_argument("--batches", type=int, nargs="+", help="default: 1 16 64, on a CPU 1 16")
    parser.add_argument(
        "--peaks", action=argparse.BooleanOptionalAction, default=True, help="the matrix product"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of running a row")
    parser.add_argument(
        "--limit", type=float, help="seconds a row may take in all (default: 180, on a CPU 60)"
    )
    parser.add_argument(
        "--minutes", type=float, help="all rows may take together (default: 20, on a CPU 4)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.row:
        row = json.loads(given.row)
        found = measure(Row(**row | dict(widths=tuple(row["widths"]))))
        print(MARK + json.dumps(found), flush=True)
        return
    usual = ON_GPU if _has_gpu() else ON_CPU
    deadline = time.time() + 60 * (given.minutes or usual["minutes"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a row ends with it
    names = given.networks or [*OURS, *(usual["theirs"] if find_spec("monai") else ())]
    if not given.networks and not find_spec("monai"):
        print("MONAI is not installed: measuring kenseg_utils alone (pip install -e .[peers]).")
    widths = given.widths or usual["widths"]
    open_rows(
        rows_of(
            names,
            given.precisions or usual["precisions"],
            given.batches or usual["batches"],
            widths,
            given.seconds,
            given.peaks,
        ),
        lambda about: (
            given.results / f"device_{'gpu' if about['device'].startswith('GPU') else 'cpu'}"
            f"_{about['backend']}.json"
        ),
        widths,
        given.limit or usual["limit"],
        deadline,
    )


def _has_gpu() -> bool:
    """Whether there is an NVIDIA GPU; asked of the driver, for a framework would take memory."""
    try:
        asked = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and "GPU" in asked.stdout


if __name__ == "__main__":
    main()

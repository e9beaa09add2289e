"""Training steps: beside MONAI's, one or several at once, of heads, by kernels, the first; waits.

Beside MONAI: widths 32 … 512, batch 8, 128×128, the same convolutions, Adam, cross-entropy plus
Dice, the same number format on both sides (bfloat16 where the processor has it; float32 elsewhere
and with BFLOAT16=off); ours with batch normalisation (MONAI: instance normalisation, its own
choice, and batch normalisation). MONAI comes with `pip install -e .[peers]`; without it only our
own figures are written.
Each comparison ends when its rounds have taken `--seconds`, but not before the third, so that slow
processors get fewer rounds and not a longer wait.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from types import SimpleNamespace

import numpy as np
from common import (
    medians,
    monai_if_there,
    named,
    paired_rounds,
    products_of_a_slice,
    rounds_under_roof,
    save,
    vector_units,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WIDTHS, BATCH, SIDE = (32, 64, 128, 256, 512), 8, 128


def noise(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices and labels that mean nothing: the time of a step does not hang on what is seen."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, SIDE, SIDE, 1)).astype(np.float32)
    return images, (rng.random((count, SIDE, SIDE)) > 0.9).astype(np.int32)


def ours(images, labels, widths=WIDTHS, precision="auto", network="unetpp", **options):
    """A step of our UNet++, with a training run's own settings."""
    from kenseg_utils import machine, training

    machine.spare_graph_optimisers()
    recipe = training.Recipe.paper(
        network=network,
        widths=widths,
        precision=precision,
        loss="cross_entropy_dice",
        learning_rate=1e-4,
        batch_size=len(images),
        options=options,
    )
    model = training.build(recipe, images.shape[1:])
    return lambda: float(model.train_on_batch(images, labels))


def theirs(images, labels, norm, precision):
    """A step of MONAI's UNet++ as MONAI's own examples train it, channels last."""
    import torch
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNetPlusPlus

    torch.manual_seed(0)
    model = BasicUNetPlusPlus(2, 1, 2, features=(*WIDTHS, WIDTHS[0]), norm=norm)
    model = model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=1e-4)
    loss_function = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels[:, None])

    def step():
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed_bfloat16"):
            answer = model(x)[0]
        loss = loss_function(answer.float(), y)
        loss.backward()
        optimiser.step()
        return float(loss)

    return step


def beside_monai(rounds: int, at_most_s: float) -> dict:
    """Images a second of each, and the ratio to the quicker of MONAI's."""
    monai = monai_if_there()

    from kenseg_utils import machine

    precision = machine.choose_precision()
    images, labels = noise(BATCH)
    contenders = {
        "kenseg_utils, batch norm": ours(images, labels, normalisation="batch"),
        "kenseg_utils, no norm": ours(images, labels),
    }
    if monai:
        norms = {"instance": ("instance", {"affine": True}), "batch": "batch"}
        for name, norm in norms.items():
            contenders[f"MONAI {monai.__version__}, {name} norm"] = theirs(
                images, labels, norm, precision
            )
    for step in contenders.values():  # trace, choose kernels, fill the optimisers
        step(), step()
    # Forward once, and on the way back for what a layer saw and for its weights.
    a_slice = products_of_a_slice(WIDTHS, SIDE, SIDE, monai is not None)
    products = {name: 3 * BATCH * a_slice[name.split()[0].strip(",")] for name in contenders}
    seconds, roof = rounds_under_roof(
        contenders, products, precision, rounds=rounds, at_most_s=at_most_s
    )
    speed = {name: BATCH / value for name, value in medians(seconds).items()}
    result = {
        "what": "training step",
        "widths": WIDTHS,
        "batch": BATCH,
        "side": SIDE,
        "precision": precision,
        "seconds": seconds,
        "images_per_second": speed,
        "multiply_adds_of_a_slice": a_slice,
        **roof,
    }
    if monai:
        quickest = max(value for name, value in speed.items() if name.startswith("MONAI"))
        result["ratio"] = speed["kenseg_utils, batch norm"] / quickest
        result["monai"] = monai.__version__
    return result


def one_by_one(rounds: int, at_most_s: float) -> dict:
    """The paper's batch of one: 16 steps a call beside one, and one thread an operation beside all.

    TensorFlow reads the number of threads once, when it starts: so each number has a process.
    """
    from kenseg_utils import profiles

    cases = [("unet", (4, 8), side, 1, 192) for side in (16, 64, SIDE)]
    widths = profiles.get("demo").widths
    cases += [("unetpp", widths, SIDE, 1, 64), ("unetpp", widths, SIDE, 16, 256)]
    numbers = {"all threads": 0, "one thread": 1}  # 0: TensorFlow decides
    workers = _processes("TF_NUM_INTRAOP_THREADS", numbers)
    result = {"what": "steps per execution, threads an operation"}
    for case in cases:
        contenders = {
            f"{count} a call, {threads}": partial(_done_in, worker, _train_once, case, count)
            for threads, worker in workers.items()
            for count in (1, 16)
        }
        for run in contenders.values():
            run()
        seconds = paired_rounds(contenders, rounds, at_most_s / len(cases))
        middle = medians(seconds)
        network, widths, side, batch, slices = case
        name = f"{network} {widths[0]} … {widths[-1]}, {side}×{side} pixels, batch {batch}"
        result[name] = {
            "slices": slices,
            "seconds": seconds,
            "slices_per_second": {key: slices / value for key, value in middle.items()},
            "ratio": middle["1 a call, all threads"] / middle["16 a call, all threads"],
        }
    for worker in workers.values():
        worker.shutdown()
    return result


def _processes(variable: str, numbers: dict[str, int]) -> dict[str, ProcessPoolExecutor]:
    """A process each, in whose environment TensorFlow finds another number when it starts."""
    spawn = multiprocessing.get_context("spawn")
    return {
        name: ProcessPoolExecutor(1, spawn, _set, (variable, str(number)))
        for name, number in numbers.items()
    }


def _set(variable: str, value: str) -> None:
    os.environ[variable] = value


def _done_in(worker, function, *arguments) -> None:
    worker.submit(function, *arguments).result()


def _train_once(case, steps_per_execution) -> None:
    """Train on a case's slices; the network is kept for the next round."""
    from kenseg_utils import machine

    model, batches, steps = _contender(*case, steps_per_execution)
    model.fit(machine.feed(batches), steps_per_epoch=steps, shuffle=False, verbose=0)


@lru_cache
def _contender(network, widths, side, batch, slices, steps_per_execution):
    """A network, what stands in for a training run's `batches.Batches`, and how many it has."""
    from kenseg_utils import machine, training

    rng, steps = np.random.default_rng(0), slices // batch
    images = rng.normal(size=(steps, batch, side, side, 1)).astype(np.float32)
    labels = (rng.random((steps, batch, side, side)) > 0.9).astype(np.int32)
    batches = SimpleNamespace(
        generate=lambda: zip(images, labels, strict=True),
        batch_size=batch,
        slices=SimpleNamespace(shape=(side, side, 1)),
    )
    machine.spare_graph_optimisers()
    recipe = training.Recipe.paper(
        network=network, widths=widths, batch_size=batch, steps_per_execution=steps_per_execution
    )
    return training.build(recipe, (side, side, 1)), batches, steps


HEAD_WIDTHS = (16, 32, 48, 64)


def head_step(change, precision, **options):
    """A step of the 3-D network on one whole head; `change` is done to the network built."""
    import keras

    from kenseg_utils import machine, networks
    from kenseg_utils.experiments import synthesis
    from kenseg_utils.prediction import frames

    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, *frames.SHAPE, 1)).astype(np.float32)
    mask = (rng.random(image.shape) > 0.99).astype(np.float32)
    view = synthesis.VIEWS["unet3d_half"]
    with machine.building_in(precision):
        model = networks.build(
            view.network, image.shape[1:], widths=HEAD_WIDTHS, **view.options, **options
        )
    change(model).compile(keras.optimizers.AdamW(1e-4), synthesis.volume_loss)
    return lambda: float(model.train_on_batch(image, mask))


def of_heads(rounds: int, at_most_s: float) -> dict:
    """A step of the 3-D network on one head: with Keras's layers, with ours, and without norm."""
    from kenseg_utils import machine

    precision = machine.choose_precision()
    step = partial(head_step, precision=precision)
    contenders = {
        "Keras, group norm": step(lambda model: model),
        "kenseg_utils, group norm": step(machine.fuse_normalisation),
        "kenseg_utils, no norm": step(lambda model: model, normalisation=None),
    }
    for take in contenders.values():
        take(), take()
    seconds = paired_rounds(contenders, rounds, at_most_s)
    middle = medians(seconds)
    return {
        "what": "training step of a whole head",
        "widths": HEAD_WIDTHS,
        "precision": precision,
        "seconds": seconds,
        "seconds_a_step": middle,
        "ratio": middle["Keras, group norm"] / middle["kenseg_utils, group norm"],
    }


def kernels(rounds: int, at_most_s: float) -> dict:
    """TensorFlow's own kernels beside oneDNN's, in float32: which, it reads when it is imported."""
    workers = _processes("TF_ENABLE_ONEDNN_OPTS", {"TensorFlow's own": 0, "oneDNN's": 1})
    result = {"what": "kernels of TensorFlow", "vector_units": vector_units()}
    for case in KERNEL_CASES:
        contenders = {
            name: partial(_done_in, worker, _take_step, case) for name, worker in workers.items()
        }
        for take in contenders.values():
            take(), take()
        seconds = paired_rounds(contenders, rounds, at_most_s / len(KERNEL_CASES))
        middle = medians(seconds)
        result[case] = {
            "seconds": seconds,
            "seconds_a_step": middle,
            "ratio": middle["TensorFlow's own"] / middle["oneDNN's"],
        }
    for worker in workers.values():
        worker.shutdown()
    return result


KERNEL_CASES = {
    "Ken-model 8 … 128, 4 slices": lambda: ours(
        *noise(4), (8, 16, 32, 64, 128), "float32", "ken_unetpp"
    ),
    "UNet++ 32 … 512, 8 slices": lambda: ours(
        *noise(BATCH), precision="float32", normalisation="batch"
    ),
    "3-D U-Net, a whole head": lambda: head_step(_fused, "float32"),
}


def _fused(model):
    from kenseg_utils import machine

    return machine.fuse_normalisation(model)


def _take_step(case: str) -> None:
    _step_of(case)()


@lru_cache
def _step_of(case: str):
    """A step of one of `KERNEL_CASES`, kept for the next round."""
    return KERNEL_CASES[case]()


FIRST_CASES = {  # network, widths, slices
    "Ken-model 8 … 128": ("ken_unetpp", (8, 16, 32, 64, 128), 4),
    "Ken-model 4, 8": ("ken_unetpp", (4, 8), 8),
}


def first_step(rounds: int) -> dict:
    """What tracing takes: seconds of the first step, Adam's updates as Keras's and as ours."""
    result = {"what": "first step of a training", "vector_units": vector_units()}
    for case, (network, widths, count) in FIRST_CASES.items():
        seconds: dict[str, list[float]] = {"Keras's updates": [], "ours": []}
        for _ in range(rounds):
            for name, times in seconds.items():
                step = _untraced(network, widths, count, fused=name == "ours")
                begun = time.perf_counter()
                step()
                times.append(time.perf_counter() - begun)
        middle = medians(seconds)
        result[case] = {
            "seconds": seconds,
            "seconds_of_it": middle,
            "ratio": middle["Keras's updates"] / middle["ours"],
        }
    return result


def _untraced(network, widths, count, fused):
    import keras

    from kenseg_utils import machine, networks, training

    keras.utils.clear_session()
    machine.spare_graph_optimisers()
    images, labels = noise(count)
    model = machine.fuse_normalisation(networks.build(network, images.shape[1:], widths=widths))
    optimizer = keras.optimizers.Adam(1e-4)
    if fused:
        training.fuse_updates(optimizer)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return lambda: float(model.train_on_batch(images, labels))


def waiting(epochs: int = 3) -> dict:
    """The quick recipe at the demo's widths on its own crops: the share of time without a batch."""
    import tempfile

    from kenseg_utils import profiles, training

    size = profiles.get("demo")
    train, validation, _ = profiles.open_crops(size, profiles.open_scans(size))
    some = train.subset(np.linspace(0, len(train) - 1, min(len(train), 256)).astype(int))
    with tempfile.TemporaryDirectory() as folder:
        run = training.train(
            profiles.quick_recipe(size, epochs=epochs),
            some,
            validation.subset(range(16)),
            run_dir=folder,
            progress=False,
        )
        history = run.history[1:]  # the first epoch also traces
    return {
        "what": "waiting for data",
        "slices": len(some),
        "batch": size.batch_size,
        "share": history.waiting.tolist(),
        "waiting": float(history.waiting.median()),
        "images_per_second": float(len(some) / history.seconds.median()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=90, help="of a comparison's rounds")
    parser.add_argument(
        "--only", choices=("monai", "steps", "heads", "kernels", "first", "waiting"), default=None
    )
    arguments = parser.parse_args()
    if arguments.only in (None, "monai"):
        result = beside_monai(arguments.rounds, arguments.seconds)
        save(named("train_step", result["precision"]), result)
    if arguments.only in (None, "steps"):
        save("train_batch_of_one", one_by_one(arguments.rounds, arguments.seconds))
    if arguments.only in (None, "heads"):
        result = of_heads(2 * arguments.rounds + 1, arguments.seconds)
        save(named("train_head", result["precision"]), result)
    if arguments.only in (None, "kernels"):
        save("train_kernels", kernels(arguments.rounds, arguments.seconds))
    if arguments.only in (None, "first"):
        save("train_first_step", first_step(min(arguments.rounds, 3)))
    if arguments.only in (None, "waiting"):
        save("train_waiting", waiting())


if __name__ == "__main__":
    main()

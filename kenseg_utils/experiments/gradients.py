"""Where gradients go, before training and after: stacks of blocks, and the field of the Ken block.

    python -m kenseg_utils.experiments.gradients --record

trains both on the phantom from several seeds and writes results/trained_gradients.json, which
chapter 3 shows beside what it measures in untrained networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kenseg_utils import profiles, training
from kenseg_utils.blocks import convolution, convolution_block, head, residual_block
from kenseg_utils.slices import SliceSet

from ._recorded import asked_of_seeds, save_result

# name: (block, normalisation, gain of the first weights)
KINDS: dict[str, tuple[Callable, str | None, float]] = {
    "plain, Keras's default start": (convolution_block, None, math.sqrt(1 / 2)),
    "plain, He's start": (convolution_block, None, 1),
    "plain, batch normalisation": (convolution_block, "batch", 1),
    "residual, Keras's default start": (residual_block, None, math.sqrt(1 / 2)),
    "residual, He's start": (residual_block, None, 1),
    "residual, batch normalisation": (residual_block, "batch", 1),
}
BOTTLENECKS = {"no Ken block": None, "concatenated": "concatenate", "full": "full"}
CELL = 16  # pixels of the image in a cell of x40


def stack(
    block: Callable,
    depth: int,
    normalisation: str | None = "batch",
    filters: int = 16,
    side: int = 32,
) -> keras.Model:
    """Blocks of one kind in a row, named block1, block2, …, and a head on the last."""
    inputs = keras.Input((side, side, 1))
    x = convolution(inputs, filters, "stem", normalisation=normalisation)
    for k in range(1, depth + 1):
        x = block(x, filters, f"block{k}", normalisation=normalisation)
    return keras.Model(inputs, head(x, 2))


def block_gradients(
    model: keras.Model, depth: int, images: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Size of the loss's gradient at the output of each block, the first block first."""
    wanted = [f"block{k}" for k in range(1, depth + 1)] + ["probabilities_conv"]
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in wanted])
    with tf.GradientTape() as tape:
        *maps, logits = outputs(images, training=True)
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        )
    return np.array([float(tf.norm(gradient)) for gradient in tape.gradient(loss, maps)])


def centre_gradient(model: keras.Model, images: np.ndarray, seed: int = 0) -> np.ndarray:
    """Each input pixel's share in the gradient of the output's centre pixel, over all images."""
    images = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        maps = model(images, training=False)
        centre = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
        mixture = tf.reduce_sum(centre * tf.random.normal(centre.shape, seed=seed))
    gradient = np.abs(tape.gradient(mixture, images)).mean(axis=(0, 3))
    return gradient / gradient.sum()


def side_holding(share: np.ndarray, part: float, stride: int = 1) -> int:
    """Side in pixels of the square around the centre that holds this part of the gradient."""
    middle = (share.shape[0] // stride // 2 + 0.5) * stride - 0.5
    rows, columns = np.abs(np.indices(share.shape) - middle)
    distance = np.maximum(rows, columns).ravel()
    order = np.argsort(distance)
    last = np.searchsorted(share.ravel()[order].cumsum(), part)
    return int(1 + 2 * distance[order][min(last, share.size - 1)])


def started(name: str, depth: int, seed: int) -> keras.Model:
    """A stack of one of KINDS with its first weights drawn from a seed."""
    block, normalisation, gain = KINDS[name]
    keras.utils.set_random_seed(seed)
    model = stack(block, depth, normalisation)
    for layer in model.layers:
        if layer.name.startswith("block") and layer.name.endswith("_conv"):
            layer.kernel.assign(layer.kernel * gain)
    return model


def train_stack(
    name: str, images: np.ndarray, labels: np.ndarray, seed: int, depth: int = 16, steps: int = 80
) -> dict:
    """Train one of KINDS by Adam (1e-3, batches of 8) and say how its gradient changed.

    images (n, 32, 32, 1), labels (n, 32, 32): windows, drawn from with repetition. `before` and
    `after` are orders of magnitude from the last block to the first, on the same 16 windows, or
    None where no gradient arrives at all (every ReLU on its way is shut);
    `loss` is the mean cross-entropy of the last tenth of the steps, `guess` that of a network
    that says how frequent lesion is in every pixel.
    """
    random, model = np.random.default_rng(seed), started(name, depth, seed)
    fixed = images[:16], labels[:16]

    def orders() -> float | None:
        values = block_gradients(model, depth, *fixed)
        first, last = values[0], values[-1]
        return float(np.log10(first / last)) if first > 0 and last > 0 else None

    before = orders()
    chosen = random.integers(len(images), size=8 * steps)
    optimizer = training.fuse_updates(keras.optimizers.Adam(1e-3))
    optimizer.build(model.trainable_variables)  # or the first step would be traced twice
    model.compile(optimizer, "sparse_categorical_crossentropy")
    losses: list[float] = []
    watch = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda _, logs: losses.append(logs["loss"])
    )
    model.fit(
        images[chosen], labels[chosen], batch_size=8, shuffle=False, verbose=0, callbacks=[watch]
    )
    # Keras's running mean of the losses so far, undone: k·mean_k − (k − 1)·mean_(k−1).
    single = np.diff(np.arange(1, steps + 1) * losses, prepend=0)
    share = float(labels[chosen].mean())
    return dict(
        kind=name,
        seed=seed,
        before=before,
        after=orders(),
        loss=float(single[-max(1, steps // 10) :].mean()),
        guess=-share * math.log(share) - (1 - share) * math.log(1 - share),
    )


def train_field(
    name: str, train: SliceSet, validation: SliceSet, recipe: training.Recipe, work_dir: str | None
) -> dict:
    """Train a Ken-model with one of BOTTLENECKS and say how far its deepest cell looks.

    `before` and `after`: the side of the square, in pixels, that holds half of the gradient of
    x40's central cell (after the Ken block, where there is one) on 16 validation slices.
    """
    recipe = training.with_changes(recipe, options=recipe.options | dict(ken=BOTTLENECKS[name]))
    images, _ = validation.batch(np.linspace(0, len(validation) - 1, 16).astype(int))
    keras.utils.set_random_seed(recipe.seed)
    run = training.train(recipe, train, validation, work_dir=work_dir, progress=False)

    def half(model: keras.Model) -> int:
        deepest = model.get_layer("bottleneck" if BOTTLENECKS[name] else "x40").output
        field = centre_gradient(keras.Model(model.input, deepest), images, recipe.seed)
        return side_holding(field, 0.5, CELL)

    untrained = training.build(recipe, train.shape)
    return dict(
        bottleneck=name,
        seed=recipe.seed,
        before=half(untrained),
        after=half(run.model),
        dice=float(run.history.val_dice.iloc[-1]),
    )


def windows(part: SliceSet, most: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The middle 32×32 pixels of slices that have lesion and healthy tissue there: with masks."""
    order = np.random.default_rng(seed).permutation(len(part))
    images, masks = part.batch(order)
    middle = np.s_[:, images.shape[1] // 2 - 16 : images.shape[1] // 2 + 16]
    images, masks = (array[middle][:, :, 48:80] for array in (images, masks))
    both = (masks.mean((1, 2)) > 0.02) & (masks.mean((1, 2)) < 0.98)
    return images[both][:most].astype("float32"), masks[both][:most]


def train_all(
    profile: profiles.Profile, seeds: Sequence[int], work_dir: str | None = None
) -> dict[str, pd.DataFrame]:
    """Both experiments from all seeds: the tables `stacks` and `fields`."""
    scans = profiles.open_scans(profile, work_dir=work_dir)
    train, validation, _ = profiles.open_crops(profile, scans, work_dir)
    smoke = profile.name == "smoke"
    images, labels = windows(train, 16 if smoke else 400)
    depth, steps = (2, 4) if smoke else (16, 80)
    stacks = [
        _alone(train_stack, name, images, labels, seed, depth, steps)
        for seed in seeds
        for name in KINDS
    ]
    part = train.subset(np.linspace(0, len(train) - 1, min(len(train), 400)).astype(int))
    recipe = profiles.quick_recipe(
        profile,
        widths=(4, 4, 4, 4, 8) if smoke else profile.widths,
        epochs=profile.short_epochs,
        precision="float32",
        options=dict(blocks_per_node=1) if smoke else {},
    )
    fields = [
        _alone(
            train_field, name, part, validation, training.with_changes(recipe, seed=seed), work_dir
        )
        for seed in seeds
        for name in BOTTLENECKS
    ]
    return {"stacks": pd.DataFrame(stacks), "fields": pd.DataFrame(fields)}


def _alone(conduct: Callable[..., dict], *arguments: object) -> dict:
    """One training's row; what it built and traced is let go, or a dozen fill the memory."""
    try:
        return conduct(*arguments)
    finally:
        keras.utils.clear_session(free_memory=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: what it finds is printed, and recorded where `--record` asks for it."""
    asked = asked_of_seeds(__doc__, arguments)
    profile = profiles.get(asked.profile)
    tables = train_all(profile, range(asked.seeds), asked.work_dir)
    for name, table in tables.items():
        print(name, table.to_string(index=False), sep="\n")
    if asked.record:
        file = save_result(
            "trained_gradients",
            tables,
            asked.results,
            profile=profile.name,
            seeds=asked.seeds,
            data_name="phantom ATLAS",
        )
        print(file)


if __name__ == "__main__":
    main()

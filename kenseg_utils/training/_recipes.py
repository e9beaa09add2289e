"""What a training does: one frozen dataclass, checked when it is made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from kenseg_utils import artifacts, losses, machine, networks

from ._augment import AUGMENTATIONS

OPTIMIZERS = ("adam", "rmsprop")
SCHEDULES = ("constant", "cosine")
DECAYS = ("decoupled", "coupled", "rate")


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a training run besides the data.

    `options` go to `networks.build`; `precision` is "auto" or a Keras dtype policy.
    `decay` says how `weight_decay` acts, since papers do not always: "decoupled" from the gradient
    (AdamW; Keras from version 2.11), "coupled" as an L2 term of the loss (PyTorch's Adam), or on
    the learning "rate", which falls as learning_rate / (1 + weight_decay · step) and leaves the
    weights alone (`Adam(decay=…)` of Keras before 2.11).
    `augment` is False, True for all that `augment` changes, "noise" for its noise alone, or "wide"
    for `wide`.
    `lesion_prior` is the probability of lesion that an untrained network starts from (Lin et al.
    2017, section 4.1); 0 leaves the start to Keras. Narrow networks that start near a half rush
    to call everything background, and may silence their last ReLUs for good on the way.
    """

    network: str = "ken_unetpp"
    widths: tuple[int, ...] | None = (32, 64, 128, 256, 512)
    options: dict[str, Any] = field(default_factory=dict)
    loss: str = "sparse_categorical_crossentropy"
    optimizer: str = "adam"
    learning_rate: float = 1e-6
    schedule: str = "constant"
    weight_decay: float = 1e-4
    decay: str = "decoupled"
    batch_size: int = 1
    epochs: int = 40
    augment: bool | str = False
    precision: str = "auto"
    steps_per_execution: int = 1
    lesion_prior: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.widths is not None:
            object.__setattr__(self, "widths", _checked_widths(self.widths))
        if not isinstance(self.options, dict):
            raise ValueError(f"Recipe.options is {self.options!r}: give a dict, such as {{}}.")
        for name, choices in dict(
            network=(*networks.names(), *networks.volume_names()),
            loss=losses.names(),
            optimizer=OPTIMIZERS,
            schedule=SCHEDULES,
            decay=DECAYS,
            precision=machine.PRECISIONS,
            augment=(False, *AUGMENTATIONS),
        ).items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"Recipe.{name} is {getattr(self, name)!r}: choose one of "
                    f"{', '.join(map(str, choices))}."
                )
        for name, least in dict(batch_size=1, epochs=1, steps_per_execution=1, seed=0).items():
            value = getattr(self, name)
            if not artifacts.is_whole(value) or value < least:
                raise ValueError(
                    f"Recipe.{name} is {value!r}: it must be a whole number of at least {least}."
                )
        if self.seed >= 2**32:
            raise ValueError(f"Recipe.seed is {self.seed}: it must be below {2**32}.")
        for name in ("learning_rate", "lesion_prior", "weight_decay"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number):
                raise ValueError(f"Recipe.{name} is {value!r}: it must be a number.")
        if self.decay == "rate" and self.schedule != "constant":
            raise ValueError(
                f"Recipe.schedule is {self.schedule!r}: with decay='rate' the rate falls by that "
                "decay, so it must be constant."
            )
        if not 0 < self.learning_rate <= 1:
            raise ValueError(
                f"Recipe.learning_rate is {self.learning_rate!r}: it must be above 0 and at most 1."
            )
        if not 0 <= self.lesion_prior < 1:
            raise ValueError(
                f"Recipe.lesion_prior is {self.lesion_prior!r}: it must be from 0 to below 1."
            )
        if not 0 <= self.weight_decay < 1:
            raise ValueError(
                f"Recipe.weight_decay is {self.weight_decay!r}: it must be from 0 to below 1."
            )

    @classmethod
    def paper(cls, **changes: Any) -> Recipe:
        """Section IV.B and V of the paper: Adam at 1e-6, weight decay 1e-4, batch 1, 40 epochs."""
        return cls(**changes)

    @classmethod
    def quick(cls, **changes: Any) -> Recipe:
        """Learns in minutes on a CPU: narrower, a larger rate that falls, cross-entropy + Dice."""
        quick: dict[str, Any] = dict(
            widths=(8, 16, 32, 64, 128),
            loss="cross_entropy_dice",
            learning_rate=2e-3,
            schedule="cosine",
            batch_size=4,
            epochs=6,
            augment=True,
            lesion_prior=0.05,
        )
        return cls(**(quick | changes))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return json.loads(json.dumps(asdict(self)))


def _checked_widths(widths: Any) -> tuple[int, ...]:
    """Widths as whole numbers of at least 1, from the first level down; ValueError otherwise."""
    given = () if isinstance(widths, str) or not np.iterable(widths) else tuple(widths)
    if not given or not all(artifacts.is_whole(width) and width >= 1 for width in given):
        raise ValueError(
            f"Recipe.widths is {widths!r}: give whole numbers of channels, such as (8, 16, 32)."
        )
    return tuple(int(width) for width in given)


def with_changes(recipe: Recipe, **changes: Any) -> Recipe:
    """A recipe that differs in some fields; unknown names are refused."""
    unknown = set(changes) - {f.name for f in fields(Recipe)}
    if unknown:
        raise ValueError(f"A recipe has no {', '.join(sorted(unknown))}.")
    return replace(recipe, **changes)

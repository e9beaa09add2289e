"""Synthetic heads in three dimensions, and the training of a network on nothing else.

`make_head(seed)` gives a head in the frame of `prediction.frames` with its lesions' mask.
`python -m kenseg_utils.experiments.synthesis --minutes 15 --out FOLDER` trains a network on them.
"""

from ._feed import fill_pool
from ._heads import VERSION, lesion_in_template, make_head
from ._into import paint_into
from ._lesions import Mix, Piece, draw_plan
from ._template import depth_in_template, tissue_in_template
from ._train import EVEN, LOSS_VERSION, SMOOTH, Plan, train_by_clock, volume_loss
from ._views import VIEWS, View

__all__ = [
    "EVEN",
    "LOSS_VERSION",
    "SMOOTH",
    "VERSION",
    "VIEWS",
    "Mix",
    "Piece",
    "Plan",
    "View",
    "depth_in_template",
    "draw_plan",
    "fill_pool",
    "lesion_in_template",
    "make_head",
    "paint_into",
    "tissue_in_template",
    "train_by_clock",
    "volume_loss",
]

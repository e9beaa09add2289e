"""Static pictures for the book; `show` puts one into the page with its alternative text.

Here are the pictures of slices. Those of tables are in `charts`, those of networks and of the
geometry of a slice in `diagrams`; all of them can be had from here.

Every function returns a matplotlib Figure and shows nothing. Arrays are in RAS order: a volume is
(X, Y, Z), a slice (X, Y), x grows to the subject's right, y to the front, z to the top. Pictures
follow the neurological convention: the subject's left is on the left.
"""

from ._brains import (
    crop_and_pad,
    gallery,
    legend,
    mark_sides,
    overlap_map,
    show,
    slice_overlay,
    three_planes,
    window,
)
from ._charts import (
    bars_with_intervals,
    class_imbalance,
    curves_by_strength,
    dice_by_size,
    effects_by_factor,
    gradient_norms,
    learning_curves,
    paired_seeds,
    power_curves,
    reduction_comparison,
    slices_with_lesion,
    spread_by_pairing,
    volume_histogram,
)
from ._diagrams import block_diagram, grid_edges, halving_ladder, network_grid, receptive_field
from ._palette import (
    BLACK,
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    PREDICTION,
    PURPLE,
    SKY_BLUE,
    STYLE,
    TRUTH,
    VERMILION,
    YELLOW,
)
from ._paper import paper_scale, paper_scale_alt
from ._stages import Place, Stage, described, stage_diagram, stages

__all__ = [
    "BLACK",
    "BLUE",
    "CYCLE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PREDICTION",
    "PURPLE",
    "Place",
    "SKY_BLUE",
    "STYLE",
    "Stage",
    "TRUTH",
    "VERMILION",
    "YELLOW",
    "bars_with_intervals",
    "block_diagram",
    "class_imbalance",
    "crop_and_pad",
    "curves_by_strength",
    "described",
    "dice_by_size",
    "effects_by_factor",
    "gallery",
    "gradient_norms",
    "grid_edges",
    "halving_ladder",
    "learning_curves",
    "legend",
    "mark_sides",
    "network_grid",
    "overlap_map",
    "paper_scale",
    "paper_scale_alt",
    "paired_seeds",
    "power_curves",
    "receptive_field",
    "reduction_comparison",
    "show",
    "slice_overlay",
    "slices_with_lesion",
    "spread_by_pairing",
    "stage_diagram",
    "stages",
    "three_planes",
    "volume_histogram",
    "window",
]

"""Pictures to play with: each moves in a notebook, on Colab and in the book's static pages.

Each function returns a widget whose caption says what it shows; `stacks` holds what they are made
of. Arrays are in RAS order, and lesions coloured as in `figures`.
"""

from ._stacks import BUDGET, picture
from ._viewers import best_to_worst, crop_explorer, slice_browser, strength_slider, threshold_slider

__all__ = [
    "BUDGET",
    "best_to_worst",
    "crop_explorer",
    "picture",
    "slice_browser",
    "strength_slider",
    "threshold_slider",
]

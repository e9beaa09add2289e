"""Synthetic heads in three dimensions, and the training of a network on nothing else.

`make_head(seed)` gives a head in the frame of `kenseg_utils.frames` with its lesions' mask.
`python -m kenseg_utils.synthesis --minutes 15 --out FOLDER` trains a network on them.
"""

from ._heads import VERSION, make_head

__all__ = ["VERSION", "make_head"]

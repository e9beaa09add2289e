"""From volumes to the slices that a 2-D network sees.

`crop` and `pad` (of `windows`) make the paper's 128×128 inputs, `unpad` and `uncrop` undo them.
`prepare` does it for a whole release, a scan at a time, into arrays on disk: a `SliceSet`.
All slices are axial: the (X, Y) plane of a RAS volume at one z.
"""

from ._prepare import Intensity, open_set, prepare, scan_slices, with_images
from ._sets import NEIGHBOURS, SliceSet
from ._usable import usable
from ._windows import Placement, crop, lesion_centre, pad, uncrop, unpad

__all__ = [
    "Intensity",
    "NEIGHBOURS",
    "Placement",
    "SliceSet",
    "crop",
    "lesion_centre",
    "open_set",
    "pad",
    "prepare",
    "scan_slices",
    "uncrop",
    "unpad",
    "usable",
    "with_images",
]

"""Find the scans of any ATLAS release, and load them checked and in one orientation.

`find_scans(folder)` gives a table with a row per T1w; `load_scan(row)` gives its arrays in RAS
order; `save_mask` writes a result back in the scan's own grid.
"""

from ._nifti import ScanError
from ._nnunet import write_nnunet
from ._releases import find_scans, require_masks
from ._scans import Scan, check_scan, load_image, load_scan, save_mask, to_original_grid

__all__ = [
    "Scan",
    "ScanError",
    "check_scan",
    "find_scans",
    "load_image",
    "load_scan",
    "require_masks",
    "save_mask",
    "to_original_grid",
    "write_nnunet",
]

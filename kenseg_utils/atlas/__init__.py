"""Find scans of ATLAS, of open data, in any folder or table; load them in one orientation.

`find_scans(folder)` gives a table with a row per T1w, and says what it saw; `load_scan(row)` gives
its arrays in RAS order, checked, with the mask on the T1w's grid; `save_mask` writes a result back
in the scan's own grid.
"""

from ._foreign import ScanError
from ._given import write_table
from ._nnunet import write_nnunet
from ._releases import find_scans, require_masks
from ._scans import (
    LOADER_VERSION,
    Scan,
    load_image,
    load_scan,
    save_mask,
    save_probability,
    to_original_grid,
)
from ._seen import LeftOut, Seen

__all__ = [
    "LOADER_VERSION",
    "LeftOut",
    "Scan",
    "ScanError",
    "Seen",
    "find_scans",
    "load_image",
    "load_scan",
    "require_masks",
    "save_mask",
    "save_probability",
    "to_original_grid",
    "write_nnunet",
    "write_table",
]

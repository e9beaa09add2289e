"""python -m kenseg_utils.prediction scan.nii.gz mask.nii.gz: a mask for a scan of your own."""

import sys

from ._command import main

sys.exit(main())

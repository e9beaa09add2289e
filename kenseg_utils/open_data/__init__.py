"""Stroke scans that anyone may have, fetched with every byte checked.

`fetch("arc", folder)` downloads pairs of T1w and lesion mask of the Aphasia Recovery Cohort (ARC:
OpenNeuro ds004884, CC0, no application) under ARC's own names; in a terminal it is::

    python -m kenseg_utils.open_data arc --subjects 20 --to FOLDER

What is fetched stands in a manifest inside the package: path, size and SHA-256 of each file.
A subject's lesion was drawn on the T2w, so the mask lies on the T2w's grid; a T1w of the same
session shares its scanner space. In 203 of 228 subjects T1w and mask are of one session; the
other 25 are not aligned by their headers and are left out.
SOOP is known too, and refused with the reason. Nothing is downloaded unless asked for.
"""

from ._download import DownloadError
from ._fetch import fetch
from ._releases import licence, manifest, names, subjects

__all__ = ["DownloadError", "fetch", "licence", "manifest", "names", "subjects"]

"""Which release of ATLAS an image is of, its site and its split: told by names, never by content.

The names that each release uses, T1w first and then the lesion masks::

    R1.1  Site1/031768/t01/031768_t1w_deface_stx.nii.gz · 031768_LesionSmooth[_1]_stx.nii.gz
    R1.2  c0003s0002t01_t1w_stx.nii.gz · c0003s0002t01_LesionSmooth[_1]_stx.nii.gz
    R2.0  Training/R001/sub-r001s001/ses-1/anat/…_space-MNI152NLin2009aSym_T1w.nii.gz
          · …_label-L_desc-T1lesion_mask.nii.gz; the same beneath Testing/, without masks
    R2.1  Training_Raw/R001/sub-…/ses-1/anat/…_space-orig_desc-brain_T1w.nii.gz
          · …_space-orig_label-lesion_desc-T1lesion_mask.nii.gz; or plain BIDS, …_T1w.nii.gz
    R3.0  as R2.1, beneath ATLAS3_Training_Raw/<SITE>; ATLAS3_Training_Preprocessed has
          …_space-MNI152NLin2009aSym_desc-brainnorm_T1w.nii.gz

R2.1 and R3.0 name their files alike: the folder above decides, and R3.0 where it does not.
"""

from __future__ import annotations

import os
import re

from ._known import Dataset
from ._names import R12_NAME, File

_BIDS_SITE = re.compile(r"^sub-r(\d+)s\d+$", re.I)
_SPLIT_FOLDER = re.compile(
    r"^(?P<release>atlas[\w.]*_)?(?P<split>training|testing)(?P<form>_raw|_preprocessed)?$", re.I
)
_SITE_FOLDER = re.compile(r"^[A-Za-z]+\d{1,4}$|^[A-Z]{2,12}$")
_TEMPLATE = "MNI152NLin2009aSym"
_RELEASE_FOLDERS = {
    "R3.0": re.compile(r"atlas[ _-]?(r?3|r?3[._]0)(?![0-9a-z.])|r3[._]0(?![0-9])", re.I),
    "R2.1": re.compile(r"atlas[ _-]?(r?21|r?2[._]1)(?![0-9a-z.])|r2[._]1(?![0-9])", re.I),
    "R2.0": re.compile(r"atlas[ _-]?(r?2|r?2[._]0)(?![0-9a-z.])|r2[._]0(?![0-9])", re.I),
}


def release_of(
    image: File, above: tuple[str, ...], masks: tuple[str, ...], dataset: Dataset
) -> str | None:
    """The release of ATLAS that an image belongs to, or None where it is of other data.

    `above` are the folders above the subject's own, `masks` the paths of its masks.
    """
    if not image.is_bids:
        return "R1.2" if R12_NAME.match(image.subject + image.session) else "R1.1"
    named = next((found for part in reversed(above) if (found := _named(part))), None)
    is_brain = image.get("desc").startswith("brain")
    has_subject = bool(_BIDS_SITE.match(image.subject))
    is_sure = (
        any("desc-T1lesion" in os.path.basename(mask) for mask in masks)
        or (named is not None and is_brain)
        or (has_subject and (image.space == _TEMPLATE or is_brain or named is not None))
    )
    # Any study may number its subjects so; its own description has the last word then.
    is_likely = has_subject and not dataset.known and (dataset.is_atlas or not dataset.name)
    if not is_sure and not is_likely:
        return None
    if image.space in ("", _TEMPLATE) and is_brain:
        if named in ("R2.1", "R3.0"):
            return named
        return "R2.1" if any(part.lower().startswith("training_") for part in above) else "R3.0"
    if image.space == _TEMPLATE and not image.get("desc"):
        return named or "R2.0"
    return named or "R2.1"


def site_of(image: File, above: tuple[str, ...]) -> str:
    """The site in an image's name, else the folder above its subject."""
    if match := _BIDS_SITE.match(image.subject):
        return f"R{match[1]}"
    if match := R12_NAME.match(image.subject + image.session):
        return match[2]
    return above[-1] if above else ""


def split_of(above: tuple[str, ...]) -> str:
    """Training or testing, where the folder of that name is the release's own, else "".

    It holds the subjects, or the sites that hold them; any folder farther up is not ATLAS's.
    """
    parent, last = ("", "", *above)[-2:]
    if match := _SPLIT_FOLDER.match(last):
        # One's own folder may be called so too: the release's is called more, or inside of it.
        is_own = match["release"] or match["form"] or _named(parent)
    elif match := _SPLIT_FOLDER.match(parent):
        is_own = match["release"] or match["form"] or _SITE_FOLDER.match(last)
    return match["split"].lower() if match and is_own else ""


def _named(folder: str) -> str | None:
    """The release that a folder's name tells."""
    return next((name for name, sign in _RELEASE_FOLDERS.items() if sign.search(folder)), None)

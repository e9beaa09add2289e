"""Which data set a BIDS tree is, by its own description; what is known of ARC and SOOP.

ARC, the Aphasia Recovery Cohort (OpenNeuro ds004884): chronic strokes, one mask a subject, drawn
on a T2w. SOOP, the Stroke Outcome Optimization Project (ds004889): acute strokes, masks on the
diffusion images.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ._names import File

DESCRIPTION = "dataset_description.json"
SOOP_REASON = (
    "SOOP's masks lie on diffusion images (space-TRACE) of the first days after a stroke, whose "
    "lesions are mostly invisible on T1w: no ground truth to train on, or to be scored against, on "
    "T1w. Its T1w can be used as unlabelled heads"
)
_ACCESSION = re.compile(r"(ds\d{6})(?:\.v|/versions/)?(\d+(?:\.\d+)+)?")
_KNOWN = {
    "ARC": ("ds004884", re.compile(r"aphasia recovery cohort|^ARC\b", re.I)),
    "SOOP": ("ds004889", re.compile(r"stroke outcome optimi[sz]ation|^SOOP\b", re.I)),
}
_ATLAS = re.compile(r"\bATLAS|anatomical tracings of lesions", re.I)
_VERSION = re.compile(r"^v?(\d+(?:\.\d+)+)\b")
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Dataset:
    """A BIDS data set: its folder and what its description calls it ("" where it does not)."""

    folder: str
    name: str = ""
    known: str = ""
    version: str = ""

    @property
    def is_atlas(self) -> bool:
        return bool(_ATLAS.search(self.name))

    @property
    def release(self) -> str:
        """What the table of scans calls it: "ARC 1.0.2", "Our study (BIDS)", "BIDS"."""
        if self.known:
            return f"{self.known} {self.version}".strip()
        return f"{self.name} (BIDS)" if self.name else "BIDS"


def read_description(path: str) -> Dataset | None:
    """The data set that a dataset_description.json describes, or None where it says nothing."""
    content = _json(path)
    name = " ".join(str(content.get("Name") or "").split())
    accession = _ACCESSION.search(str(content.get("DatasetDOI") or ""))
    known = next(
        (
            short
            for short, (number, pattern) in _KNOWN.items()
            if (accession and accession[1] == number) or (not accession and pattern.search(name))
        ),
        "",
    )
    if not name and not known:
        return None
    folder = os.path.dirname(path)
    version = (accession and accession[2]) or _version(content, folder)
    return Dataset(folder, name[:80], known, version)


def above(folder: str) -> Dataset | None:
    """The data set that a folder is a part of, by a description in it or above it."""
    for place in (Path(folder), *list(Path(folder).parents)[:6]):
        if place.parent != place and (place / DESCRIPTION).is_file():
            if found := read_description(str(place / DESCRIPTION)):
                return found
    return None


def by_names(folder: str, masks: list[File]) -> Dataset:
    """A data set without description: ARC and SOOP have masks with names of their own."""
    if any("derivatives/lesion_masks" in mask.path.replace(os.sep, "/") for mask in masks):
        if any(mask.space == "TRACE" for mask in masks):
            return Dataset(folder, known="SOOP")
        if any(mask.source == "t2w" and mask.subject.startswith("sub-M") for mask in masks):
            return Dataset(folder, known="ARC")
    return Dataset(folder)


def arc_columns(scans: pd.DataFrame, extra: pd.DataFrame) -> pd.DataFrame:
    """ARC's metadata with the names of this package's download, and what names and sidecars add.

    aphasia_type is the release's wab_type, "no aphasia" where that says None; days_post_stroke is
    the label of the session; scanner is the sidecar's model.
    """
    is_arc = scans["release"].str.startswith("ARC")
    if not is_arc.any():
        return extra
    extra = extra.copy()
    days = scans["session"].where(is_arc).str.extract(r"ses-(\d+)$", expand=False).astype(float)
    _fill(extra, "days_post_stroke", days)
    if "wab_type" in extra:
        _fill(extra, "aphasia_type", extra.pop("wab_type").where(is_arc))
    if "aphasia_type" in extra:
        extra["aphasia_type"] = extra["aphasia_type"].replace({"None": "no aphasia"})
    if "scanner" not in extra or extra["scanner"].where(is_arc).isna().all():
        models = [
            _json(re.sub(r"\.nii(\.gz)?$", ".json", path)).get("ManufacturersModelName")
            for path in scans["t1w"].where(is_arc, "")
        ]
        _fill(extra, "scanner", pd.Series(models, scans.index, dtype=object))
    return extra


def _fill(table: pd.DataFrame, name: str, values: pd.Series) -> None:
    """Set the missing values of a column, which is made where it is not there."""
    if name in table:
        table[name] = table[name].where(table[name].notna(), values)
    elif values.notna().any():
        table[name] = values


def _version(content: dict, folder: str) -> str:
    """The version in a description, else in the first line of CHANGES that begins with one."""
    for key in ("DatasetVersion", "Version", "version"):
        if match := _VERSION.match(str(content.get(key) or "")):
            return match[1]
    try:
        with open(os.path.join(folder, "CHANGES"), encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file.read(_MOST_BYTES).splitlines()]
    except OSError:
        return ""
    return next((match[1] for line in lines if (match := _VERSION.match(line))), "")


def _json(path: str) -> dict:
    try:
        if not path or os.path.getsize(path) > _MOST_BYTES:
            return {}
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            content = json.load(file)
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError, RecursionError):
        return {}

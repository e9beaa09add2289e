"""The folder that a download fills: whose it is, and the texts and tables of its BIDS tree."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from kenseg_utils import __version__
from kenseg_utils.artifacts import write_aside, write_json

from ._releases import METADATA, Release, licence, pairs

_MAKER = "kenseg_utils.open_data"
_MASKS = "derivatives/lesion_masks"
_COLUMNS = {
    "sex": {"Description": "sex", "Levels": {"F": "female", "M": "male"}},
    "age_at_stroke": {"Description": "age at the time of the stroke", "Units": "years"},
    "days_post_stroke": {"Description": "from the stroke to the scan", "Units": "days"},
    "wab_aq": {"Description": "aphasia quotient of the Western Aphasia Battery, 0 to 100"},
    "aphasia_type": {
        "Description": "by the Western Aphasia Battery; ARC's own table names it "
        "wab_type, and writes None for no aphasia"
    },
    "wab_days": {"Description": "from the stroke to that test", "Units": "days"},
    "scanner": {"Description": "model of the Siemens scanner"},
}


def check(folder: Path, release: Release) -> None:
    """ValueError unless `folder` is new, empty, or an earlier download of the same release."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, and a download needs a folder: name another.")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    # Hidden files are the system's, or this download's lock.
    if any(not name.startswith(".") for name in there) and not _is_earlier(folder, release):
        raise ValueError(
            f"{folder} holds something else ({', '.join(there[:3])}): it is no "
            f"download of {release.name} {release.version} made by this program. "
            "Name a new or an empty folder."
        )


def _is_earlier(folder: Path, release: Release) -> bool:
    try:
        found = json.loads((folder / "dataset_description.json").read_text(encoding="utf-8"))
        makers = [maker["Name"] for maker in found["GeneratedBy"]]
        return _MAKER in makers and found["DatasetDOI"] == f"doi:{release.doi}"
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write(folder: Path, release: Release, table: pd.DataFrame) -> None:
    """Write description, licence and citation, and the table of the subjects that are there."""
    described = {
        "Name": f"{release.title}: T1w and lesion masks of some subjects",
        "BIDSVersion": "1.6.0",
        "DatasetType": "raw",
        "License": release.licence,
        "Authors": list(release.authors),
        "HowToAcknowledge": release.citation,
        "DatasetDOI": f"doi:{release.doi}",
        "GeneratedBy": [
            {
                "Name": _MAKER,
                "Version": __version__,
                "Description": f"part of OpenNeuro {release.accession}, version {release.version}",
            }
        ],
    }
    write_json(folder / "dataset_description.json", described)
    write_json(
        folder / _MASKS / "dataset_description.json", described | {"DatasetType": "derivative"}
    )
    both = pairs(table)
    _write_text(
        folder / "README.txt",
        f"""{licence(release.name)}
A part of the release, under its own names: T1w and lesion mask of up to {len(both)} subjects.
Each mask was drawn on a T2w and lies on the T2w's grid: bring it to the T1w by world coordinates.
Left out: {len(table) - len(both)} subjects, whose T1w and mask are of two sessions, not aligned.
Fetched and checked by SHA-256 with {_MAKER}.
""",
    )
    there = [subject for subject in both.subject if (folder / subject).is_dir()]
    people = both[both.subject.isin(there)].sort_values("subject")
    _write_text(
        folder / "participants.tsv",
        people[["subject", *METADATA]]
        .rename(columns={"subject": "participant_id"})
        .to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"),
    )
    write_json(folder / "participants.json", _COLUMNS)
    _write_text(folder / ".bidsignore", "*.part\n")


def _write_text(path: Path, text: str) -> None:
    with write_aside(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")

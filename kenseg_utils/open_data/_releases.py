"""What is known of the open data sets: version, licence, and each file's size and SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import pandas as pd

METADATA = [
    "days_post_stroke",
    "sex",
    "age_at_stroke",
    "wab_aq",
    "aphasia_type",
    "wab_days",
    "scanner",
]


@dataclass(frozen=True)
class Release:
    """One version of one open data set, and where it lies. `manifest` is a file of the package."""

    name: str
    title: str
    accession: str
    version: str
    licence: str
    licence_url: str
    citation: str
    authors: tuple[str, ...]
    manifest: str
    base_url: str

    @property
    def doi(self) -> str:
        """Of this version of the data, without "doi:"."""
        return f"10.18112/openneuro.{self.accession}.v{self.version}"


ARC = Release(
    name="ARC",
    title="Aphasia Recovery Cohort (ARC) Dataset",
    accession="ds004884",
    version="1.0.2",
    licence="CC0",
    licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
    citation="Gibson M, Newman-Norlund R, Bonilha L, Fridriksson J, Hickok G, Hillis AE, den Ouden "
    "DB, Rorden C. The Aphasia Recovery Cohort, an open-source chronic stroke repository. "
    "Sci Data 11, 981 (2024). doi: 10.1038/s41597-024-03819-7",
    authors=(
        "Makayla Gibson",
        "Roger Newman-Norlund",
        "Leonardo Bonilha",
        "Julius Fridriksson",
        "Gregory Hickok",
        "Argye E. Hillis",
        "Dirk-Bart den Ouden",
        "Chris Rorden",
    ),
    manifest="arc-1.0.2.tsv",
    base_url="https://s3.amazonaws.com/openneuro.org/ds004884/",
)

RELEASES = {"arc": ARC}
REFUSED = {
    "soop": "SOOP (OpenNeuro ds004889, acute stroke) is not fetched, since it is no ground truth "
    "on T1w: its masks lie on the diffusion images, and lesions of the first days are "
    "mostly invisible on T1w. Its T1w are usable only as unlabelled heads, fetched by hand "
    "from openneuro.org. For training take arc."
}


def names() -> list[str]:
    """The data sets that `fetch` knows."""
    return list(RELEASES)


def get(name: str) -> Release:
    """The release of that name; ValueError for another, or for one that is known and refused."""
    known = str(name).lower()
    if known in REFUSED:
        raise ValueError(REFUSED[known])
    if known not in RELEASES:
        raise ValueError(f"Unknown open data set {name!r}: choose {' or '.join(names())}.")
    return RELEASES[known]


def manifest(name: str) -> pd.DataFrame:
    """A row a lesion mask of the whole release, in the order of subjects.

    Columns: subject, session (the mask's), t1w_session, days_between the two sessions; t1w and
    mask, paths below the release's root, each with _bytes and _sha256; then what `subjects` has.
    Raises ValueError for a name that is not in `names()`.
    """
    with (resources.files(__package__) / get(name).manifest).open(encoding="utf-8") as file:
        return pd.read_csv(file, sep="\t", keep_default_na=False, na_values=["n/a"])


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a manifest whose T1w and mask are of one session, smallest first."""
    same = table[table.session == table.t1w_session]
    return same.loc[(same.t1w_bytes + same.mask_bytes).sort_values(kind="stable").index]


def subjects(name: str) -> pd.DataFrame:
    """Who the subjects are whose pairs can be fetched: a row each, to join to a table of scans.

    `scans.merge(open_data.subjects("arc"), on=["subject", "session"], how="left")`.
    Columns: subject ("sub-M2001"), session; days_post_stroke (of the scan), sex, age_at_stroke
    (years), wab_aq (aphasia quotient of the Western Aphasia Battery, 0 to 100: less is worse),
    aphasia_type ("no aphasia" where ARC writes None), wab_days (days after the stroke when that
    was tested), scanner (model). NaN where ARC does not say.
    """
    table = pairs(manifest(name)).sort_values("subject", ignore_index=True)
    return table[["subject", "session", *METADATA]]


def licence(name: str) -> str:
    """Version, licence and citation of a data set, as text to print."""
    release = get(name)
    return (
        f"{release.title}, OpenNeuro {release.accession}, version {release.version}\n"
        f"Licence: {release.licence} ({release.licence_url})\n"
        f"Data: https://doi.org/{release.doi}\n"
        f"Please cite: {release.citation}\n"
    )

"""Small stand-ins for every ATLAS release: the names of the real ones, volumes of 12 x 14 x 10.

Each maker writes a tree below a folder and returns the folder that a reader would name.
Between them the releases store what real ones store: uint8, scaled int16 and float32 T1w, masks of
uint8, of 0 and 255, and of float64 with 0.99999998 for 1, left-right flipped and not.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

SHAPE = (12, 14, 10)
RAS = np.array([[1.0, 0, 0, -5], [0, 1, 0, -7], [0, 0, 1, -3], [0, 0, 0, 1]])
LAS = np.array([[-1.0, 0, 0, 6], [0, 1, 0, -7], [0, 0, 1, -3], [0, 0, 0, 1]])  # the same voxels


def image(seed: int = 0) -> np.ndarray:
    """A T1w in RAS order: whole numbers 0 … 200, so that every storage type holds them."""
    return np.random.default_rng(seed).integers(0, 200, SHAPE).astype(np.float64)


def lesion(seed: int = 0) -> np.ndarray:
    """A lesion mask in RAS order, off centre so that a flip shows."""
    mask = np.zeros(SHAPE)
    mask[2:5, 3 : 6 + seed % 3, 4:7] = 1
    return mask


def write(
    path: Path, values: np.ndarray, affine: np.ndarray = RAS, dtype=np.float32, slope: float = 1
) -> Path:
    """Write RAS `values` stored as `affine` has it (RAS or LAS); `slope` is the header's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = values[::-1] if affine[0, 0] < 0 else values
    volume = nibabel.Nifti1Image((stored / slope).astype(dtype), affine)
    volume.header.set_slope_inter(slope, 0)
    nibabel.save(volume, path)
    return path


def bids(
    folder: Path,
    subject: str,
    session: str = "1",
    space: str = "MNI152NLin2009aSym",
    description: str = "",
    label: str | None = "L",
    affine: np.ndarray = RAS,
    seed: int = 0,
    dtype=np.float32,
    mask_dtype=np.uint8,
) -> Path:
    """One BIDS session with its T1w and, unless `label` is None, its mask; returns the T1w."""
    start = f"sub-{subject}_ses-{session}" + (f"_space-{space}" if space else "")
    anat = folder / f"sub-{subject}" / f"ses-{session}" / "anat"
    described = f"_desc-{description}" if description else ""
    t1w = write(anat / f"{start}{described}_T1w.nii.gz", image(seed), affine, dtype)
    if label:
        one = 0.99999998 if mask_dtype == np.float64 else 1
        write(
            anat / f"{start}_label-{label}_desc-T1lesion_mask.nii.gz",
            lesion(seed) * one,
            affine,
            mask_dtype,
        )
    return t1w


def r11(root: Path) -> Path:
    """Site folders, numbers for names; one scan has two masks, one subject two sessions."""
    for site, subject, session, extra in (
        ("Site1", "031768", "t01", False),
        ("Site1", "031768", "t02", False),
        ("Site2", "031844", "t01", True),
    ):
        folder = root / "ATLAS_R1.1" / site / subject / session
        write(folder / f"{subject}_t1w_deface_stx.nii.gz", image(), LAS, np.uint8)
        write(folder / f"{subject}_LesionSmooth_stx.nii.gz", lesion() * 255, LAS, np.uint8)
        if extra:
            second = np.zeros(SHAPE)
            second[9, 10, 2:4] = 255
            write(folder / f"{subject}_LesionSmooth_1_stx.nii.gz", second, LAS, np.uint8)
    (root / "ATLAS_R1.1" / "ATLAS_Meta-Data_Release_1.1_standard_mni.csv").write_text(
        "INDI Site ID,INDI Subject ID,Session,Stroke type,Primary Stroke Location\n"
        "Site1,31768,t01,Embolic,Left MCA\nSite1,31768,t02,Embolic,Left PCA\n"
        "Site2,31844,t01,NA,Right MCA\n"
    )
    return root / "ATLAS_R1.1"


def r12(root: Path) -> Path:
    """Names that hold site, subject and session; int16 with a slope."""
    for subject, session in (("c0003s0002", "t01"), ("c0003s0002", "t02"), ("c0005s0011", "t01")):
        folder = root / "standard_MNI" / subject[:5] / (subject + session)
        write(folder / f"{subject}{session}_t1w_stx.nii.gz", image(), RAS, np.int16, slope=0.5)
        write(folder / f"{subject}{session}_LesionSmooth_stx.nii.gz", lesion(), RAS, np.float32)
    return root / "standard_MNI"


def r20(root: Path) -> Path:
    """Training and testing; a subject with two sessions; the template and tables beside them."""
    release = root / "ATLAS_2"
    bids(release / "Training" / "R001", "r001s001", seed=1)
    bids(release / "Training" / "R001", "r001s001", session="2", seed=2)
    bids(release / "Training" / "R039", "r039s004", affine=LAS, mask_dtype=np.float64)
    bids(release / "Testing" / "R002", "r002s007", label=None)
    write(release / "MNI152NLin2009aSym.nii.gz", image())
    (release / "20211112_ATLAS_2.0_SupplementaryInfo.csv").write_text("Coil,Field\n8,3\n")
    (release / "20220425_ATLAS_2.0_MetaData.csv").write_text(
        "Subject ID,Site,Lesioned Left Hemisphere Cortical\n"
        "r001s001,R001,2\nr039s004,R039,0\nr002s007,R002,\n"
    )
    (release / "Training" / "R001" / "dataset_description.json").write_text("{}")
    return release


def r21_raw(root: Path) -> Path:
    """Native space, half of it stored left-right flipped; a one-row table beside each scan."""
    release = root / "ATLAS_R2.1_raw" / "Training_Raw"
    for site, subject, affine in (("R001", "r001s001", LAS), ("R009", "r009s020", RAS)):
        t1w = bids(
            release / site,
            subject,
            space="orig",
            description="brain",
            label="lesion",
            affine=affine,
        )
        (t1w.parent / f"sub-{subject}_ses-1_metadata.csv").write_text(
            f"SESSION_ID,DAYS_POST_STROKE,CHRONICITY,SITE\nses-1,182.5,1,{site}\n"
        )
    return root / "ATLAS_R2.1_raw"


def r21_bids(root: Path) -> Path:
    """The plainest BIDS: no space, no site folders, masks among the derivatives."""
    release = root / "R2.1"
    for subject, session in (("r001s001", "1"), ("r001s001", "2"), ("r009s020", "1")):
        bids(release, subject, session, space="", label=None, affine=LAS, dtype=np.int16)
        write(
            release
            / "derivatives"
            / "lesions"
            / f"sub-{subject}"
            / f"ses-{session}"
            / "anat"
            / f"sub-{subject}_ses-{session}_label-L_desc-T1lesion_mask.nii.gz",
            lesion(),
            LAS,
            np.uint8,
        )
    (release / "participants.tsv").write_text(
        "participant_id\tage\tsex\nsub-r001s001\t61\tF\nsub-r009s020\tn/a\tM\n"
    )
    return release


def r30_raw(root: Path) -> Path:
    """Named sites; some tables have a header and no row, and columns in another order."""
    release = root / "ATLAS3_Training_Raw"
    for site, subject, table in (
        ("R001", "r001s001", "SESSION_ID,ATLAS2_DATASET,DAYS_POST_STROKE\nses-1,Training,90\n"),
        ("SOOP", "soop0910", "ATLAS2_DATASET,SESSION_ID,DAYS_POST_STROKE\n"),
        ("SOOP", "soop0011", "ATLAS2_DATASET,SESSION_ID,DAYS_POST_STROKE\n,ses-1,3.0\n"),
    ):
        t1w = bids(
            release / site,
            subject,
            space="orig",
            description="brain",
            label="lesion",
            dtype=np.float64,
        )
        (t1w.parent / f"sub-{subject}_ses-1_metadata.csv").write_text(table)
    return release


def r30_preprocessed(root: Path) -> Path:
    """As raw, on the template's grid."""
    release = root / "ATLAS3_Training_Preprocessed"
    for site, subject in (("R001", "r001s001"), ("SOOP", "soop0910")):
        bids(release / site, subject, description="brainnorm", label="lesion")
    return release

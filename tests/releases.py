"""Small stand-ins for every ATLAS release, ARC, SOOP and other layouts: volumes of 12 x 14 x 10.

Each maker writes a tree below a folder and returns the folder that a reader would name.
Between them the releases store what real ones store: uint8, scaled int16 and float32 T1w, masks of
uint8, of 0 and 255, and of float64 with 0.99999998 for 1, left-right flipped and not.
"""

from __future__ import annotations

import json
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
        seed = int(subject) + int(session[1:])
        write(folder / f"{subject}_t1w_deface_stx.nii.gz", image(seed), LAS, np.uint8)
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
        seed = int(subject[-4:]) + int(session[1:])
        write(folder / f"{subject}{session}_t1w_stx.nii.gz", image(seed), RAS, np.int16, slope=0.5)
        write(folder / f"{subject}{session}_LesionSmooth_stx.nii.gz", lesion(), RAS, np.float32)
    return root / "standard_MNI"


def r20(root: Path) -> Path:
    """Training and testing; a subject with two sessions; the template and tables beside them."""
    release = root / "ATLAS_2"
    bids(release / "Training" / "R001", "r001s001", seed=1)
    bids(release / "Training" / "R001", "r001s001", session="2", seed=2)
    bids(release / "Training" / "R039", "r039s004", affine=LAS, mask_dtype=np.float64, seed=3)
    bids(release / "Testing" / "R002", "r002s007", label=None, seed=4)
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
            seed=int(subject[1:4]),
        )
        (t1w.parent / f"sub-{subject}_ses-1_metadata.csv").write_text(
            f"SESSION_ID,DAYS_POST_STROKE,CHRONICITY,SITE\nses-1,182.5,1,{site}\n"
        )
    return root / "ATLAS_R2.1_raw"


def r21_bids(root: Path) -> Path:
    """The plainest BIDS: no space, no site folders, masks among the derivatives."""
    release = root / "R2.1"
    for subject, session in (("r001s001", "1"), ("r001s001", "2"), ("r009s020", "1")):
        seed = int(subject[1:4]) + int(session)
        bids(release, subject, session, space="", label=None, affine=LAS, dtype=np.int16, seed=seed)
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
            seed=int(subject[-3:]),
        )
        (t1w.parent / f"sub-{subject}_ses-1_metadata.csv").write_text(table)
    return release


def r30_preprocessed(root: Path) -> Path:
    """As raw, on the template's grid."""
    release = root / "ATLAS3_Training_Preprocessed"
    for site, subject in (("R001", "r001s001"), ("SOOP", "soop0910")):
        bids(
            release / site, subject, description="brainnorm", label="lesion", seed=int(subject[-3:])
        )
    return release


# --- other data ----------------------------------------------------------------------------------


def describe(folder: Path, name: str, doi: str = "", **more) -> Path:
    """Write a dataset_description.json."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"Name": name, "BIDSVersion": "1.6.0", "DatasetDOI": doi} | more
    (folder / "dataset_description.json").write_text(json.dumps(content))
    return folder


def save(path: Path, values: np.ndarray, affine: np.ndarray, dtype=np.uint8) -> Path:
    """Write values as they are stored, on any affine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(values).astype(dtype), affine), path)
    return path


def turned(shape, spacing, angles=(0.0, 0.0, 0.0), centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    """The affine of a grid around `centre` (mm), turned by angles (radians) about z, y and x."""
    affine = np.eye(4)
    affine[:3, :3] = nibabel.eulerangles.euler2mat(*angles) @ np.diag(spacing)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def ellipsoid(affine: np.ndarray, shape, centre, radii) -> np.ndarray:
    """Which voxels of a grid lie in an ellipsoid given in mm."""
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = nibabel.affines.apply_affine(affine, voxels)
    return (((world - centre) / radii) ** 2).sum(-1) <= 1


T2_GRID = turned((60, 60, 24), (1, 1, 2.5), (0.05, -0.2, 0.1))
T1_GRID = turned((64, 64, 64), (1, 1, 1), (-0.02, 0.1, 0.0), (1, -2, 3))


def arc(root: Path, described: bool = True) -> Path:
    """ARC's names: three subjects with T1w and mask of one session, one of two, one without mask.

    Masks lie on an oblique T2w grid. participants.tsv is the release's own, with wab_type None.
    """
    release = root / "ds004884"
    if described:
        describe(
            release,
            "Aphasia Recovery Cohort (ARC) Dataset",
            "doi:10.18112/openneuro.ds004884.v1.0.2",
        )
    lines = ["participant_id\tsex\tage_at_stroke\trace\twab_days\twab_aq\twab_type"]
    for number, (subject, t1_session, mask_session, sex, age, score, kind) in enumerate(
        (
            ("sub-M2012", "1158", "1158", "F", 38, 87.1, "Anomic"),
            ("sub-M2018", "341", "341", "M", 55, 96.8, "None"),
            ("sub-M2051", "284", "284", "M", 61, "n/a", "n/a"),
            ("sub-M2001", "1076", "1253", "F", 70, 54.8, "Broca"),
            ("sub-M2100", "90", None, "F", 44, 70.2, "Conduction"),
        )
    ):
        lines.append(f"{subject}\t{sex}\t{age}\tn/a\t500\t{score}\t{kind}")
        anat = release / subject / f"ses-{t1_session}" / "anat"
        stem = f"{subject}_ses-{t1_session}_acq-tfl3p2_run-4_T1w"
        rng = np.random.default_rng(number)
        save(anat / f"{stem}.nii.gz", rng.integers(0, 200, (64, 64, 64)), T1_GRID)
        (anat / f"{stem}.json").write_text('{"ManufacturersModelName": "TrioTim"}')
        if mask_session:
            place = f"{subject}/ses-{mask_session}/anat/{subject}_ses-{mask_session}"
            values = ellipsoid(T2_GRID, (60, 60, 24), (5, -4, 2), (7, 5, 6))
            name = f"{place}_acq-spc3_run-5_T2w"
            save(release / f"{name}.nii.gz", rng.integers(0, 200, (60, 60, 24)), T2_GRID)
            masks = release / "derivatives" / "lesion_masks"
            save(masks / f"{name}_desc-lesion_mask.nii.gz", values, T2_GRID)
    (release / "participants.tsv").write_text("\n".join(lines) + "\n")
    return release


def soop(root: Path, described: bool = True) -> Path:
    """SOOP's names: masks on the diffusion image, several of a subject."""
    release = root / "ds004889"
    if described:
        describe(
            release,
            "Stroke Outcome Optimization Project (SOOP)",
            "doi:10.18112/openneuro.ds004889.v1.1.2",
        )
    for number in (2, 11):
        subject = f"sub-{number}"
        write(release / subject / "anat" / f"{subject}_T1w.nii.gz", image(number))
        write(release / subject / "anat" / f"{subject}_FLAIR.nii.gz", image(number + 1))
        for kind in ("lesion", "lesionAcute"):
            masks = release / "derivatives" / "lesion_masks" / subject / "dwi"
            save(masks / f"{subject}_space-TRACE_desc-{kind}_mask.nii.gz", lesion(), RAS)
    return release


def nnunet(root: Path, channels=("T1w",), name: str = "Our strokes") -> Path:
    """nnU-Net's raw data: two cases to train on, one to test, a number for each contrast."""
    release = root / "Dataset042_Strokes"
    for case, folder in (("case_001", "Tr"), ("case_002", "Tr"), ("case_003", "Ts")):
        for channel in range(len(channels)):
            seed = int(case[-3:]) + 10 * channel
            write(release / f"images{folder}" / f"{case}_{channel:04d}.nii.gz", image(seed))
        if folder == "Tr":
            save(release / "labelsTr" / f"{case}.nii.gz", lesion(), RAS)
    names = {str(number): channel for number, channel in enumerate(channels)}
    content = {"name": name, "channel_names": names, "labels": {"background": 0, "lesion": 1}}
    (release / "dataset.json").write_text(json.dumps(content))
    return release


def beside(root: Path, labels: str = "labels") -> Path:
    """`images` beside `labels`: one name each, one with a word for its folder, one unlabelled."""
    release = root / "strokes"
    for number, (scan, mask) in enumerate(
        (("anna", "anna"), ("bert_T1w", "bert_mask"), ("carl", None))
    ):
        write(release / "images" / f"{scan}.nii.gz", image(number))
        if mask:
            save(release / labels / f"{mask}.nii.gz", lesion(), RAS)
    return release


def table(root: Path, name: str = "scans.csv", delimiter: str = ",", **columns) -> Path:
    """A table of three scans, the last without mask; `columns` are added as they are."""
    lines = [["image", "mask", "subject", *columns]]
    for number, subject in enumerate(("anna", "bert", "carl")):
        write(root / "scans" / f"{subject}.nii.gz", image(number))
        mask = ""
        if subject != "carl":
            mask = f"scans/{subject}_lesion.nii.gz"
            save(root / mask, lesion(), RAS)
        more = [str(values[number]) for values in columns.values()]
        lines.append([f"scans/{subject}.nii.gz", mask, subject, *more])
    path = root / name
    path.write_text("\n".join(delimiter.join(line) for line in lines) + "\n")
    return path

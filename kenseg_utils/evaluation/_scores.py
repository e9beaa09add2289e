"""Any method over any scans, or over prepared slices, to a table of scores: a row a subject.

A method that fails on a scan gets a row with its error. `summarise` and `compare` (in
`comparison`) count such rows and say so.
"""

from __future__ import annotations

import csv
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from tqdm import tqdm

from kenseg_utils import anatomy, atlas, metrics, prediction
from kenseg_utils.artifacts import as_path, checked_target, write_aside
from kenseg_utils.prediction import report

from ._comparison import checked_table_of_scores, failed, interval_columns
from .statistics import mean_interval


def evaluate(
    method: Any,
    scans: pd.DataFrame,
    *,
    soft: bool = False,
    threshold: float = 0.5,
    save_as: str | os.PathLike | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Run a method on whole volumes and score each against its mask: a row a scan.

    `method`: a Keras model, which goes through `prediction.segment_volume`, or a callable
    `method(image, affine)` on a RAS volume (X, Y, Z) that returns a mask of its shape or a
    nibabel image on its grid. With `soft` it returns the lesion's probability instead (a model
    goes through `prediction.lesion_probability`), which is cut at `threshold`; pr_auc and
    calibration_error are then scored too.
    `scans`: rows of `atlas.find_scans`. `save_as`: a CSV file to write.

    Columns: subject, session, site, side (of the true lesion: left, right, both, none, or unknown
    where the scan's header leaves it open), seconds (of the method alone), error ("" where all is
    well), and all of `metrics.lesion_scores`. A scan that could not be read, or on which the method
    failed or returned no mask, keeps its row, with the error and without scores; how many there are
    is also warned of.
    Raises ValueError, before any work, for what is no table of scans, no scans, or none with a
    mask, a threshold outside (0, 1], a model that cannot segment slices, or a file that cannot be
    written, is an input or holds something else than such scores.
    """
    prediction.check_cut(threshold)
    _check_scans(scans)
    if save_as is not None:
        save_as = checked_table(save_as, _inputs(scans))
        # Every such table has a column for errors.
        if save_as.is_file() and save_as.stat().st_size and "error" not in _names_in(save_as):
            raise ValueError(
                f"{save_as} is there and holds no scores of scans, so it would be lost: choose "
                "another name."
            )
    if not len(scans):
        raise ValueError("There are no scans to evaluate: the table is empty.")
    if not any(map(len, filter(_is_paths, scans["masks"]))):
        raise ValueError("None of the scans has a lesion mask: there is no truth to score against.")
    segment = _volume_method(method, soft, threshold)
    rows = [
        _scan_row(segment, row, soft, threshold)
        for row in tqdm(
            scans.to_dict("records"), desc="evaluate", unit="scan", disable=not progress
        )
    ]
    nothing = np.zeros((1, 1, 1), bool)  # so that the columns are there even if every scan failed
    table = _with_columns(rows, [*metrics.lesion_scores(nothing, nothing, (1, 1, 1))])
    _warn_of_failures(table, "scans")
    if save_as is not None:
        save_table(table, save_as)
    return table


def _with_columns(rows: list[dict], columns: list[str]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return table.reindex(columns=list(dict.fromkeys([*table.columns, *columns])))


def _check_scans(scans: Any) -> None:
    """ValueError for what is no table of scans, or one that was read back from a text file."""
    remedy = "Take rows of atlas.find_scans(folder)."
    if not isinstance(scans, pd.DataFrame):
        raise ValueError(f"scans is {type(scans).__name__}, and no table of scans. {remedy}")
    if not len(scans):
        return
    for name in ("t1w", "masks"):
        if list(scans).count(name) != 1:
            raise ValueError(
                f"A table of scans has one column {name!r}; this one has {list(scans)}. {remedy}"
            )
    if not any(map(_is_paths, scans["masks"])):
        raise ValueError(
            f"The column 'masks' holds tuples of paths; here it begins with "
            f"{scans['masks'].iloc[0]}: a table read back from a text file has lost its tuples. "
            f"{remedy}"
        )


def _is_paths(masks: Any) -> bool:
    return isinstance(masks, (tuple, list))


def _inputs(scans: pd.DataFrame) -> list:
    """The files that a table of scans names."""
    named = [
        file
        for row in scans.to_dict("records")
        for file in (row["t1w"], *(row["masks"] if _is_paths(row["masks"]) else ()))
    ]
    return [file for file in named if isinstance(file, (str, os.PathLike))]


def _volume_method(method, soft: bool, threshold: float) -> Callable:
    if _is_model(method):
        if hasattr(method, "input_shape"):
            prediction.check_network(method)
        if soft:
            return lambda image, affine: prediction.lesion_probability(method, image, affine)
        return lambda image, affine: prediction.segment_volume(method, image, affine, threshold)
    if not callable(method):
        raise ValueError(
            f"{type(method).__name__} is no method: give a Keras model or a callable "
            "that takes an image and its affine."
        )
    return method


def _is_model(method) -> bool:
    return hasattr(method, "predict_on_batch")


def _scan_row(segment: Callable, row: dict, soft: bool, threshold: float) -> dict:
    about = {name: row.get(name, "") for name in ("subject", "session", "site")}
    outcome = dict(side="", seconds=np.nan, error="")
    scores = {}
    try:
        scan = atlas.load_scan(row, allow_empty_mask=True)
        if scan.mask is None:
            raise atlas.ScanError(f"{scan.path} has no lesion mask to score against.")
        parted = report.scan_midline(scan, row.get("space") or None)
        outcome["side"] = anatomy.lesion_side(scan.mask, scan.affine, parted)
        # Known whatever the method does, so that failures can be counted by lesion size.
        scores["truth_volume_ml"] = float(scan.mask.sum() * anatomy.voxel_ml(scan.affine))
        started = time.perf_counter()
        result = segment(scan.image, scan.affine)
        outcome["seconds"] = time.perf_counter() - started
        scores |= _volume_scores(_on_grid(result, scan), scan, soft, threshold)
    except Exception as error:  # whatever a method raises is a result of that method
        outcome["error"] = f"{type(error).__name__}: {error}"
    return about | outcome | scores


def _on_grid(result, scan: atlas.Scan) -> np.ndarray:
    """A method's result as an array, refused where it says that it lies on another grid."""
    if not (hasattr(result, "affine") and hasattr(result, "dataobj")):
        found = np.asarray(result)
        if not found.ndim:
            raise ValueError(
                f"The method returned {type(result).__name__}, and no mask: a method gives an "
                f"array of shape {scan.image.shape} or a nibabel image."
            )
        return found
    # The image may store its axes in another order, or from the other end.
    way = nibabel.orientations.io_orientation(np.linalg.solve(scan.affine, result.affine))
    if result.ndim == 3 and not np.isnan(way).any():
        result = result.as_reoriented(way)
    apart = anatomy.grid_distance(scan.affine, result.affine, scan.image.shape)
    if not apart <= anatomy.GRID_TOLERANCE_MM:
        spacing = np.round(anatomy.spacing(result.affine), 3).tolist()
        raise ValueError(
            f"The prediction lies on another grid, up to {apart:.3g} mm away (its "
            f"spacing is {spacing} mm, the scan's {list(scan.spacing)} mm): resample "
            "it to the scan."
        )
    return np.asanyarray(result.dataobj)


def _volume_scores(found: np.ndarray, scan: atlas.Scan, soft: bool, threshold: float) -> dict:
    assert scan.mask is not None  # `_scan_row` has looked
    mask = found >= threshold if soft else found
    voxel_ml = anatomy.voxel_ml(scan.affine)
    scores = metrics.lesion_scores(
        scan.mask, mask, scan.spacing, voxel_ml=voxel_ml, affine=scan.affine
    )
    if soft:
        scores["pr_auc"] = metrics.pr_auc(scan.mask, found)
        scores["calibration_error"] = metrics.calibration_error(scan.mask, found)
    return scores


@dataclass(frozen=True)
class SliceScores:
    """Scores of prepared slices, a row a slice and a row a subject (and session).

    Both tables have subject, session, site, scan (what tells a session's scans apart), tp, fp, fn,
    tn, dice, iou, precision, recall, error.
    slices: also z. subjects, a row a scan: these scores of the voxels of all its slices together;
    also slices (how many), mean_slice_dice, truth_volume_ml (of the lesion inside the slices), and
    for soft predictions pr_auc and calibration_error.
    """

    slices: pd.DataFrame
    subjects: pd.DataFrame

    def by_subject(self) -> pd.DataFrame:
        """A row for each person: the means of the numbers in `subjects` over all scans of them.

        Two sessions of one person are no two persons, and an interval that takes them for such is
        too narrow. Scans on which the method failed do not count; whoever has no other has no
        scores.
        """
        people = self.subjects.groupby("subject", sort=False, dropna=False)
        means = people.mean(numeric_only=True)
        return means.assign(scans=people.size()).reset_index()

    def reductions(
        self, score: str = "dice", empty: float = 1.0, level: float = 0.95
    ) -> pd.DataFrame:
        """One score's mean per slice, per subject and pooled, each with its interval by subject.

        The same predictions under three protocols: say which one a number comes from.
        Raises ValueError for another score or level, or an `empty` that is no number.
        """
        slices, subjects = (table[~failed(table)] for table in (self.slices, self.subjects))
        lines = [
            _reduction(*line, score, empty, level)
            for line in (("per slice", slices), ("per subject", subjects), ("pooled", subjects))
        ]
        table = pd.DataFrame(lines).assign(failed_subjects=len(self.subjects) - len(subjects))
        return table.astype(dict.fromkeys(("mean", "low", "high"), "Float64"))


def _reduction(name: str, table: pd.DataFrame, score: str, empty: float, level: float) -> dict:
    """One line of `SliceScores.reductions`."""
    counts = metrics.Counts(*(table[part].to_numpy(np.int64) for part in ("tp", "fp", "fn", "tn")))
    values = metrics.per_slice(counts, score, empty)
    # A pooled score is the mean of the subjects' scores, weighted by their denominators.
    weights = _denominators(counts)[score] if name == "pooled" else np.ones(len(values))
    used = (weights > 0) & np.isfinite(values)
    values, weights, subjects = values[used], weights[used], table["subject"].to_numpy()[used]
    interval = mean_interval(values, subjects, weights, level=level, bounds=(0, 1))
    return dict(
        score=score,
        reduction=name,
        values=len(values),
        undefined=int((~used).sum()),
        subjects=interval.n,
        mean=np.average(values, weights=weights) if used.any() else pd.NA,
        **interval_columns(interval),
    )


def _denominators(counts: metrics.Counts) -> dict[str, np.ndarray]:
    tp, fp, fn = (np.asarray(part) for part in (counts.tp, counts.fp, counts.fn))
    return {"dice": 2 * tp + fp + fn, "iou": tp + fp + fn, "precision": tp + fp, "recall": tp + fn}


def evaluate_slices(method: Any, slice_set: Any, *, threshold: float = 0.5) -> SliceScores:
    """Score predictions on a SliceSet, slice by slice and subject by subject.

    `method`: a Keras model; a callable on images (n, H, W, channels) float32, all of one subject;
    or an array for the whole set. Each gives masks (n, H, W) or the lesion's probability: (n, H,
    W), with one channel, or as softmax over two classes. Probabilities are cut at `threshold`.
    A subject on which the method fails keeps its rows, with the error and without scores.
    Raises ValueError for what is no set of slices or has none, a subject that is missing or named
    in two ways, an array that does not fit it, or a threshold outside (0, 1].
    """
    prediction.check_cut(threshold)
    index = getattr(slice_set, "index", None)
    if not isinstance(index, pd.DataFrame) or not hasattr(slice_set, "batch"):
        raise ValueError(
            f"slice_set is {type(slice_set).__name__}: give a SliceSet, as slices.prepare makes it."
        )
    index = index.reset_index(drop=True)
    if not len(index):
        raise ValueError("The set has no slices: there is nothing to evaluate.")
    checked_table_of_scores(index, ("subject", "z"), "The set's index")
    metrics.checked_subjects(index["subject"], "The set's index: ")
    predict = _slice_method(method, (len(index), *slice_set.batch([0])[1].shape[1:]))
    keys = [name for name in ("subject", "session", "site", "scan") if name in index]
    slices, subjects = [], []
    # A session may hold several scans, on grids of their own.
    apart = [name for name in ("subject", "session", "scan") if name in index]
    for positions in index.groupby(apart, dropna=False).indices.values():
        entries = index.iloc[positions]
        images, masks = slice_set.batch(positions)
        try:
            soft = _lesion_probability(predict(positions, images), masks.shape)
            of_slices, of_subject = _score_slices(masks, soft, threshold)
        except Exception as error:  # whatever a method raises is a result of that method
            of_subject = dict(error=f"{type(error).__name__}: {error}")
            of_slices = [of_subject] * len(positions)
        slices += [
            entry | row
            for entry, row in zip(entries[[*keys, "z"]].to_dict("records"), of_slices, strict=True)
        ]
        subjects.append(
            entries.iloc[0][keys].to_dict()
            | dict(slices=len(positions))
            | _lesion_volume(masks, entries)
            | of_subject
        )
    columns = [*vars(metrics.Counts(0, 0, 0, 0)), *metrics.SCORES]
    result = SliceScores(
        _with_columns(slices, columns), _with_columns(subjects, [*columns, "mean_slice_dice"])
    )
    _warn_of_failures(result.subjects, "subjects")
    return result


def _slice_method(method, shape: tuple[int, ...]) -> Callable:
    """A function of positions and images that gives predictions for one subject's slices."""
    if _is_model(method):
        from kenseg_utils import training

        return lambda _, images: np.asarray(training.predict(method, images))
    if callable(method):
        return lambda _, images: method(images)
    predictions = _lesion_probability(method, shape)
    return lambda positions, _: predictions[positions]


def _lesion_probability(prediction, shape: tuple[int, ...]) -> np.ndarray:
    """The lesion's channel of a prediction, checked: masks (integers) or probabilities (floats)."""
    prediction = np.asarray(prediction)
    if prediction.ndim == 4 and prediction.shape[-1] in (1, 2):
        prediction = prediction[..., -1]
    if prediction.shape != shape:
        raise ValueError(
            f"The prediction has shape {prediction.shape} and the masks {shape}: give "
            "(n, H, W), or (n, H, W, classes) with one or two classes."
        )
    if prediction.dtype.kind != "f":
        return metrics.checked_mask(prediction, "prediction")
    if not (prediction.min() >= 0 and prediction.max() <= 1):  # so that NaN is refused as well
        raise ValueError(
            f"The prediction runs from {prediction.min()} to {prediction.max()}: "
            "give probabilities in [0, 1], after softmax."
        )
    return prediction


def _score_slices(masks: np.ndarray, soft: np.ndarray, threshold: float) -> tuple[list, dict]:
    """One subject's rows: a dict for each slice, and one for all of them together."""
    found = soft if soft.dtype == bool else soft >= threshold
    each = metrics.count_slices(masks, found)
    whole = metrics.Counts(**{part: int(counts.sum()) for part, counts in vars(each).items()})
    scores = {name: score(each) for name, score in metrics.SCORES.items()}
    of_slices = pd.DataFrame(dict(vars(each), **scores, error="")).to_dict("records")
    of_subject = dict(
        vars(whole),
        error="",
        **{name: score(whole) for name, score in metrics.SCORES.items()},
        mean_slice_dice=float(scores["dice"].mean()),
    )
    if soft.dtype != bool:
        of_subject |= dict(
            pr_auc=metrics.pr_auc(masks, soft),
            calibration_error=metrics.calibration_error(masks, soft),
        )
    return of_slices, of_subject


def _lesion_volume(masks: np.ndarray, entries: pd.DataFrame) -> dict:
    """The true lesion's ml in these slices, where the index knows how large a voxel is.

    Each slice's own voxels count: a subject's scans may lie on several grids.
    """
    if "voxel_ml" not in entries:
        return {}
    voxel_ml = entries.voxel_ml.to_numpy(float)
    for scale in {"scale_row", "scale_column"} & set(entries):  # of the stored slice
        voxel_ml = voxel_ml / entries[scale].to_numpy(float)
    voxels = masks.reshape(len(masks), -1).sum(1, dtype=np.int64)
    return dict(truth_volume_ml=float((voxels * voxel_ml).sum()))


def _warn_of_failures(table: pd.DataFrame, unit: str) -> None:
    lost = table[failed(table)]
    if len(lost):
        warnings.warn(
            f"{len(lost)} of {len(table)} {unit} have an error instead of scores, the "
            f"first being {lost['subject'].iloc[0]}: {lost['error'].iloc[0]}",
            stacklevel=3,
        )


# Columns of words, which stay text where they look like numbers or like something missing.
TEXT = (
    *("subject", "session", "site", "scan", "side", "error", "name"),
    *("method", "other", "verdict", "interval", "level", "note"),
)


def save_table(table: pd.DataFrame, path: str | os.PathLike) -> Path:
    """Write a table as CSV; the file appears when it is whole. Returns the path.

    Names that are no UTF-8 (Python keeps such folders' names as surrogates) keep their bytes.
    Raises ValueError for a name that does not end in .csv, where nothing can be written, or where
    a table of scans lies (it has a column t1w or image): that is an input; and for what is no
    table.
    """
    if not isinstance(table, pd.DataFrame):
        raise ValueError(f"table is {type(table).__name__}: give a pandas DataFrame.")
    path = checked_table(path)
    with write_aside(path) as partial:
        table.to_csv(partial, index=False, errors="surrogateescape")
    return path


def checked_table(path: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> Path:
    """The path of a table to write, or ValueError, before any work, where it cannot be written.

    Neither one of `inputs` nor a table of scans is overwritten.
    """
    path = checked_target(path, (".csv",), inputs)
    if path.is_file() and {"t1w", "image"} & _names_in(path):
        raise ValueError(
            f"{path} is a table of scans, which this would overwrite: choose another name."
        )
    return path


def open_table(path: str | os.PathLike) -> pd.DataFrame:
    """Read what `save_table` wrote; names stay text even where they look like numbers.

    A site "NA" or "None" is a name, too; only numbers can be missing.
    Raises ValueError for a file that is not there, cannot be read, is empty or holds no table.
    """
    path = as_path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a CSV file in it.")
    try:
        numbers = [name for name in _columns(path) if name not in TEXT]
        return pd.read_csv(
            path,
            dtype=dict.fromkeys(TEXT, str),
            keep_default_na=False,
            na_values=dict.fromkeys(numbers, ["", "nan", "NaN", "NA", "<NA>"]),
            encoding_errors="surrogateescape",
        )
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): is that its name?") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty: it holds no table.") from error
    except (csv.Error, pd.errors.ParserError) as error:
        raise ValueError(
            f"{path} is no table of scores ({str(error).strip()}): give a CSV file that "
            "save_table wrote."
        ) from error


def _names_in(path: str | os.PathLike) -> set[str]:
    """The cells of a file's first lines, in lower case, however a spreadsheet wrote them."""
    with open(path, "rb") as file:  # UTF-16 without its zeros is UTF-8 for these words
        start = file.read(4096).replace(b"\0", b"").decode("utf-8-sig", "replace")
    cells = re.split(r"[,;\t|]", "\t".join(start.splitlines()[:5]).lower())
    return {cell.strip(' "\ufeff\ufffd') for cell in cells}


def _columns(path: str | os.PathLike) -> list[str]:
    """The names in a CSV file's first line."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return next(csv.reader(file), [])

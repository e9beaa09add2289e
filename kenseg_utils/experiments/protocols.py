"""One set of predictions, counted under three protocols: what the dial of chapter 6 turns.

    python -m kenseg_utils.experiments.protocols --record

lets the recorded whole-slice network segment phantom heads that it never saw, and writes the counts
of each slice to results/protocols.json.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd

from kenseg_utils import artifacts, metrics, phantom, prediction
from kenseg_utils.slices import crop, lesion_centre

# What of a head is looked at, and in the order in which it is more and more.
SCOPES = ("crops", "slices", "volume")
COLUMNS = ("subject", "scope", "tp", "fp", "fn")
NETWORK = "whole_slices"
SUBJECTS, SEED = 8, 18  # heads of a release of its own: no other part of the book draws from it


def count_scopes(
    truth: np.ndarray, found: np.ndarray, subject: str = "", size: int = 124
) -> pd.DataFrame:
    """Count one head's masks (X, Y, Z) under each protocol: a row a slice, `COLUMNS`.

    "crops": a `size` by `size` window around the lesion, in each slice that has lesion (the
    paper's; an oracle places it). "slices": the whole of each slice that has lesion. "volume":
    every slice. Raises ValueError for masks that are none or differ in shape.
    """
    truth, found = metrics.checked_masks(truth, found)
    rows = []
    for z in range(truth.shape[2]):
        own, called = truth[:, :, z], found[:, :, z]
        scopes = {"volume": (own, called)}
        if own.any():
            centre = lesion_centre(own)
            scopes["slices"] = (own, called)
            scopes["crops"] = (crop(own, centre, size)[0], crop(called, centre, size)[0])
        for scope, masks in scopes.items():
            counts = metrics.count(*masks)
            rows.append((subject, scope, int(counts.tp), int(counts.fp), int(counts.fn)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = table.scope.map(SCOPES.index)
    return table.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def dice_of(counts: pd.DataFrame, scope: str, reduction: str, empty: float = 1.0) -> float:
    """The mean Dice of counts under one protocol: the slices of `scope`, reduced.

    `reduction`: "slice", "subject" or "pooled"; `empty`: what two empty masks score, NaN leaves
    them out. NaN where nothing is left. Raises ValueError for another scope or reduction.
    """
    rows = counts[counts.scope == scope]
    if rows.empty or reduction not in ("slice", "subject", "pooled"):
        raise ValueError(
            f"Nothing is counted as {scope!r} by {reduction!r}: scopes are {', '.join(SCOPES)}, "
            "reductions slice, subject and pooled."
        )
    tp, fp, fn = (rows[name].to_numpy() for name in ("tp", "fp", "fn"))
    told = metrics.Counts(tp, fp, fn, np.zeros(len(rows), int))
    if reduction == "pooled":
        return metrics.pooled(told, empty=empty)
    each = (
        metrics.per_slice(told, empty=empty)
        if reduction == "slice"
        else metrics.per_subject(told, rows.subject, empty=empty).to_numpy()
    )
    each = each[~np.isnan(each)]
    return float(each.mean()) if each.size else float("nan")


def recorded_counts(folder: str | os.PathLike | None = None) -> pd.DataFrame | None:
    """The counts that are recorded with the book, as `count_scopes` gives them, or None.

    Raises ValueError for a file that holds something else.
    """
    file = artifacts.results_file("protocols", folder)
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        parts = [
            pd.DataFrame(rows, columns=["tp", "fp", "fn"]).assign(subject=subject, scope=scope)
            for subject, scopes in content["counts"].items()
            for scope, rows in scopes.items()
        ]
        return pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{file} holds no counts of slices ({type(error).__name__}: {error}): record it anew."
        ) from error


def record_counts(subjects: int = SUBJECTS, folder: str | os.PathLike | None = None) -> Path:
    """Segment so many phantom heads by the recorded network of slices; write what is counted.

    Raises ValueError where that network is not recorded.
    """
    kept = prediction.recorded_network(NETWORK)
    if kept is None:
        raise ValueError(f"No network is recorded as {NETWORK}: record it first.")
    model, counts = kept[0], {}
    for index in range(subjects):
        image, truth, told = phantom.make_subject(index, SEED)
        mask = prediction.segment_volume(model, image, phantom.AFFINE)
        table = count_scopes(truth, mask, told["subject"])
        counts[told["subject"]] = {
            scope: table[table.scope == scope][["tp", "fp", "fn"]].to_numpy().tolist()
            for scope in SCOPES
        }
    file = artifacts.results_file("protocols", folder)
    about = dict(network=NETWORK, seed=SEED, phantom=phantom.VERSION, counts=counts)
    with artifacts.write_aside(file) as aside:
        aside.write_text(json.dumps(about) + "\n", encoding="utf-8")
    return file


def main(arguments: list[str] | None = None) -> None:
    """Record the counts, or print the Dice of each protocol from those that are recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="segment heads, and write the counts")
    parser.add_argument("--subjects", type=int, default=SUBJECTS)
    parser.add_argument("--folder", help="instead of the source tree's results")
    given = parser.parse_args(arguments)
    if given.record:
        print(record_counts(given.subjects, given.folder))
    counts = recorded_counts(given.folder)
    if counts is None:
        parser.exit(1, "Nothing is recorded: give --record.\n")
    for scope in SCOPES:
        for reduction in ("slice", "subject", "pooled"):
            told = [f"{dice_of(counts, scope, reduction, e):.3f}" for e in (0, 1, float("nan"))]
            print(f"{scope:7} per {reduction:8} empty 0, 1, left out: {', '.join(told)}")


if __name__ == "__main__":
    main()

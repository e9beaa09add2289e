"""Train a network on synthetic heads: `python -m kenseg_utils.experiments.synthesis --out DIR`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np

from kenseg_utils import atlas
from kenseg_utils.prediction import frames

from ._train import Plan, train_by_clock
from ._views import VIEWS


def _parser() -> argparse.ArgumentParser:
    usual = {field.name: field.default for field in fields(Plan)}
    parser = argparse.ArgumentParser(
        prog="python -m kenseg_utils.experiments.synthesis",
        description="Train a network on synthetic heads for so many minutes. "
        "Run again with the same folder, it goes on.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is made")
    parser.add_argument("--minutes", type=float, default=usual["minutes"])
    parser.add_argument("--network", choices=list(VIEWS), default=usual["network"])
    parser.add_argument("--widths", help="filters by level, such as 16,32,64,128,128")
    parser.add_argument("--batch", type=int, default=usual["batch"], help="volumes a step")
    parser.add_argument("--rate", type=float, default=usual["rate"], help="highest learning rate")
    parser.add_argument("--precision", default=usual["precision"])
    parser.add_argument(
        "--workers", type=int, default=usual["workers"], help="processes that make heads"
    )
    parser.add_argument("--pool", type=Path, help="folder of heads, which trainings may share")
    parser.add_argument("--pool-size", type=int, default=usual["pool_size"], help="heads in it")
    parser.add_argument("--seed", type=int, default=usual["seed"])
    parser.add_argument("--phantoms", type=int, default=usual["phantoms"], help="to develop on")
    parser.add_argument("--own", type=int, default=usual["own"], help="heads to develop on")
    parser.add_argument(
        "--healthy", type=Path, nargs="*", default=[], help="T1w of healthy heads to develop on"
    )
    parser.add_argument("--loop", default=usual["loop"], choices=("auto", "device", "host"))
    parser.add_argument("--clock", default=usual["clock"], choices=("wall", "processor"))
    parser.add_argument("--patch", help="voxels that a step sees of each volume, as 48,64,48")
    parser.add_argument(
        "--start-from", help="weights to begin with: a recorded network (.npz), or .keras"
    )
    parser.add_argument("--log-seconds", type=float, default=usual["log_seconds"])
    parser.add_argument("--save-seconds", type=float, default=usual["save_seconds"])
    return parser


def main(arguments: list[str] | None = None) -> None:
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    out, pool, healthy = (given.pop(name) for name in ("out", "pool", "healthy"))
    for name in ("widths", "patch"):
        if given[name]:
            given[name] = tuple(int(number) for number in given[name].split(","))
    try:
        file = train_by_clock(
            Plan(**given),
            out,
            pool,
            [_seen(path) for path in healthy],
            say=lambda line: print(line, flush=True),
        )
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    print(f"The network lies in {file}")


def _seen(path: Path) -> np.ndarray:
    scan = atlas.load_image(path)
    return frames.look(scan.image, scan.affine)[1]


if __name__ == "__main__":
    main()

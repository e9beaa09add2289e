"""What takes longer than a page may: recorded once in results/, then shown.

Tables as <name>.json, a trained network as <name>.npz.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from . import artifacts


@dataclass(frozen=True)
class Result:
    """A recorded result: its tables by name, and what they came from."""

    tables: dict[str, pd.DataFrame]
    provenance: dict


def save_result(name: str, tables: Mapping[str, pd.DataFrame], folder=None, **provenance) -> Path:
    """Record tables as `results/<name>.json`, with versions, device, commit and time.

    `provenance` adds to these or takes their place: `**experiments.evidence(table)` names the
    data, seeds and devices. `folder`: another one than `results` beside the package.
    Raises ValueError for a name that is more than letters, digits, - and _.
    """
    from . import training

    file = _file(name, folder)
    about = json.dumps(training.provenance() | provenance, indent=2, default=str)
    titled = ",\n".join(f"{json.dumps(title)}: [\n{_a_row_a_line(table)}\n]"
                        for title, table in tables.items())
    with artifacts.write_aside(file) as aside:
        aside.write_text(f'{{"provenance": {about},\n"tables": {{\n{titled}\n}}}}\n')
    return file


def _a_row_a_line(table: pd.DataFrame) -> str:
    """A JSON object for each row, on its own line, so that two recordings can be compared."""
    lines = table.to_json(orient="records", lines=True)
    return ",\n".join(lines.splitlines())


def open_result(name: str, folder=None) -> Result | None:
    """What `save_result` recorded under this name, or None where nothing was recorded.

    Raises ValueError for a file that holds something else.
    """
    file = _file(name, folder)
    if not file.exists():
        return None
    try:
        found = json.loads(file.read_text())
        return Result({title: pd.DataFrame(rows) for title, rows in found["tables"].items()},
                      dict(found["provenance"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is no recorded result ({type(error).__name__}: {error}): record "
                         "it anew, or remove it.") from error


def save_network(name: str, run, folder=None, threshold: float = 0.5, **more) -> Path:
    """Record a finished run's network as `results/<name>.npz`: its weights, and what made it.

    `threshold`: from which probability on its answer is lesion; `more` joins what is kept of it.
    Kernels are kept in half precision and vectors (biases, normalisation) in single precision; a
    test holds what that changes in a probability below 0.01. Numbers and text, never code.
    """
    model = run.model
    weights = {f"weight_{number:04d}": np.float16(array) if array.ndim > 1 else np.float32(array)
               for number, array in enumerate(model.get_weights())}
    about = run.provenance | dict(history=run.history.to_dict("records"),
                                  input_shape=model.input_shape[1:],
                                  threshold=threshold, **more)
    file = _file(name, folder, ".npz")
    with artifacts.write_aside(file) as aside:
        np.savez_compressed(aside, about=np.frombuffer(json.dumps(about).encode(), np.uint8),
                            **weights)
    return file


def open_network(name: str, folder=None):
    """The network that `save_network` recorded and its provenance, or None if there is none.

    It is built anew from its recipe and given the recorded weights. Its lesion scores are shifted
    so that the threshold recorded with it becomes 0.5, which is what everything else assumes.
    Raises ValueError for a file that holds something else.
    """
    from . import networks, training

    file = _file(name, folder, ".npz")
    if not file.exists():
        return None
    try:
        with np.load(file, allow_pickle=False) as found:
            about = json.loads(found["about"].tobytes())
            weights = [found[key].astype(np.float32) for key in sorted(found) if key != "about"]
        model = training.build(training.Recipe(**about["recipe"]), tuple(about["input_shape"]))
        model.set_weights(weights)
        networks.shift_scores(model, 1 - about.get("threshold", 0.5))
    except Exception as error:  # an archive can be broken in many ways
        raise ValueError(f"{file} is no recorded network ({type(error).__name__}: "
                         f"{str(error)[:200]}): record it anew, or remove it.") from error
    return model, about


def _file(name: str, folder, suffix: str = ".json") -> Path:
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise ValueError(f"{name!r} is no name of a result: use letters, digits, - and _.")
    source = Path(__file__).resolve().parents[1]
    home = source if (source / "pyproject.toml").exists() else Path.cwd()
    return Path(folder or home / "results") / f"{name}{suffix}"

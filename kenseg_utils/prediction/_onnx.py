"""An exported network, run by onnxruntime: neither Keras nor TensorFlow is loaded for it."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from typing import Any

import numpy as np

from kenseg_utils import artifacts

from ._answers import give_choices

NOTES = "kenseg_utils"  # under this name, an ONNX file keeps what was recorded with its network


class OnnxNetwork:
    """An .onnx file that answers as the Keras model did from which it was exported.

    It has what `prediction` asks of a network: `input_shape`, `output_shape` (the batch is None),
    `predict_on_batch`, and, where it was recorded, `least_ml`, `mirrored`, `moved`, `peak_share`
    and `threshold` (of volumes; the scores of slices are shifted in the file). `about` is what was
    recorded with it, or empty. ValueError where onnxruntime is missing, or the file is no network
    of one input and one output.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = artifacts.as_path(path)
        if find_spec("onnxruntime") is None:
            raise ValueError(
                f"{self.path.name} needs onnxruntime to run: pip install onnxruntime, or give a "
                ".keras file."
            )
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        try:
            self._session = onnxruntime.InferenceSession(
                str(self.path), providers=["CPUExecutionProvider"]
            )
            kept = self._session.get_modelmeta().custom_metadata_map.get(NOTES, "{}")
            self.about: dict[str, Any] = json.loads(kept)
        except Exception as error:  # onnxruntime has some ten kinds of its own
            raise ValueError(
                f"{self.path} cannot be run: it is no whole ONNX network "
                f"({type(error).__name__}: {str(error)[:200]})."
            ) from error
        ends = self._session.get_inputs(), self._session.get_outputs()
        if len(ends[0]) != 1 or len(ends[1]) != 1:
            raise ValueError(
                f"{self.path} has {len(ends[0])} inputs and {len(ends[1])} outputs: one of each is "
                "needed."
            )
        self._input = ends[0][0].name
        self.input_shape, self.output_shape = (_shape(end[0].shape) for end in ends)
        give_choices(self, self.about)
        if len(self.input_shape) == 5 and "threshold" in self.about:
            self.threshold = float(self.about["threshold"])

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of a batch; ValueError where the images do not fit."""
        images = np.asarray(images, np.float32)
        try:
            return self._session.run(None, {self._input: images})[0]
        except Exception as error:
            raise ValueError(
                f"{self.path.name} cannot be run on images of shape {images.shape}: {error}"
            ) from error

    def for_slices_of(self, frame: tuple[int, int]) -> OnnxNetwork:
        """Itself, where it takes slices of that height and width; ValueError otherwise."""
        if tuple(self.input_shape[1:3]) != tuple(frame):
            raise ValueError(
                f"{self.path.name} takes slices of {self.input_shape[1:3]}, and these are {frame}: "
                f"export prediction.at_shape(model, {frame})."
            )
        return self


def _shape(sizes: list) -> tuple[int | None, ...]:
    """A shape as Keras gives it: what may be anything is None."""
    return tuple(size if isinstance(size, int) else None for size in sizes)

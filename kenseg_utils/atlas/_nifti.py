"""Read one NIfTI volume, quickly and with suspicion.

Whatever the bytes, a caller gets a sound volume in RAS order or a ScanError that names the file,
the cause and the remedy. Nothing is allocated that the file could not hold.
"""

from __future__ import annotations

import gzip as standard_gzip
import logging
import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

from ._foreign import (
    COPY_AGAIN,
    GZIP_MAGIC,
    ScanError,
    as_path,
    refuse_foreign,
    refuse_no_nifti,
    unreadable,
)
from ._orientation import orientation

gzip: ModuleType = standard_gzip
_INFLATE_ERRORS: tuple[type[BaseException], ...] = (EOFError, standard_gzip.BadGzipFile, zlib.error)
try:  # Intel's inflate, about twice as quick; the same interface as the standard library's.
    from isal import igzip, isal_zlib
except ImportError:
    pass
else:
    gzip = igzip
    _INFLATE_ERRORS += (isal_zlib.error,)  # type: ignore[operator]  # its stub names an instance

MAX_VOXELS = 2**27  # 512 x 512 x 512; a 0.5 mm scan of a whole head has 84 million voxels
_MAX_GZIP_RATIO = 1040  # deflate cannot shrink anything by more than 1032
_CHUNK = 2**20  # inflated at a time: what fits the processor's cache is up to four times as quick
_HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 has 348
_ERROR_LEVEL = 40  # of nibabel's checks: what it could only guess at
_SILENT = logging.Logger("repairs that nibabel makes, which are told as notes or not at all")
_SILENT.addHandler(logging.NullHandler())


@dataclass(frozen=True, eq=False)
class Volume:
    """One NIfTI file as it is stored, and the way from there to RAS order.

    values: 3-D, of the stored type unless the header scales them (then float32, or float64 where
    float32 would lose digits). affine (4,4): stored voxel to mm. orientation (3,2): nibabel's
    account of the way from the stored axes to RAS. sides_known, is_placed, notes: see
    `Orientation`.
    """

    path: Path
    values: np.ndarray
    affine: np.ndarray
    orientation: np.ndarray
    header: nibabel.Nifti1Header
    sides_known: bool = True
    is_placed: bool = True
    notes: tuple[str, ...] = ()

    def in_ras(self, array: np.ndarray) -> np.ndarray:
        """An array of the stored shape as (X,Y,Z), in RAS order and contiguous slice by slice."""
        return np.asfortranarray(apply_orientation(array, self.orientation))

    @property
    def ras_affine(self) -> np.ndarray:
        """(4,4): voxel in RAS order to mm."""
        return self.affine @ inv_ornt_aff(self.orientation, self.values.shape)


def read_volume(path: str | os.PathLike) -> Volume:
    """Read a .nii or .nii.gz file of three dimensions (trailing axes of length 1 are dropped).

    What follows the end of a gzip stream is no part of it and ignored, as nibabel does.
    Raises ScanError for anything that is not a whole, readable, three-dimensional NIfTI volume of
    real numbers with an invertible affine and the size of a head.
    """
    path = as_path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(_HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
            refuse_foreign(path, start, size)
            file.seek(0)
            if not start.startswith(GZIP_MAGIC):
                return _volume(path, file, size)
            try:
                with gzip.open(file) as content:
                    return _volume(path, content, size * _MAX_GZIP_RATIO)
            except _INFLATE_ERRORS:  # damaged, or only followed by something else
                file.seek(0)
                return _volume(path, _Members(file), size * _MAX_GZIP_RATIO)
    except _INFLATE_ERRORS as error:
        raise ScanError(
            f"{path} is truncated or damaged: its gzip stream breaks off ({error}). " + COPY_AGAIN
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


class _Members:
    """The content of a gzip file, up to where no further gzip member begins."""

    def __init__(self, file) -> None:
        self._file, self._waiting = file, file.read(_CHUNK)
        self._inflate, self._ended = zlib.decompressobj(wbits=31), False

    def read(self, count: int) -> bytes:
        """`count` bytes, or fewer where they end; zlib.error and EOFError as gzip raises them."""
        parts = []
        while count and not self._ended:
            parts.append(self._inflate.decompress(self._waiting, count))
            count -= len(parts[-1])
            if self._inflate.eof:
                self._waiting = self._inflate.unused_data
                self._more(until=len(GZIP_MAGIC))
                self._ended = not self._waiting.startswith(GZIP_MAGIC)
                self._inflate = zlib.decompressobj(wbits=31)
            else:
                self._waiting = self._inflate.unconsumed_tail
                if not self._waiting and not self._more(until=1):
                    raise EOFError("it ended before the end-of-stream marker was reached")
        return b"".join(parts)

    def readinto(self, view) -> int:
        got = self.read(len(view))
        view[: len(got)] = got
        return len(got)

    def _more(self, until: int) -> bool:
        """Read on until `until` compressed bytes are waiting; False where the file ends before."""
        while len(self._waiting) < until:
            if not (more := self._file.read(_CHUNK)):
                return False
            self._waiting += more
        return True


def _volume(path: Path, content, most_bytes: int) -> Volume:
    start = content.read(_HEADER_BYTES)
    header, stored_mm = _header(path, start)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    placed = orientation(path, header, stored_mm, shape)
    offset = _offset(path, header)
    size = offset + prod(shape) * dtype.itemsize
    if size > most_bytes:
        raise ScanError(
            f"{path} is truncated: its header promises {size:,} bytes of data, more "
            "than the file can hold. " + COPY_AGAIN
        )
    buffer = np.empty(size, np.uint8)
    filled = min(len(start), size)
    buffer[:filled] = np.frombuffer(start[:filled], np.uint8)
    while filled < size and (
        more := content.readinto(memoryview(buffer.data)[filled : filled + _CHUNK])
    ):
        filled += more
    if filled < size:
        raise ScanError(
            f"{path} is truncated: {filled:,} of {size:,} bytes are there. " + COPY_AGAIN
        )
    content.read(1)  # lets gzip compare its checksum where the data end here
    stored = buffer[offset:].view(dtype).reshape(shape, order="F")
    return Volume(
        path=path,
        values=_scaled(path, header, stored),
        affine=placed.affine,
        orientation=io_orientation(placed.affine),
        header=header,
        sides_known=placed.sides_known,
        is_placed=placed.is_placed,
        notes=placed.notes,
    )


def _header(path: Path, start: bytes) -> tuple[nibabel.Nifti1Header, np.ndarray]:
    """The header, and the voxel sizes that it stores, which nibabel's checks would alter."""
    refuse_no_nifti(path, start)
    is_nifti2 = start[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # its length, 540
    kind = nibabel.Nifti2Header if is_nifti2 else nibabel.Nifti1Header
    try:
        header = kind(start[: kind.template_dtype.itemsize], check=False)
        if header["magic"].item()[:3] not in (b"n+1", b"n+2"):
            raise ValueError(f"its magic number is {header['magic'].item()!r}")
        stored_mm = np.array(header["pixdim"][1:4], np.float64)
        header.check_fix(logger=_SILENT, error_level=_ERROR_LEVEL)
        return header, stored_mm
    except Exception as error:  # nibabel raises many kinds for a header that makes no sense
        raise ScanError(
            f"{path} is not a NIfTI volume, or its header is damaged: {error}. " + COPY_AGAIN
        ) from error


def _shape(path: Path, header) -> tuple[int, int, int]:
    dimensions = [int(length) for length in header["dim"]]
    count = dimensions[0]
    shape = dimensions[1 : count + 1]
    if not 1 <= count <= 7 or min(shape) < 1:
        raise ScanError(
            f"{path} has a damaged header: its dimensions are {dimensions}. " + COPY_AGAIN
        )
    if len(shape) < 3 or prod(shape[3:]) != 1:
        raise ScanError(
            f"{path} is {len(shape)}-dimensional, {tuple(shape)}; one volume of three "
            "dimensions is needed. Save the volume that you want as a file of its own."
        )
    if prod(shape) > MAX_VOXELS:
        raise ScanError(
            f"{path} claims {tuple(shape)} voxels, more than {MAX_VOXELS:,}: its "
            "header is damaged, or it is no scan of a head."
        )
    return shape[0], shape[1], shape[2]


def _dtype(path: Path, header) -> np.dtype:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ScanError(
            f"{path} holds {dtype} voxels; one real number a voxel is needed. "
            "Convert it to 16-bit integers or 32-bit floats."
        )
    return dtype


def _offset(path: Path, header) -> int:
    offset = float(header["vox_offset"])
    if not header.sizeof_hdr <= offset < 2**24:  # NaN fails too
        raise ScanError(
            f"{path} has a damaged header: its data start at byte {offset}. " + COPY_AGAIN
        )
    return int(offset)


def _scaled(path: Path, header, stored: np.ndarray) -> np.ndarray:
    """The values that the header's slope and intercept mean; a slope of 0 or NaN means none."""
    try:
        slope, intercept = header.get_slope_inter()
    except Exception as error:
        raise ScanError(
            f"{path} has a damaged intensity scaling: {error}. " + COPY_AGAIN
        ) from error
    if slope is None or (slope, intercept) == (1, 0):
        return stored
    # Two bytes fit float32 exactly; anything longer is scaled in float64 so that no digit is lost.
    working = np.dtype(np.float32 if stored.dtype.itemsize <= 2 else np.float64)
    with np.errstate(all="ignore"):  # an overflow turns up as Inf, which the callers refuse
        scale, shift = np.asarray([slope, intercept], working)
        return stored.astype(working, order="F") * scale + shift

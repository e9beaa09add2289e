"""Read one NIfTI volume, quickly and with suspicion.

Whatever the bytes, a caller gets a sound volume in RAS order or a ScanError that names the file,
the cause and the remedy. Nothing is allocated that the file could not hold.
"""

from __future__ import annotations

import gzip as standard_gzip
import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

try:  # Intel's inflate, about twice as quick; the same interface as the standard library's.
    from isal import igzip as gzip
    from isal import isal_zlib

    _INFLATE_ERRORS = (EOFError, standard_gzip.BadGzipFile, zlib.error, isal_zlib.error)
except ImportError:
    import gzip

    _INFLATE_ERRORS = (EOFError, standard_gzip.BadGzipFile, zlib.error)

GZIP_MAGIC = b"\x1f\x8b"
MAX_VOXELS = 2**27  # 512 x 512 x 512; a 0.5 mm scan of a whole head has 84 million voxels
_MAX_GZIP_RATIO = 1040  # deflate cannot shrink anything by more than 1032
_CHUNK = 2**20  # inflated at a time: what fits the processor's cache is up to four times as quick
_HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 has 348
_COPY_AGAIN = "Copy or download it again, and compare its size or checksum with the source's."


class ScanError(ValueError):
    """A scan, or a folder of scans, that cannot be used: the file, the cause, what to do."""


@dataclass(frozen=True, eq=False)
class Volume:
    """One NIfTI file as it is stored, and the way from there to RAS order.

    values: 3-D, of the stored type unless the header scales them (then float32, or float64 where
    float32 would lose digits). affine (4,4): stored voxel to mm. orientation (3,2): nibabel's
    account of the way from the stored axes to RAS.
    """

    path: Path
    values: np.ndarray
    affine: np.ndarray
    orientation: np.ndarray
    header: nibabel.Nifti1Header

    def in_ras(self, array: np.ndarray) -> np.ndarray:
        """An array of the stored shape as (X,Y,Z), in RAS order and contiguous slice by slice."""
        return np.asfortranarray(apply_orientation(array, self.orientation))

    @property
    def ras_affine(self) -> np.ndarray:
        """(4,4): voxel in RAS order to mm."""
        return self.affine @ inv_ornt_aff(self.orientation, self.values.shape)


def read_volume(path: str | os.PathLike) -> Volume:
    """Read a .nii or .nii.gz file of three dimensions (trailing axes of length 1 are dropped).

    Raises ScanError for anything that is not a whole, readable, three-dimensional NIfTI volume of
    real numbers with an invertible affine.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(_HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
            _refuse_other_files(path, start, size)
            file.seek(0)
            if start.startswith(GZIP_MAGIC):
                with gzip.open(file) as content:
                    return _volume(path, content, size * _MAX_GZIP_RATIO)
            return _volume(path, file, size)
    except _INFLATE_ERRORS as error:
        raise ScanError(
            f"{path} is truncated or damaged: its gzip stream breaks off ({error}). " + _COPY_AGAIN
        ) from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ScanError:
    """The ScanError for a file or folder that the system would not open."""
    if isinstance(error, FileNotFoundError):
        link = " (it is a link whose target is missing)" if path.is_symlink() else ""
        return ScanError(
            f"{path} does not exist{link}. Check the path, and that the copy, the "
            "download or the `datalad get` has finished."
        )
    if isinstance(error, PermissionError):
        return ScanError(
            f"{path} may not be read: permission denied. Ask its owner, or give "
            f"yourself the right: chmod u+rX '{path}'."
        )
    return ScanError(
        f"{path} cannot be read: {error.strerror or error}. Check the path and the disk."
    )


def refuse_encrypted(path: Path, start: bytes) -> None:
    """Raise ScanError where a file's first bytes are those of `openssl enc` output."""
    if start.startswith((b"Salted__", b"U2FsdGVkX1")):  # the second is the first in base64
        base64 = " -a" if start.startswith(b"U2F") else ""
        raise ScanError(
            f"{path} is still encrypted. Decrypt it with the key that came with your data access, "
            f"then unpack it: openssl aes-256-cbc -md sha256 -d{base64} -in '{path.name}' "
            "-out ATLAS.tar.gz && tar -xzf ATLAS.tar.gz"
        )


def _refuse_other_files(path: Path, start: bytes, size: int) -> None:
    if size == 0:
        raise ScanError(
            f"{path} is empty (0 bytes): the copy or download did not finish. " + _COPY_AGAIN
        )
    refuse_encrypted(path, start)


def _volume(path: Path, content, most_bytes: int) -> Volume:
    start = content.read(_HEADER_BYTES)
    header = _header(path, start)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    affine = _affine(path, header)
    offset = _offset(path, header)
    size = offset + prod(shape) * dtype.itemsize
    if size > most_bytes:
        raise ScanError(
            f"{path} is truncated: its header promises {size:,} bytes of data, more "
            "than the file can hold. " + _COPY_AGAIN
        )
    buffer = np.empty(size, np.uint8)
    filled = min(len(start), size)
    buffer[:filled] = np.frombuffer(start[:filled], np.uint8)
    while filled < size and (
        more := content.readinto(memoryview(buffer)[filled : filled + _CHUNK])
    ):
        filled += more
    if filled < size:
        raise ScanError(
            f"{path} is truncated: {filled:,} of {size:,} bytes are there. " + _COPY_AGAIN
        )
    content.read(1)  # lets gzip compare its checksum where the data end here
    stored = buffer[offset:].view(dtype).reshape(shape, order="F")
    return Volume(
        path=path,
        values=_scaled(path, header, stored),
        affine=affine,
        orientation=io_orientation(affine),
        header=header,
    )


def _header(path: Path, start: bytes) -> nibabel.Nifti1Header:
    is_nifti2 = start[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")  # its length, 540
    kind = nibabel.Nifti2Header if is_nifti2 else nibabel.Nifti1Header
    try:
        header = kind(start[: kind.template_dtype.itemsize])
        if header["magic"].item()[:3] not in (b"n+1", b"n+2"):
            raise ValueError("it is the header of a .hdr/.img pair; convert it to .nii.gz")
        return header
    except Exception as error:  # nibabel raises many kinds for a header that makes no sense
        raise ScanError(
            f"{path} is not a NIfTI volume, or its header is damaged: {error}. " + _COPY_AGAIN
        ) from error


def _shape(path: Path, header) -> tuple[int, int, int]:
    dimensions = [int(length) for length in header["dim"]]
    count = dimensions[0]
    shape = dimensions[1 : count + 1]
    if not 1 <= count <= 7 or min(shape) < 1:
        raise ScanError(
            f"{path} has a damaged header: its dimensions are {dimensions}. " + _COPY_AGAIN
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
    return tuple(shape[:3])


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
            f"{path} has a damaged header: its data start at byte {offset}. " + _COPY_AGAIN
        )
    return int(offset)


def _affine(path: Path, header) -> np.ndarray:
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(header.get_best_affine(), np.float64)
    except Exception as error:  # a quaternion that is none, among others
        raise ScanError(f"{path} has a damaged orientation: {error}. " + _COPY_AGAIN) from error
    with np.errstate(all="ignore"):
        lengths = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
        volume = abs(np.linalg.det(affine[:3, :3] / lengths)) if np.isfinite(lengths).all() else 0
    sound = (
        np.isfinite(affine).all()
        and lengths.min() > 1e-3
        and lengths.max() < 1e3
        and volume > 1e-3
        and np.abs(affine).max() < 1e6
    )
    if not sound:
        raise ScanError(
            f"{path} has an unusable affine (voxel to mm), {affine.tolist()}: it must "
            "be finite and invertible. " + _COPY_AGAIN
        )
    return affine


def _scaled(path: Path, header, stored: np.ndarray) -> np.ndarray:
    """The values that the header's slope and intercept mean; a slope of 0 or NaN means none."""
    try:
        slope, intercept = header.get_slope_inter()
    except Exception as error:
        raise ScanError(
            f"{path} has a damaged intensity scaling: {error}. " + _COPY_AGAIN
        ) from error
    if slope is None or (slope, intercept) == (1, 0):
        return stored
    # Two bytes fit float32 exactly; anything longer is scaled in float64 so that no digit is lost.
    working = np.float32 if stored.dtype.itemsize <= 2 else np.float64
    with np.errstate(all="ignore"):  # an overflow turns up as Inf, which the callers refuse
        return stored.astype(working, order="F") * working(slope) + working(intercept)

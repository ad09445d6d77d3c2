"""Which source reads what: chosen by content, never by suffix."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError, ReadError
from patchaug.readers.array import ArrayRaster
from patchaug.readers.base import Raster
from patchaug.readers.file import UnsupportedError, fingerprint, one_line
from patchaug.readers.openslide import OpenSlideRaster
from patchaug.readers.tiff.header import is_tiff
from patchaug.readers.tiff.reader import TiffRaster
from patchaug.readers.whole_image import ImageRaster
from patchaug.readers.zarr.reader import ZarrRaster, opened_array
from patchaug.readers.zarr.store import ZIP, is_zarr

SUFFIXES = frozenset(
    {".tif", ".tiff", ".btf", ".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".czi", ".dcm", ".svslide"}
    | {".png", ".jpg", ".jpeg", ".bmp", ".zarr", ".zarr.zip"}
)


def open_raster(
    source: Raster | Array | str | os.PathLike[str], *, mask: bool = False, ram: int = 0, name: str | None = None
) -> Raster:
    """The raster that reads `source`; only headers are read here.

    Args:
        source: A raster (returned as it is), a numpy array (channels last), a torch tensor (channels first or last,
            where its shape leaves no doubt), the path of a file or of a zarr folder, or a `zarr.Array` or `zarr.Group`
            that lies on the disk.
        mask: Read one integer a pixel, exactly as stored, instead of colours.
        ram: Budget in bytes for decoded pixels. What is decoded as a whole (PNG, JPEG, BMP, stripped TIFF) must fit.
        name: What errors call it; the file's name, or "array", by default.

    Raises:
        MissingError: There is no such file.
        ReadError: The file cannot be read as what is asked for, or does not fit into `ram`.
        OptionError: The source is none of these, or an array of a wrong dtype or shape, or one that is nowhere on the
            disk.
    """
    if type(source).__module__.partition(".")[0] == "zarr" and hasattr(source, "store"):
        return _opened(opened_array(source, mask=mask, ram=ram, name=name))
    if type(source).__module__.partition(".")[0] in ("torch", "fastai") and hasattr(source, "detach"):
        tensor, called = source.detach().cpu(), "tensor" if name is None else name
        # Asked for anew at each read: torch moves a tensor that it shares with a worker, and frees the old memory.
        return _array(lambda: _pixels_last(tensor.numpy(), called, mask=mask), mask=mask, name=called, moves=True)
    if isinstance(source, np.ndarray):
        return _array(lambda: source, mask=mask, name="array" if name is None else name)
    if isinstance(source, str | os.PathLike):
        path = os.path.abspath(os.fsdecode(source))
        if is_zarr(path):
            return _opened(ZarrRaster(path, mask=mask, name=name, ram=ram))
        fingerprint(path)
        try:
            with open(path, "rb") as file:
                head = file.read(4)
        except OSError as error:
            raise ReadError(f"{path} cannot be opened: {one_line(error)}") from None
        if head in ZIP:
            return _opened(ZarrRaster(path, mask=mask, name=name, ram=ram))
        return _mask(path, head, ram, name) if mask else _image(path, head, ram, name)
    if isinstance(source, Raster):
        return source
    raise OptionError(f"a source is a path, a numpy or zarr array, a tensor or a Raster, got {type(source).__name__}")


def _opened(raster: ZarrRaster) -> ZarrRaster:
    raster.level_dimensions  # noqa: B018 - reads the metadata
    return raster


def _pixels_last(array: Array, name: str, *, mask: bool) -> Array:
    """A tensor's memory as (height, width[, channels]); torch's own order is (channels, height, width)."""
    if mask or array.ndim != 3:
        return array
    first, last = array.shape[0] in (1, 3), array.shape[2] in (1, 3)
    if first and last:
        raise OptionError(
            f"{name}: a tensor of shape {array.shape} may be (channels, height, width) or (height, width, channels); "
            f"say which: pass tensor.permute(1, 2, 0).numpy() or tensor.numpy(), a numpy array has its channels last"
        )
    return array.transpose(1, 2, 0) if first else array


def _array(pixels: Callable[[], Array], *, mask: bool, name: str, moves: bool = False) -> ArrayRaster:
    array = pixels()
    if mask and (array.ndim != 2 or array.dtype.kind not in "bui"):
        raise OptionError(f"{name}: a mask is (height, width) of integers, got {array.dtype} {array.shape}")
    if not mask and (array.dtype != np.uint8 or (array.ndim == 3 and array.shape[2] not in (1, 3))):
        raise OptionError(
            f"{name}: an image is uint8, (height, width) or (height, width, 1 or 3), got {array.dtype} {array.shape}"
        )
    bits = array.dtype == bool
    if moves:
        return ArrayRaster.asking(lambda: pixels().view(np.uint8) if bits else pixels(), name=name)
    return ArrayRaster(array.view(np.uint8) if bits else array, name=name)


def _image(path: str, head: bytes, ram: int, name: str | None) -> Raster:
    """TIFF, then OpenSlide, then what is decoded whole."""
    reasons = []
    if is_tiff(head):
        tiff = TiffRaster(path, name=name, ram=ram)
        try:
            return tiff if tiff.header.tiled else _whole(path, mask=False, ram=ram, name=name)
        except UnsupportedError as error:
            reasons.append(str(error))
    for source in (OpenSlideRaster(path, name=name, ram=ram), ImageRaster(path, mask=False, ram=ram, name=name)):
        try:
            source.level_dimensions  # noqa: B018 - reads the header
        except UnsupportedError as error:
            reasons.append(str(error))
        else:
            return _fits(source) if isinstance(source, ImageRaster) else source
    raise ReadError(_none_opens(path, "image that TIFF, OpenSlide or Pillow", reasons))


def _mask(path: str, head: bytes, ram: int, name: str | None) -> Raster:
    """TIFF, then Pillow; never OpenSlide, which makes colours of class numbers."""
    try:
        if is_tiff(head):
            tiff = TiffRaster(path, mask=True, name=name, ram=ram)
            if tiff.header.tiled:
                return tiff
        return _whole(path, mask=True, ram=ram, name=name)
    except UnsupportedError as error:
        raise ReadError(_none_opens(path, "mask that TIFF or Pillow", [str(error)])) from None


def _whole(path: str, *, mask: bool, ram: int, name: str | None) -> ImageRaster:
    return _fits(ImageRaster(path, mask=mask, ram=ram, name=name))


def _fits(raster: ImageRaster) -> ImageRaster:
    raster.require_fits()
    return raster


def _none_opens(path: str, kind: str, reasons: list[str]) -> str:
    told = "; ".join(reason.removeprefix(f"{path}: ") for reason in reasons)
    return f"{path} is no {kind} can open ({told})"

"""Which pixels of a TIFF hold no data: the value that stands for "no data", and GDAL's internal masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import ReadError
from patchaug.readers.base import Sizes

if TYPE_CHECKING:
    from tifffile import TiffFile

_GDAL_NODATA = 42113


def nodata_of(path: str, page: Any) -> Any:
    """Return the value of pixels without data that GDAL stores, as a scalar of the page's dtype.

    Returns:
        None where the file stores none, or one that no pixel of this dtype can have.

    Raises:
        ReadError: The file stores a text that is not a number.
    """
    text = str(page.tags.valueof(_GDAL_NODATA, "")).strip("\0 ")
    if not text or page.dtype is None or page.dtype.kind not in "uif":
        return None
    try:
        value: int | float = int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            raise ReadError(
                f"{path}: its nodata value is {text[:40]!r}, which is not a number; set it by gdal_edit.py -a_nodata, "
                f"or remove it by gdal_edit.py -unsetnodata"
            ) from None
    dtype = page.dtype.newbyteorder("=")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(value)
    limits = np.iinfo(dtype)
    return dtype.type(int(value)) if value == value // 1 and limits.min <= value <= limits.max else None


def has_data(pixels: Array, nodata: Any) -> Array:
    """Return whether any channel of each pixel differs from the value that stands for "no data".

    Args:
        pixels: (height, width[, channels]).
        nodata: Scalar of their dtype; NaN stands for NaN.

    Returns:
        bool (height, width), as `dataset_mask` of rasterio has it.

    Examples:
        >>> import numpy as np
        >>> has_data(np.array([[[0, 0], [0, 7]]], np.uint8), np.uint8(0)).tolist()
        [[False, True]]
    """
    channels = pixels[..., None] if pixels.ndim == 2 else pixels
    valid = _differs(channels[..., 0], nodata)
    for number in range(1, channels.shape[2]):
        if valid.all():
            break
        valid |= _differs(channels[..., number], nodata)
    return valid


def _differs(channel: Array, nodata: Any) -> Array:
    return np.asarray(~np.isnan(channel) if nodata != nodata else channel != nodata)


def mask_pages(path: str, tiff: TiffFile, first: Any, sizes: Sizes) -> list[Any]:
    """Return the internal masks of a picture, the largest first; none where its first level has no mask.

    Args:
        path: The file, for errors.
        tiff: The open file.
        first: First page of the picture.
        sizes: (width, height) of its levels.

    Raises:
        ReadError: A mask has several samples per pixel.
    """
    others = [series.keyframe for series in tiff.series]
    ends = [page.index for page in others if page.index > first.index and not (page.is_mask or page.is_reduced)]
    end = min(ends, default=len(tiff.pages))  # of several pictures each has its masks behind it
    found: dict[tuple[int, int], Any] = {}
    for series in tiff.series:
        for page in (level.keyframe for level in series.levels):
            if page.is_mask and first.index < page.index < end:
                found.setdefault((page.imagewidth, page.imagelength), page)
    if sizes[0] not in found:
        return []
    pages = [found[size] for size in sizes if size in found]
    if any(page.samplesperpixel != 1 for page in pages):
        raise ReadError(
            f"{path}: its internal mask has {pages[0].samplesperpixel} samples per pixel, one is read; write it again "
            f"by gdal_translate --config GDAL_TIFF_INTERNAL_MASK YES"
        )
    return pages

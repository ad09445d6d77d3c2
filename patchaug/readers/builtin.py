"""The built-in readers: arrays, annotations, zarr, TIFF, OpenSlide, and images that are decoded whole.

The content of a file decides which reader opens it, never its suffix.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.class_codes import ClassCodes
from patchaug.errors import OptionError
from patchaug.readers.array import ArrayRaster
from patchaug.readers.base import Raster, Sizes
from patchaug.readers.channels import Channels
from patchaug.readers.first_bytes import VECTORS
from patchaug.readers.formats import FORMATS, dtype_error
from patchaug.readers.gdal_calls import is_gdal
from patchaug.readers.georeference import Georeference
from patchaug.readers.reader_entry import OPTIONAL, HeadTest
from patchaug.readers.registry import register_reader
from patchaug.readers.remote.source import is_object
from patchaug.readers.tiff.header import MAGIC
from patchaug.readers.tiff.reader import TiffRaster
from patchaug.readers.tiff.scenes import Scene
from patchaug.readers.urls import is_url
from patchaug.readers.zarr.store import ZIP, is_zarr

PRIORITY = -10


def register_builtin() -> None:
    """Fill the table of readers; of equal priority the first one is tried first."""
    register_reader(  # before polygons: a VRT is XML too
        "rasterio", image=_with_mask(_open_gdal, False), mask=_with_mask(_open_gdal, True),
        accepts=HeadTest(_is_gdal_file), suffixes=[".jp2", ".j2k", ".vrt"], priority=PRIORITY, replace=True,
    )  # fmt: skip
    register_reader(
        "polygons", annotations=_open_polygons, accepts=HeadTest(_is_annotations), priority=PRIORITY, replace=True,
        suffixes=[".geojson", ".geojson.gz", ".json", ".json.gz", ".xml", ".gpkg", ".shp", ".fgb"],
    )  # fmt: skip
    for name, open_object, accepts in (
        ("tensors", _open_tensor, _is_tensor),
        ("arrays", _open_array, lambda source: isinstance(source, np.ndarray)),
        ("zarr objects", _open_zarr_object, _is_zarr_object),
    ):
        register_reader(
            name, image=_with_mask(open_object, False), mask=_with_mask(open_object, True), accepts=accepts,
            priority=PRIORITY, replace=True,
        )  # fmt: skip
    register_reader(
        "zarr", image=_with_mask(_open_zarr, False), mask=_with_mask(_open_zarr, True), magic=ZIP,
        accepts=HeadTest(_is_zarr_path), suffixes=[".zarr", ".zarr.zip"],
        priority=PRIORITY, replace=True,
    )  # fmt: skip
    register_reader(
        "TIFF", image=_with_mask(_open_tiff, False), mask=_with_mask(_open_tiff, True), magic=MAGIC,
        suffixes=[".tif", ".tiff", ".btf", ".svs"], priority=PRIORITY, replace=True,
    )  # fmt: skip
    register_reader(
        "OpenSlide", image=_open_openslide, accepts=_is_file, priority=PRIORITY, replace=True,
        suffixes=[".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".czi", ".dcm", ".svslide"],
    )  # fmt: skip
    register_reader(
        "Pillow", image=_with_mask(_open_whole, False), mask=_with_mask(_open_whole, True), accepts=_is_content,
        suffixes=[".png", ".jpg", ".jpeg", ".bmp"], priority=PRIORITY, replace=True,
    )  # fmt: skip


def _with_mask(opener: Callable[..., Raster], mask: bool) -> Callable[..., Raster]:
    return partial(opener, mask=mask)


def _is_file(source: Any) -> bool:
    return isinstance(source, str) and os.path.isfile(source)


def _is_content(source: Any) -> bool:
    """Return whether a source is a file or an object that can be fetched whole."""
    return isinstance(source, str) and (is_object(source) or os.path.isfile(source))


def _open_zarr(
    path: str, *, mask: bool, ram: int, name: str | None, channels: Channels | None = None, series: Scene | None = None
) -> Raster:
    from patchaug.readers.zarr.reader import ZarrRaster

    inside = "" if series is None else str(series)
    raster = ZarrRaster(path, inside=inside, mask=mask, name=name, ram=ram, channels=channels)
    raster.level_dimensions  # noqa: B018 - reads the metadata
    return raster


def _is_zarr_path(source: Any, head: bytes) -> bool:
    if head or not isinstance(source, str):  # a file is no folder
        return False
    return not is_object(source) and is_zarr(source)


def _is_zarr_object(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "zarr" and hasattr(source, "store")


def _open_zarr_object(
    source: Any, *, mask: bool, ram: int, name: str | None, channels: Channels | None = None
) -> Raster:
    from patchaug.readers.zarr.reader import opened_array

    raster = opened_array(source, mask=mask, ram=ram, name=name, channels=channels)
    raster.level_dimensions  # noqa: B018 - reads the metadata
    return raster


def _open_tiff(
    path: str, *, mask: bool, ram: int, name: str | None, channels: Channels | None = None, series: Scene | None = None
) -> Raster:
    """Open a tiled TIFF; one in strips is decoded whole."""
    tiff = TiffRaster(path, mask=mask, name=name, ram=ram, channels=channels, series=series)
    tiff.header  # noqa: B018 - reads it
    tiff.check_alpha()
    if tiff.header.tiled:
        return tiff
    return _open_whole(path, mask=mask, ram=ram, name=name, channels=channels, series=series, tiff=tiff.uncached())


def _open_openslide(path: str, *, ram: int, name: str | None) -> Raster:
    """Open a slide as an image; OpenSlide would turn class numbers into colours."""
    from patchaug.readers.openslide import OpenSlideRaster

    raster = OpenSlideRaster(path, name=name, ram=ram)
    raster.level_dimensions  # noqa: B018 - reads the header
    return raster


def _open_whole(
    path: str, *, mask: bool, ram: int, name: str | None, channels: Channels | None = None, series: Scene | None = None,
    tiff: TiffRaster | None = None,
) -> Raster:  # fmt: skip
    from patchaug.readers.whole_image import ImageRaster

    raster = ImageRaster(path, mask=mask, ram=ram, name=name, channels=channels, series=series, tiff=tiff)
    raster.require_fits()
    return raster


def _is_gdal_file(source: Any, head: bytes) -> bool:
    return isinstance(source, str) and is_gdal(head[:64]) and not is_url(source)


def _open_gdal(path: str, *, mask: bool, ram: int, name: str | None, channels: Channels | None = None) -> Raster:
    from patchaug.readers.gdal import GdalRaster

    raster = GdalRaster(path, mask=mask, ram=ram, name=name, channels=channels)
    raster.layout  # noqa: B018 - reads the header
    return raster


def _is_tensor(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] in ("torch", "fastai") and hasattr(source, "detach")


def _open_tensor(source: Any, *, mask: bool, ram: int, name: str | None) -> Raster:
    tensor, called = source.detach().cpu(), "tensor" if name is None else name
    # Fetched again at each read: torch moves a tensor that it shares with a worker, and frees the old memory.

    def fetch() -> Array:
        return _channels_last(tensor.numpy(), called, mask=mask)

    if _checked(fetch(), called, mask=mask).dtype == bool:
        return ArrayRaster.from_callable(lambda: fetch().view(np.uint8), name=called)
    return ArrayRaster.from_callable(fetch, name=called)


def _channels_last(array: Array, name: str, *, mask: bool) -> Array:
    """Return a tensor's memory as (height, width[, channels]); torch's own order is (channels, height, width)."""
    if mask or array.ndim != 3:
        return array
    first, last = (array.shape[axis] in (1, 3) for axis in (0, 2))
    if first == last:  # neither or both look like colours: there are far fewer channels than rows or columns
        first, last = (4 * array.shape[a] <= min(array.shape[1], array.shape[b]) for a, b in ((0, 2), (2, 0)))
    if first == last:
        raise OptionError(
            f"{name}: a tensor of shape {array.shape} may be (channels, height, width) or (height, width, channels); "
            f"pass tensor.permute(1, 2, 0).numpy() or tensor.numpy(): a numpy array has its channels last"
        )
    return array.transpose(1, 2, 0) if first else array


def _open_array(source: Array, *, mask: bool, ram: int, name: str | None) -> Raster:
    called = "array" if name is None else name
    array = _checked(source, called, mask=mask)
    return ArrayRaster(array.view(np.uint8) if array.dtype == bool else array, name=called)


def _checked(array: Array, name: str, *, mask: bool) -> Array:
    if mask and (array.ndim != 2 or array.dtype.kind not in "buif"):
        raise OptionError(f"{name}: a mask must be integers (height, width), got {array.dtype} {array.shape}")
    if mask:
        return array
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > max(array.shape[0], 4)):
        first = array.ndim == 3 and array.shape[0] < array.shape[2]
        cure = "; channels come last: array.transpose(1, 2, 0)" if first else ""
        raise OptionError(
            f"{name}: an image must be (height, width) or (height, width, channels), got shape {array.shape}{cure}"
        )
    if array.dtype not in FORMATS:
        raise OptionError(f"{name}: got {array.dtype} {array.shape}; {dtype_error(array.dtype)}")
    return array


def _is_annotations(source: Any, head: bytes) -> bool:
    """Return whether a source is parsed GeoJSON, or a file of JSON, XML or vectors, compressed by gzip or not."""
    if not isinstance(source, str):
        return isinstance(source, (Mapping, list)) or hasattr(source, "__geo_interface__")
    if head.startswith(VECTORS):
        return True
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 64)
        except zlib.error:
            return True  # no image format starts so; the parser reports the damage
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b"<")


def _open_polygons(
    source: Any, *, sizes: Sizes, codes: Sequence[str] | None, ignore_index: int | None, name: str | None,
    classes: ClassCodes | None = None, outside: str | int | None = None, label: str | None = OPTIONAL["label"],
    invalid: str = "raise", place: Georeference | None = None,
) -> Raster:  # fmt: skip
    from patchaug.readers.annotations.polygon_mask import PolygonRaster

    if hasattr(source, "__geo_interface__"):  # a GeoDataFrame keeps its coordinate system beside the features
        crs, source = getattr(source, "crs", None), source.__geo_interface__
        if crs is not None:
            source = {**source, "crs": crs.to_string()}
    polygons = PolygonRaster(
        source, sizes, codes=classes or codes, ignore_index=ignore_index, name=name, outside=outside, label=label,
        invalid=invalid, place=place,
    )  # fmt: skip
    if beyond := polygons.outside():
        warnings.warn(
            f"{polygons.what}: {len(beyond)} of {len(polygons.polygons.values)} polygons lie outside the image "
            f"and are not drawn",
            stacklevel=6,  # the caller of open_slide
        )
    return polygons

"""Open images and masks with the first reader that supports them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.core.class_codes import ClassCodes
from patchaug.core.windows import Window
from patchaug.errors import LabelError, OptionError, PatchaugError, ReadError
from patchaug.readers.base import Raster, is_raster
from patchaug.readers.channels import Channels
from patchaug.readers.colours import ColourRaster, common_colours
from patchaug.readers.constant import ConstantRaster
from patchaug.readers.file import open_file
from patchaug.readers.georeference import Georeference
from patchaug.readers.hooks import codec_of, holds_classes, path_of
from patchaug.readers.picked_channels import PickedChannels
from patchaug.readers.registry import open_registered
from patchaug.readers.urls import is_url

_LOSSY = ("JPEG", "OJPEG", "APERIO_JP2000_YCBC", "APERIO_JP2000_RGB", "JPEG2000", "WEBP", "LERC", "JPEGXL")
_COLOURS = 64  # colours of a picture from which it is taken for a photograph


@names_arguments
def open_raster(
    source: Raster | Array | str | os.PathLike[str], *, mask: bool = False, ram: int = 0, name: str | None = None,
    channels: Channels | None = None, series: int | str | None = None,
) -> Raster:  # fmt: skip
    """Open a source as a raster; reads headers only.

    Args:
        source: A raster (returned unchanged), a numpy array (channels last), a torch tensor (channels first or last,
            if its shape is unambiguous), the path of a file or of a zarr folder, a `zarr.Array` or `zarr.Group` on
            disk, or anything that a reader registered by `register_reader` takes.
        mask: Read one integer per pixel, exactly as stored, instead of colours.
        ram: Budget in bytes for decoded pixels. Files that are decoded whole (PNG, JPEG, BMP, stripped TIFF) must
            fit into it.
        name: Name in errors; by default the file's name, or "array".
        channels: Channels of an image to read and their order, by number or name; by default all of them.
        series: Picture of a file that holds several, by number or name.

    Returns:
        The raster. Images are (height, width) or (height, width, channels), of a type that
        `patchaug.readers.formats` lists; masks are integers (height, width).

    Raises:
        MissingError: The file does not exist.
        ReadError: No reader supports the file, or its pixels do not fit into `ram`.
        OptionError: The source has an unsupported type, dtype or shape, or is a zarr array that is not on disk.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Window
        >>> from patchaug.readers import open_raster
        >>> raster = open_raster(np.zeros((40, 60, 3), np.uint8))
        >>> raster.level_dimensions
        ((60, 40),)
        >>> raster.read(Window(10, 20, 8, 4)).shape
        (4, 8, 3)
    """
    if is_raster(source):
        if series is not None:
            raise OptionError(f"{source.name}: series={series!r} chooses a picture of a file, and the source is open")
        return source if channels is None else PickedChannels(source, channels)
    if mask:
        return open_registered(source, {"mask": {"ram": ram, "name": name}})
    return open_registered(source, {"image": {"ram": ram, "name": name}}, channels=channels, series=series)


@names_arguments
def open_mask(
    source: Any,
    sizes: tuple[tuple[int, int], ...],
    *,
    codes: Any = None,
    ignore_index: int | None = None,
    ram: int = 0,
    outside: str | int | None = None,
    label: str | None = "classification",
    invalid: str = "raise",
    place: Georeference | None = None,
) -> Raster:
    """Open a mask; annotations are parsed and checked here, of other files only the header is read.

    Args:
        source: What `open_raster` takes; or a file of polygons (GeoJSON, ASAP, GeoPackage, Shapefile, FlatGeobuf),
            parsed GeoJSON, or an object with `__geo_interface__`; or one class number for the whole slide.
        sizes: (width, height) of the image's levels, finest first.
        codes: Class names, in the order of the mask's integers, or a mapping from name to values of the file; required
            for polygons.
        ignore_index: Integer of the mask that means "no label".
        ram: Budget in bytes for decoded pixels, see `open_raster`.
        outside: What no polygon covers: a class name, or `ignore_index`.
        label: Property of the polygons that holds the class. None: all of them are of the second class.
        invalid: "raise", "skip" or "repair" polygons without a clear inside.
        place: Place of the image on the map, for polygons in coordinates of a map.

    Returns:
        The raster; values of the file (height, width). Class numbers where it has `holds_classes`.

    Raises:
        PatchaugError: See `open_raster` and `PolygonRaster`.

    Examples:
        >>> import numpy as np
        >>> from patchaug.readers import open_mask
        >>> open_mask(np.ones((40, 60), np.uint8), ((60, 40),)).level_dimensions
        ((60, 40),)
    """
    classes = ClassCodes.of(codes)
    if is_raster(source):
        return source
    if isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        return _constant(int(source), sizes, classes, ignore_index)
    frame = {
        "sizes": sizes, "codes": None if classes is None else list(classes.names), "ignore_index": ignore_index,
        "name": None, "classes": classes, "outside": outside, "label": label, "invalid": invalid, "place": place,
    }  # fmt: skip
    if classes is not None and classes.colours:
        return _coloured(open_registered(source, {"annotations": frame, "image": {"ram": ram, "name": None}}))
    try:
        raster = open_registered(source, {"annotations": frame, "mask": {"ram": ram, "name": None}})
    except (ReadError, OptionError) as error:
        hint = _colours_of(source, classes, ram)
        if hint is None:
            raise
        raise LabelError(f"{error}; {hint}") from None
    if getattr(raster, "white_is_0", False) and (classes is None or classes.values is None):
        names = ["background", "object"] if classes is None or len(classes.names) != 2 else classes.names
        raise LabelError(
            f"{raster.name}: a 1-bit mask that stores white as 0 (MINISWHITE); tifffile and GDAL read it so, "
            f'Pillow inverted; say which bit is which: codes={{"{names[0]}": 0, "{names[1]}": 1}}, or '
            f'{{"{names[0]}": 1, "{names[1]}": 0}} where {names[1]!r} is shown white'
        )
    return raster


def _constant(value: int, sizes: Any, classes: ClassCodes | None, ignore_index: int | None) -> Raster:
    """Return a mask of one class.

    Raises:
        OptionError: The number is no class.
    """
    if value != ignore_index and not 0 <= value < (2**31 if classes is None else len(classes.names)):
        known = "0 or more" if classes is None else f"0 to {len(classes.names) - 1} ({', '.join(classes.names)})"
        raise OptionError(f"mask={value} must be a class number of the whole slide, {known}, or ignore_index")
    return ConstantRaster(value, sizes)


def _coloured(raster: Raster) -> Raster:
    """Return a picture as a mask of colours.

    Raises:
        ReadError: Its compression alters colours.
    """
    if holds_classes(raster):
        return raster
    path = path_of(raster)
    if path is not None and (codec_of(raster) in _LOSSY or _is_jpeg(path)):
        raise ReadError(f"{path}: JPEG alters the colours of classes; save the mask as PNG or as TIFF with deflate")
    return ColourRaster(raster)


def _is_jpeg(path: str) -> bool:
    if not (is_url(path) or os.path.isfile(path)):
        return False
    with open_file(path, whole=False) as file:
        return file.read(3) == b"\xff\xd8\xff"


def _colours_of(source: Any, classes: ClassCodes | None, ram: int) -> str | None:
    """Return which codes would take the colours of a picture that was meant as a mask; None where it is none."""
    try:
        picture = _coloured(open_registered(source, {"image": {"ram": ram, "name": None}}))
        assert isinstance(picture, ColourRaster)
        window_size = picture.level_dimensions[0]
        if picture.picture.read(Window(0, 0, 1, 1)).shape[2:] not in ((3,), (4,)):
            return None
        found = common_colours(picture.picture)
    except (PatchaugError, AssertionError):
        return None
    if len(found) > _COLOURS:
        return f"its {window_size[0]} x {window_size[1]} px hold {len(found)} colours or more: is it a photograph?"
    names = list(classes.names) if classes is not None else []
    names += [f"class {number}" for number in range(len(names), len(found))]
    pairs = ", ".join(f'"{name}": "#{colour:06x}"' for name, colour in zip(names, found, strict=False))
    return f"it holds {len(found)} colours; say which class each is, such as codes={{{pairs}}}"

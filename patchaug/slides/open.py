"""`open_slide`: paths, arrays and rasters as a `Slide`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchaug.core.arguments import names_arguments
from patchaug.core.arrays import Array
from patchaug.core.memory.room import room_for
from patchaug.core.validation import refuses_old_names
from patchaug.readers import Raster, open_mask, open_raster, path_of
from patchaug.readers.channels import Channels
from patchaug.readers.georeference import georeference_of
from patchaug.slides.regions import region_of
from patchaug.slides.slide import Codes, Slide
from patchaug.slides.valid_pixels import missing_text

Source = str | os.PathLike[str] | Array | Raster


@names_arguments
@refuses_old_names
def open_slide(
    image: Source,
    mask: Source | Mapping[str, Any] | list[Any] | int | None = None,
    *,
    name: str | None = None,
    codes: Codes | None = None,
    ignore_index: int | None = None,
    outside: str | int | None = None,
    label: str = "classification",
    invalid: str = "raise",
    channels: Channels | None = None,
    series: int | str | None = None,
    ram: int | str = "auto",
    mpp: float | tuple[float, float] | None = None,
    region: Any = None,
) -> Slide:
    """Open a slide; reads headers only.

    Args:
        image: Path (of a file, or of a zarr folder), array (height, width) or (height, width, channels), torch
            tensor, `zarr.Array` on the disk, or `Raster`; of uint8, uint16, int16, float16 or float32.
        mask: The same, with one value per pixel (of the image's size, or of that size over one factor); or polygons, as
            a file or as parsed GeoJSON, see docs/polygons.md; or one class number for the whole slide.
        name: Name of the slide in errors; its windows are drawn by this name. Default: the file's name.
        codes: Class names, in the order of the mask's integers; or a mapping from name to what the file holds: a value,
            a list of them, a range, or a colour such as "#ff0000". With codes, any other value is an error.
        ignore_index: Integer of the mask that means "no label"; it may be outside the codes.
        outside: What no polygon covers: a class name, or `ignore_index` for sparse annotation. Default: the first code;
            it must be set where that is drawn too.
        label: Property of polygons that holds the class, such as "class".
        invalid: What to do with points, lines and outlines that cross themselves: "raise", "skip", or "repair".
        channels: Channels of the image to read and their order, by number or by the file's names; default: all of
            them. A channel that is tagged as alpha is left out if it holds 0 and full alone.
        series: Picture of a file that holds several, by number or name; default: the only one beside label, macro
            and thumbnail.
        ram: Bytes of decoded pixels to cache, or "8GB"; "auto": half of the free memory, 0: none. All slides and
            workers share one budget (`patchaug.core.memory.budget.budget`). PNG, JPEG and stripped TIFF must fit in
            whole.
        mpp: Micrometres per pixel at level 0, or (x, y) of them; required for `mpp=` of a sampler where the file
            does not store it, and used in place of a stored one.
        region: Where windows are drawn: a `Window`, a mask (0 is outside) or polygons, as a file or as what `mask` may
            be, or "tissue". Windows lie inside whole, or with the share `inside` of the samplers. Prediction covers the
            slide whatever it says. Default: everywhere.

    Returns:
        The slide.

    Raises:
        MissingError: A file does not exist.
        ReadError: A file is no picture, or cannot be read.
        FrameError: Image and mask, or region, do not show the same frame.
        WindowError: The region is a window that leaves the slide.
        OptionError: An argument is of a wrong type or out of its limits.

    Examples:
        >>> import numpy as np
        >>> from patchaug import open_slide
        >>> image, mask = np.zeros((60, 80, 3), np.uint8), np.zeros((60, 80), np.uint8)
        >>> open_slide(image, mask, name="liver", codes=["background", "nucleus"])
        Slide('liver', 80 x 60 px, 1 levels, mask)
    """
    room = room_for(ram)
    path = os.fspath(image) if isinstance(image, (str, os.PathLike)) else None
    opened = open_raster(image, ram=room, channels=channels, series=series)
    if opened is not image and path_of(opened) is not None:  # the raster of "a.zarr/0" has a better name than "0"
        path, name = path or path_of(opened), name or opened.name
    if name is None:
        name = Path(path).name if path is not None else "array"
    labels = None
    if mask is not None:
        labels = open_mask(
            mask, opened.level_dimensions, codes=codes, ignore_index=ignore_index, ram=room, outside=outside,
            label=label, invalid=invalid, place=georeference_of(opened),
        )  # fmt: skip
    slide = Slide(opened, labels, name=name, codes=codes, ignore_index=ignore_index, path=path, mpp=mpp)
    slide.region = None if region is None else region_of(slide, region, ram=room)
    texts = [missing_text(opened), None if labels is None else missing_text(labels, mask=True)]
    for text in texts:
        if text is not None:
            warnings.warn(f"{name}: {text}", stacklevel=3)
    return slide

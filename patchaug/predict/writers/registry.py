"""The formats of predictions, and `open_writer`, which makes the writer of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from patchaug.core.arguments import names_arguments
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.areas import AreasWriter
from patchaug.predict.writers.base import BandWriter, What
from patchaug.predict.writers.geojson import GeoJsonWriter
from patchaug.predict.writers.geotiff import GeoTiffWriter
from patchaug.predict.writers.object_table import ObjectTableWriter
from patchaug.predict.writers.ome_tiff import OmeTiffWriter
from patchaug.predict.writers.ome_zarr import OmeZarrWriter
from patchaug.predict.writers.overlay import OverlayWriter
from patchaug.slides.slide import Slide


class Format(NamedTuple):
    """One format; a file of a slide is named like the slide, with the format's key as its suffix.

    Attributes:
        title: What it is, in a few words for help texts.
        writer: Class of its writer, or a function that makes one.
        probabilities: Whether it can hold probabilities in place of class numbers.
        uses_probabilities: Whether it also asks for probabilities where it holds classes.
        uses_image: Whether it asks for the slide itself.
    """

    title: str
    writer: Callable[..., BandWriter]
    probabilities: bool = False
    uses_probabilities: bool = False
    uses_image: bool = False


FORMATS: Mapping[str, Format] = {
    "ome.tif": Format("pyramidal OME-TIFF, for QuPath and Bio-Formats", OmeTiffWriter, probabilities=True),
    "tif": Format("GeoTIFF with overviews, for GIS", GeoTiffWriter, probabilities=True),
    "zarr": Format("OME-Zarr, a folder", OmeZarrWriter, probabilities=True),
    "geojson": Format("polygons for QuPath and GIS", GeoJsonWriter),
    "png": Format("picture over the slide, with legend and scale bar", OverlayWriter, uses_image=True),
    "csv": Format("table of objects", ObjectTableWriter, uses_probabilities=True),
    "areas.csv": Format("table of the area of each class", AreasWriter),
}


@names_arguments
def open_writer(
    format: str,  # noqa: A002 - the word of the command line
    path: str | Path,
    frame: MapFrame,
    *,
    what: What = "classes",
    image: Slide | None = None,
    ignore: int | None = None,
    **options: Any,
) -> BandWriter:
    """Return the writer of a format.

    Args:
        format: A key of `FORMATS`.
        path: The file, or the folder of "zarr". It is written at the end of the `with` block.
        frame: Frame of the map.
        what: "classes" or "probabilities".
        image: The slide, for formats that show it.
        ignore: Number in the map that means "not predicted".
        options: Options of the format, see its writer.

    Returns:
        The writer, to be used in a `with` block.

    Raises:
        OptionError: The format or an option is unknown, or the format holds no probabilities.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> frame = MapFrame.of_level(slide, ("background", "nucleus"))
        >>> with open_writer("areas.csv", "liver.areas.csv", frame) as writer:
        ...     writer.write(0, np.ones((frame.height, frame.width), np.uint8))
        >>> Path("liver.areas.csv").read_text().count("nucleus")
        1
    """
    chosen = checked_format(format)
    if what not in ("classes", "probabilities"):
        raise OptionError(f'what must be "classes" or "probabilities", got {what!r}')
    if what == "probabilities" and not chosen.probabilities:
        able = ", ".join(key for key, one in FORMATS.items() if one.probabilities)
        raise OptionError(f'format {format!r} holds classes, and what="probabilities" is asked for; take {able}')
    if chosen.uses_image:
        options["image"] = image
    try:
        return chosen.writer(path, frame, what=what, ignore=ignore, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise OptionError(f"format {format!r}: {str(error).partition('() ')[2]}") from None


def checked_format(name: str) -> Format:
    """Return the format of a name.

    Raises:
        OptionError: There is no such format.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = get_close_matches(str(name), FORMATS, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"there is no format {name!r}; formats are {', '.join(FORMATS)}{hint}")

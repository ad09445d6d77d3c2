"""GeoTIFF as GDAL writes it: overviews follow in the chain of pages, classes have colours, bands have names."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.palette import class_colour
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.base import What
from patchaug.predict.writers.geo_keys import Tag, geo_tags
from patchaug.predict.writers.ome_xml import xml_text
from patchaug.predict.writers.tiff_map import TiffMapWriter
from patchaug.readers.georeference import STAGE

_GREY = (153, 153, 153)


class GeoTiffWriter(TiffMapWriter):
    """Writes a tiled GeoTIFF with the place of the slide, which GIS tools open; see `TiffMapWriter`.

    A slide that is not georeferenced gives a plain tiled TIFF. A class map has a colour table, and the class names as
    metadata; probabilities have a band for each class, with its name and, for integers, the scale to 0..1.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> frame = MapFrame.of_level(slide, ("background", "nucleus"))
        >>> with GeoTiffWriter("map.tif", frame) as writer:
        ...     writer.write(0, np.zeros((frame.height, frame.width), np.uint8))
        >>> open_slide(image, "map.tif").mask.level_dimensions == slide.level_dimensions[:1]
        True
    """

    dtypes = ("uint8", "uint16", "float16", "float32")

    def __init__(
        self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None,
        compression: str = "deflate", tile: int = 512, dtype: str = "uint8",
    ) -> None:  # fmt: skip
        super().__init__(path, frame, what=what, ignore=ignore, compression=compression, tile=tile, dtype=dtype)
        place = frame.georeference
        self._tags: list[Tag] = geo_tags(place) if place is not None and self.places_map() else []

    def places_map(self) -> bool:
        """Return whether the slide lies on a map."""
        return self.frame.georeference is not None and self.frame.georeference.crs != STAGE

    def write_pages(self, tiff: Any, levels: list[dict[str, Any]]) -> None:
        """Write the levels one after the other."""
        form: dict[str, Any] = {}
        if self.planes > 1:
            form = {"planarconfig": "separate"}
        elif self.what == "classes" and self.stored == np.uint8:
            form = {"photometric": "palette", "colormap": self._colours()}
        text = self._metadata()
        tags = [*self._tags, (42112, 2, len(text) + 1, text, False)]
        if self.fill is not None and self.what == "classes":
            nodata = str(self.fill)
            tags.append((42113, 2, len(nodata) + 1, nodata, False))
        for number, level in enumerate(levels):
            extra = {"extratags": tags} if number == 0 else {"subfiletype": 1}
            tiff.write(**{**level, **form, **extra})

    def _colours(self) -> Array:
        colours = np.zeros((256, 3), np.uint16)
        for number in range(1, len(self.frame.codes)):
            colours[number] = class_colour(number, self.ignore)
        if self.fill is not None:
            colours[self.fill] = _GREY
        return colours.T * np.uint16(257)

    def _metadata(self) -> str:
        """Return the metadata in GDAL's XML, escaped twice as GDAL does; ASCII with references for other characters."""
        codes = self.frame.codes
        items = [(f"CLASS_{number}", name, "") for number, name in enumerate(codes)]
        if self.what == "probabilities":
            items = [("DESCRIPTION", name, f' sample="{n}" role="description"') for n, name in enumerate(codes)]
            if self.stored.kind == "u":
                one = 1 / np.iinfo(self.stored).max
                items += [("SCALE", repr(one), f' sample="{n}" role="scale"') for n in range(len(codes))]
                items += [("OFFSET", "0", f' sample="{n}" role="offset"') for n in range(len(codes))]
        lines = [f'<Item name="{key}"{more}>{escape(escape(xml_text(value)))}</Item>' for key, value, more in items]
        text = "<GDALMetadata>" + "".join(lines) + "</GDALMetadata>"
        return text.encode("ascii", "xmlcharrefreplace").decode()

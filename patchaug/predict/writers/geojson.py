"""GeoJSON that QuPath and GIS tools open: a polygon with holes for each object, exactly along its pixels by default."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.palette import class_colour
from patchaug.errors import OptionError
from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.base import BandWriter, What, checked_background
from patchaug.predict.writers.objects import Objects, ObjectStream
from patchaug.predict.writers.simplify import simplified
from patchaug.readers.annotations.class_names import IGNORE
from patchaug.readers.annotations.features import BYTES, HOLES, PIXELS, RING, VERTICES, shapely_module
from patchaug.readers.georeference import STAGE

_FRACTION = 1e-4  # of a pixel that coordinates are rounded to where they are not whole
_POINTS = 2**16  # that are made texts together
_GREY = (128, 128, 128)


class GeoJsonWriter(BandWriter):
    """Writes a FeatureCollection with a Polygon for each 4-connected component of one class.

    Drawn again, the polygons are the map. Coordinates are pixels of level 0; where the slide lies in a named coordinate
    system they are coordinates of that system, which the collection's "crs" names. Properties are those of QuPath:
    objectType, and classification with name and color. What was not predicted has QuPath's class "Ignore*".

    Args:
        path: The file.
        frame: Frame of the map.
        what: "classes".
        ignore: Number in the map that means "not predicted".
        background: Class without polygons, by number or name; None for polygons of all classes.
        object_type: QuPath's type: "annotation", or "detection", which it draws faster and does not edit.
        coordinates: "auto", "pixels" (of level 0, for QuPath on a georeferenced slide) or "map".
        simplify: Pixels of level 0 by which an outline may differ from the edges of its pixels; needs shapely. 0 is
            exact. Outlines are simplified one by one, so neighbours may leave gaps or overlap by twice as much; one
            that would cross itself stays exact.

    Raises:
        OptionError: An option is out of its limits, or the slide is not georeferenced.

    Examples:
        >>> import json
        >>> from patchaug.predict.map_frame import MapFrame
        >>> with GeoJsonWriter("map.geojson", MapFrame("liver", 3, 1, ("background", "nucleus"))) as writer:
        ...     writer.write(0, np.array([[0, 1, 1]], np.uint8))
        >>> feature = json.loads(Path("map.geojson").read_text())["features"][0]
        >>> feature["geometry"]["coordinates"], feature["properties"]["classification"]["name"]
        ([[[1, 0], [3, 0], [3, 1], [1, 1], [1, 0]]], 'nucleus')
    """

    content = "map of polygons"

    def __init__(
        self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None,
        background: int | str | None = 0, object_type: str = "annotation",
        coordinates: Literal["auto", "pixels", "map"] = "auto", simplify: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(path, frame, what=what, ignore=ignore)
        self._left_out = checked_background(frame, background)
        if object_type not in ("annotation", "detection"):
            raise OptionError(f'object_type must be "annotation" or "detection", got {object_type!r}')
        if not (isinstance(simplify, (int, float)) and 0 <= simplify < math.inf):
            raise OptionError(f"simplify must be 0 or a number of level-0 pixels, got {simplify!r}")
        if simplify:
            shapely_module()
        self._simplify = float(simplify)
        self._on_map = self._checked_coordinates(coordinates)
        self._properties = {
            number: json.dumps(
                {"objectType": object_type, "classification": {"name": name, "color": list(colour)}},
                separators=(",", ":"), ensure_ascii=False,
            )
            for number, name, colour in self._classes()
        }  # fmt: skip

    def _classes(self) -> list[tuple[int, str, tuple[int, int, int]]]:
        named = [(n, name, class_colour(n, None) if n else _GREY) for n, name in enumerate(self.frame.codes)]
        if self.ignore is not None:
            named = [one for one in named if one[0] != self.ignore] + [(self.ignore, IGNORE, _GREY)]
        return named

    def _checked_coordinates(self, coordinates: str) -> bool:
        place = self.frame.georeference
        named = place is not None and place.crs is not None and place.crs != STAGE
        if coordinates not in ("auto", "pixels", "map"):
            raise OptionError(f'coordinates must be "auto", "pixels" or "map", got {coordinates!r}')
        if coordinates == "map" and not named:
            raise OptionError(
                f'{self.frame.slide} names no coordinate system of a map; coordinates="pixels" writes pixels of level 0'
            )
        return named and coordinates != "pixels"

    def begin(self) -> None:
        """Write the head of the collection."""
        self._stream = ObjectStream(self.frame.width, self._left_out, max(self._properties) + 1, outlines=True)
        self._file = self.temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n")
        self._file.write('{"type": "FeatureCollection", ' + self._crs() + '"features": [')
        self._number = self._points = 0

    def _crs(self) -> str:
        place = self.frame.georeference
        if place is None or place.crs == STAGE:
            return ""
        if not self._on_map:
            return f'"crs": "{PIXELS}", '  # our own word: GeoJSON on such a slide would be read as coordinates of a map
        code = (place.crs or "").removeprefix("EPSG:")
        name = f"urn:ogc:def:crs:EPSG::{code}" if code.isdecimal() else place.crs
        return f'"crs": {json.dumps({"type": "name", "properties": {"name": name}}, ensure_ascii=False)}, '

    def write_band(self, top: int, classes: Array, probabilities: Array | None) -> None:
        """Write the objects that the band completes."""
        self._add(self._stream.feed(classes))

    def finish(self) -> None:
        """Write the objects that reach the last row, and the end of the collection."""
        self._add(self._stream.finish())
        self._file.write("\n]}\n")
        self._file.close()
        size = self.temporary.stat().st_size
        if size > BYTES or self._points > VERTICES:
            self._warn_of(f"{size >> 20:,} MiB with {self._points:,} points")

    def close(self) -> None:
        """Close the file."""
        if hasattr(self, "_file"):
            self._file.close()

    def _add(self, batches: Iterable[Objects]) -> None:
        for classes, _, polygons in batches:
            if not polygons:
                continue
            if self._simplify:
                polygons = simplified(polygons, self._simplify / np.array(self.frame.l0_per_pixel))
            texts = self._texts([ring for rings in polygons for ring in rings])
            for number, rings in zip(classes.tolist(), polygons, strict=True):
                self._check(rings)
                self._file.write(
                    ("," if self._number else "") + '\n{"type":"Feature","geometry":{"type":"Polygon","coordinates":['
                )
                self._file.write(next(texts))
                for _ in rings[1:]:
                    self._file.write("," + next(texts))
                self._file.write(f']}},"properties":{self._properties[number]}}}')
                self._number += 1

    def _warn_of(self, what: str) -> None:
        warnings.warn(
            f"{self.path}: {what}, more than our own reader accepts as a mask, and other tools may be slow; "
            f"take ome.tif for this map, leave the class out, or simplify",
            stacklevel=4,
        )

    def _check(self, rings: list[Array]) -> None:
        """Warn of an object that readers refuse."""
        longest = max(map(len, rings))
        self._points += sum(map(len, rings))
        if len(rings) > HOLES or longest > RING:
            self._warn_of(f"an object has {len(rings) - 1:,} holes and an outline of {longest:,} points")

    def _texts(self, rings: list[Array]) -> Iterator[str]:
        """Yield the coordinates of each ring as JSON."""
        totals = np.cumsum(list(map(len, rings)))
        parts = np.flatnonzero(np.diff(totals // _POINTS)) + 1  # texts of all points at once would be large
        for first, last in pairwise([0, *parts.tolist(), len(rings)]):
            ends = totals[first:last] - (totals[first - 1] if first else 0)
            points, turned = self._placed(np.concatenate(rings[first:last], dtype=np.int64))
            if turned:
                lengths = np.diff(ends, prepend=0)
                starts = np.repeat(ends - lengths, lengths)
                points = points[starts + (starts - np.arange(len(points))) % np.repeat(lengths, lengths)]
            texts = list(map("[{},{}]".format, points[:, 0].tolist(), points[:, 1].tolist()))
            for start, end in pairwise([0, *ends.tolist()]):
                yield f"[{','.join(texts[start:end])},{texts[start]}]"

    def _placed(self, points: Array) -> tuple[Array, bool]:
        """Return vertices in the coordinates of the file, and whether outlines now turn the other way."""
        frame = self.frame
        steps, starts = np.array(frame.l0_per_pixel), np.array((frame.l0_x, frame.l0_y))
        if self._on_map:
            place = frame.georeference
            assert place is not None
            a, b, _, d, e, _ = place.transform
            digits = math.ceil(-math.log10(_FRACTION * math.sqrt(abs(a * e - b * d))))
            return np.round(place.to_coordinates(points.astype(np.float64)), digits), a * e - b * d < 0
        if (steps % 1 == 0).all() and (starts % 1 == 0).all():
            return points * steps.astype(np.int64) + starts.astype(np.int64), False
        return np.round(points * steps + starts, round(-math.log10(_FRACTION))), False

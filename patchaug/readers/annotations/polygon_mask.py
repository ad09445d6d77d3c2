"""Polygons as a mask: the labels of a window are drawn from the polygons that touch it.

Rules. A pixel is inside a polygon if its centre is; `rasterize` states the precise rule. Later features are drawn over
earlier ones, holes are not drawn, and what no feature covers is class 0, or what `outside` says. A polygon may leave
the slide. At a coarser level each pixel has the label of the level-0 pixel under its centre, as with any mask that has
no levels (`patchaug.slides.mask_alignment`): drawing the whole of level 0 once, and reading that, gives the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.arrays import Array
from patchaug.core.class_codes import ClassCodes
from patchaug.core.memory.anonymous import is_starting_process
from patchaug.core.memory.shared_arrays import SharedArraysMixin
from patchaug.core.windows import Window
from patchaug.errors import FrameError
from patchaug.readers.annotations.asap_xml import parse_asap
from patchaug.readers.annotations.class_names import numbers_of, outside_number
from patchaug.readers.annotations.features import Annotations, Feature, shapely_module, text_of
from patchaug.readers.annotations.geojson import LABEL, parse_geojson
from patchaug.readers.annotations.map_coordinates import to_pixels
from patchaug.readers.annotations.rasterize import edges_of, fill
from patchaug.readers.annotations.soundness import checked_invalid, sound_features
from patchaug.readers.annotations.vector_files import parse_vectors
from patchaug.readers.base import Sizes, downsamples, require_inside
from patchaug.readers.file import FileRaster, open_file
from patchaug.readers.first_bytes import VECTORS
from patchaug.readers.georeference import Georeference
from patchaug.readers.identity import Identity, identify_file, identify_shapes


@dataclass(eq=False)
class Polygons(SharedArraysMixin):
    """All polygons of a mask, in the order in which they are drawn.

    Attributes:
        edges: float64 (4, n), see `edges_of`.
        firsts: First edge of each polygon, and n at the end; int64.
        values: Class number of each polygon; the dtype is the mask's.
        bounds: Least and greatest x and y of each polygon: float64 (polygons, 4) of x0, y0, x1, y1.
        base: Class number of what no polygon covers.
    """

    edges: Array = field(repr=False)
    firsts: Array = field(repr=False)
    values: Array = field(repr=False)
    bounds: Array = field(repr=False)
    base: int = 0
    _tree: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, features: list[Feature], numbers: list[int], base: int = 0) -> Polygons:
        """Collect the polygons of features, each with the class number of its feature."""
        flat = [(number, rings) for one, number in zip(features, numbers, strict=True) for rings in one.polygons]
        edges = [edges_of(rings) for _, rings in flat]
        bounds = [(*rings[0].min(0), *rings[0].max(0)) for _, rings in flat]
        values = np.array([number for number, _ in flat], np.int64)
        dtype = np.result_type(*(np.min_scalar_type(int(number)) for number in {base, *values.tolist()}))
        firsts = np.cumsum([0] + [one.shape[1] for one in edges])
        joined = np.concatenate(edges, axis=1) if edges else np.zeros((4, 0))
        return cls(joined, firsts, values.astype(dtype), np.array(bounds, np.float64).reshape(-1, 4), base)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tree": None}

    def touching(self, x0: float, y0: float, x1: float, y1: float) -> list[int]:
        """Return the numbers of the polygons whose bounds touch a rectangle, in the order of drawing."""
        if not len(self.values):
            return []
        shapely, tree = shapely_module(), self._tree
        if tree is None:
            tree = shapely.STRtree(shapely.box(*self.bounds.T))
            tree.query(shapely.box(0, 0, 1, 1))  # some releases finish the tree at the first query: not in two threads
            self._tree = tree
        return sorted(tree.query(shapely.box(x0, y0, x1, y1)).tolist())


@names_arguments_of_init
class PolygonRaster(FileRaster):
    """Mask of polygons in the frame of an image.

    Args:
        source: Path of a GeoJSON file (also packed by gzip), an ASAP XML, or a vector file; or parsed GeoJSON, a
            mapping or a list.
        sizes: (width, height) of the image's levels, finest first: they become the mask's.
        codes: Class names, in the order of the integers that are drawn; or a mapping from name to values of `label`.
        ignore_index: Integer that QuPath's class "Ignore*" is drawn with.
        name: Name in errors about windows; by default the file's name.
        outside: What no polygon covers: a class name, or `ignore_index`. Default: the first code.
        label: Property of the features that holds the class. None: all of them are of the second class.
        invalid: "raise" lists bad features in one error, "skip" leaves them out, "repair" mends crossing outlines.
        place: Place of the image on the map; coordinates are then those of a map.

    Examples:
        >>> from patchaug import Window
        >>> from patchaug.readers import PolygonRaster
        >>> square = {"type": "Polygon", "coordinates": [[[1, 1], [4, 1], [4, 3], [1, 3]]]}
        >>> feature = {"type": "Feature", "geometry": square, "properties": {"classification": "cell"}}
        >>> raster = PolygonRaster([feature], ((6, 4),), codes=["background", "cell"])
        >>> int(raster.read(Window(0, 0, 6, 4)).sum())
        6
    """

    mpp = None
    holds_classes = True
    exact_levels = True

    def __init__(
        self,
        source: Any,
        sizes: Sizes,
        *,
        codes: Sequence[str] | Mapping[str, Any] | ClassCodes | None,
        ignore_index: int | None = None,
        name: str | None = None,
        outside: str | int | None = None,
        label: str | None = LABEL,
        invalid: str = "raise",
        place: Georeference | None = None,
    ) -> None:
        is_file = isinstance(source, (str, os.PathLike))
        super().__init__(source if is_file else "polygons", name=name)
        self.level_dimensions = tuple(sizes)
        self.codes, self.ignore_index = ClassCodes.of(codes), ignore_index
        self._outside, self.label, self.invalid, self.place = outside, label, checked_invalid(invalid), place
        self._is_file = is_file
        self._parsed = None if is_file else self._polygons(parse_geojson(self.name, source, label or LABEL))

    def identity(self) -> Identity | None:
        """Return what identifies the pixels: the file and how it is drawn; None for parsed GeoJSON."""
        if not self._is_file:
            return None
        drawn = self.codes, self.ignore_index, self._outside, self.label, self.invalid, self.place
        is_shape = self.path.lower().endswith(".shp")
        files = identify_shapes(self.path) if is_shape else identify_file(self.path)
        return "polygons", files, repr(drawn), repr(self.level_dimensions)

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return downsamples(self.level_dimensions)

    @property
    def polygons(self) -> Polygons:
        """Polygons to draw; a file is parsed once in each process.

        Raises:
            ReadError: The file cannot be read, has changed, or contains a feature without area.
            LabelError: A class is missing from the codes.
        """
        if self._parsed is None:
            self.require_unchanged()
            self._parsed = self._polygons(self._parse())
        return self._parsed

    def _parse(self) -> Annotations:
        label = self.label or LABEL
        with open_file(self.path, whole=False) as file:
            if file.read(16).startswith(VECTORS):
                return parse_vectors(self.path, label)
        text = text_of(self.path)
        if text[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            return parse_asap(self.path, text)
        return parse_geojson(self.path, text, label)

    def _polygons(self, found: Annotations) -> Polygons:
        features = sound_features(self.what, found, self.invalid)
        codes, ignore_index = self.codes, self.ignore_index
        numbers = numbers_of(self.what, features, codes, ignore_index, self.label, found.attributes)
        base = outside_number(self.what, self._outside, numbers, codes, ignore_index)
        placed = to_pixels(self.what, features, found.crs, self.place, self.level_dimensions[0])
        return Polygons.of(placed, numbers, base)

    @property
    def what(self) -> str:
        """Name of the annotations in errors about their content."""
        return self.path if self._is_file else self.name

    def __getstate__(self) -> dict[str, Any]:
        # A worker shares what was parsed; elsewhere a file is parsed again, and pickles as its path.
        return {**self.__dict__, **({"_parsed": None} if self._is_file and not is_starting_process() else {})}

    def read(self, window: Window) -> Array:
        """Draw the class numbers of a window, integer (height, width).

        Raises:
            WindowError: The window leaves its level, or there is no such level.
            ReadError: The file cannot be read, or has changed.
        """
        require_inside(self.name, self.level_dimensions, window)
        polygons = self.polygons
        size, l0_size = self.level_dimensions[window.level], self.level_dimensions[0]
        spans = ((window.x, window.right), (window.y, window.bottom))
        # The level-0 pixel under the centre of each pixel, in whole numbers: what `Alignment.under` says.
        columns, rows = (
            (((2 * np.arange(*span, dtype=np.int64) + 1) * l0 // (2 * length)).astype(np.float64))
            for span, length, l0 in zip(spans, size, l0_size, strict=True)
        )
        out = np.full((window.height, window.width), polygons.base, polygons.values.dtype)
        for k in polygons.touching(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1):
            edges = polygons.edges[:, polygons.firsts[k] : polygons.firsts[k + 1]]
            fill(out, int(polygons.values[k]), edges, columns, rows)
        return out

    def outside(self) -> list[int]:
        """Return the numbers of the polygons that lie completely outside the image.

        Raises:
            FrameError: They are more than half, or would all lie inside if x and y were exchanged; or polygons are so
                small that most cover no pixel.
        """
        width, height = self.level_dimensions[0]
        x0, y0, x1, y1 = self.polygons.bounds.T
        if not len(x0):
            return []
        empty = (np.ceil(x0 - 0.5) >= np.ceil(x1 - 0.5)) | (np.ceil(y0 - 0.5) >= np.ceil(y1 - 0.5))
        if 2 * empty.sum() > len(empty):
            degrees = "; are they longitude and latitude? The image is not georeferenced" if self.place is None else ""
            raise FrameError(
                f"{self.what}: {empty.sum()} of {len(empty)} polygons cover no pixel (the first spans x "
                f"{x0[empty][0]:g} to {x1[empty][0]:g}, y {y0[empty][0]:g} to {y1[empty][0]:g}){degrees}; coordinates "
                f"must be pixels of level 0"
            )
        out = (x1 <= 0) | (y1 <= 0) | (x0 >= width) | (y0 >= height)
        if out.any():
            swapped = (y0 >= 0) & (x0 >= 0) & (y1 <= width) & (x1 <= height)
            if 2 * out.sum() > len(out) or swapped.all():
                cure = "exchange x and y" if swapped.all() else "are they those of this slide, in pixels of level 0?"
                raise FrameError(
                    f"{self.what}: {out.sum()} of {len(out)} polygons lie outside the image of {width} x {height} px "
                    f"(the first spans x {x0[out][0]:g} to {x1[out][0]:g}, y {y0[out][0]:g} to {y1[out][0]:g}); {cure}"
                )
        return [int(k) for k in np.flatnonzero(out)]

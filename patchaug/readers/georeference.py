"""Place of a raster on the map, or on a stage: the transform from its pixels, and the coordinate system."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.readers.base import Raster

STAGE = "stage, micrometres"  # the system of files that store a pixel size and an origin
_POINT = 2  # GTRasterTypeGeoKey: coordinates are those of pixel centres
_USER = 32767


class GeoKeys(NamedTuple):
    """Coordinate system of a GeoTIFF as it is stored: the tags 34735, 34736 and 34737.

    Attributes:
        directory: GeoKeyDirectory, four numbers a key.
        doubles: GeoDoubleParams.
        text: GeoAsciiParams.
    """

    directory: tuple[int, ...]
    doubles: tuple[float, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Georeference:
    """Affine transform from pixels of level 0 to coordinates: x = a column + b row + c, y = d column + e row + f.

    Attributes:
        transform: a, b, c, d, e, f; (0, 0) is the outer corner of the first pixel.
        crs: Coordinate system, such as "EPSG:32632"; None where the file does not name it.
        keys: The system as a GeoTIFF stores it; None for other files.

    Examples:
        >>> from patchaug.readers.georeference import Georeference
        >>> place = Georeference((0.5, 0.0, 400.0, 0.0, -0.5, 900.0), "EPSG:32632")
        >>> place.to_pixels(np.array([[401.0, 899.0]])).tolist()
        [[2.0, 2.0]]
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str | None = None
    keys: GeoKeys | None = field(default=None, compare=False, repr=False)

    def to_pixels(self, points: Array) -> Array:
        """Convert coordinates, float64 (points, 2) of x and y, to pixels of level 0."""
        a, b, c, d, e, f = self.transform
        x, y = points[:, 0] - c, points[:, 1] - f
        determinant = a * e - b * d
        return np.stack([(e * x - b * y) / determinant, (a * y - d * x) / determinant], axis=1)

    def to_coordinates(self, points: Array) -> Array:
        """Convert pixels of level 0, float64 (points, 2), to coordinates."""
        a, b, c, d, e, f = self.transform
        x, y = points[:, 0], points[:, 1]
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    def of_part(self, x: float, y: float, step_x: float, step_y: float) -> Georeference:
        """Return the place of a raster that begins at pixel (x, y) of this one and has larger pixels.

        Args:
            x: Column of this raster at the other's left edge.
            y: Row of this raster at the other's upper edge.
            step_x: Columns of this raster for each column of the other.
            step_y: Rows of this raster for each row of the other.

        Examples:
            >>> from patchaug.readers.georeference import Georeference
            >>> Georeference((0.5, 0.0, 400.0, 0.0, -0.5, 900.0)).of_part(10, 0, 4, 4).transform
            (2.0, 0.0, 405.0, 0.0, -2.0, 900.0)
        """
        a, b, c, d, e, f = self.transform
        moved = a * step_x, b * step_y, a * x + b * y + c, d * step_x, e * step_y, d * x + e * y + f
        return replace(self, transform=moved)


def georeference_of(raster: Raster) -> Georeference | None:
    """Return the place of a raster; None where its file does not store one."""
    place: Georeference | None = getattr(raster, "georeference", None)
    return place


def from_geotiff(tags: Mapping[str, Any]) -> Georeference | None:
    """Return the place that the tags of a GeoTIFF state.

    Args:
        tags: `TiffPage.geotiff_tags` of tifffile.
    """
    matrix, scale, tie = (tags.get(name) for name in ("ModelTransformation", "ModelPixelScale", "ModelTiepoint"))
    if matrix is not None:
        (a, b, _, c), (d, e, _, f) = (tuple(map(float, row)) for row in np.asarray(matrix).reshape(4, 4)[:2])
    elif scale is not None and tie is not None:
        column, row, _, x, y, _ = map(float, np.ravel(tie)[:6])
        a, b, d, e = float(scale[0]), 0.0, 0.0, -float(scale[1])
        c, f = x - a * column, y - e * row
    else:
        return None
    if int(tags.get("GTRasterTypeGeoKey", 1) or 1) == _POINT:
        c, f = c - (a + b) / 2, f - (d + e) / 2
    if not all(map(math.isfinite, (a, b, c, d, e, f))) or a * e - b * d == 0:
        return None
    return Georeference((a, b, c, d, e, f), _crs(tags))


def _crs(tags: Mapping[str, Any]) -> str | None:
    for name in ("ProjectedCSTypeGeoKey", "GeographicTypeGeoKey"):
        code = tags.get(name)
        if code is not None and int(code) not in (0, _USER):
            return f"EPSG:{int(code)}"
    for name in ("PCSCitationGeoKey", "GTCitationGeoKey", "GeogCitationGeoKey"):
        if isinstance(tags.get(name), str) and tags[name].strip():
            return str(tags[name]).strip()
    return None

"""Coordinates of annotations as pixels of level 0: they count pixels already, or are those of a map."""

from __future__ import annotations

from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import FrameError, OptionError
from patchaug.readers.annotations.features import PIXELS, Feature
from patchaug.readers.file import describe
from patchaug.readers.georeference import STAGE, Georeference

LONGITUDE_LATITUDE = "OGC:CRS84"  # what RFC 7946 says of GeoJSON that names no system


def to_pixels(
    what: str, features: list[Feature], crs: str | None, place: Georeference | None, size: tuple[int, int]
) -> list[Feature]:
    """Return features in pixels of level 0.

    Args:
        what: Name of the annotations, for errors.
        features: Polygons in the coordinates of the source.
        crs: Coordinate system of the source, `PIXELS`, or None where it names none.
        place: Place of the image on the map; None for an image without one.
        size: (width, height) of the image in pixels.

    Raises:
        FrameError: The coordinates cannot be those of the image.
        OptionError: pyproj is not installed.
    """
    if crs == PIXELS or not features or (place is not None and place.crs == STAGE and crs is None):
        return features
    if place is None:
        if crs is None:
            return features
        raise FrameError(
            f"{what}: its coordinates are of {crs}, and the image is not georeferenced; convert them to pixels of "
            f'level 0, and write "crs": "pixels" in the collection'
        )
    rings = [ring for feature in features for polygon in feature.polygons for ring in polygon]
    points = np.concatenate(rings)
    if crs is None:
        _require_degrees(what, points, place, size)
        crs = LONGITUDE_LATITUDE
    pixels = place.to_pixels(points if crs == place.crs else _projected(what, points, crs, place))
    parts = iter(np.split(pixels, np.cumsum([len(ring) for ring in rings])[:-1]))
    return [one._replace(polygons=[[next(parts) for _ in polygon] for polygon in one.polygons]) for one in features]


def _require_degrees(what: str, points: Array, place: Georeference, size: tuple[int, int]) -> None:
    """Raise FrameError where coordinates without a system cannot be longitude and latitude."""
    if (np.abs(points) <= (180, 90)).all():
        return
    inside = _inside(points, size)
    if inside:
        hint = 'as pixels they lie inside: write "crs": "pixels" in the collection'
    elif place.crs and _inside(place.to_pixels(points), size):
        hint = f'as {place.crs} they lie inside: write "crs": "{place.crs}" in the collection'
    else:
        hint = 'name their system as the collection\'s "crs", such as "EPSG:32632"'
    raise FrameError(
        f"{what}: the image is georeferenced, and coordinates up to {np.abs(points).max():.6g} are not longitude and "
        f"latitude; {hint}"
    )


def _inside(points: Array, size: tuple[int, int]) -> bool:
    return bool((((points >= -0.5) & (points <= np.array(size) + 0.5)).all(axis=1)).mean() > 0.5)


def _projected(what: str, points: Array, crs: str, place: Georeference) -> Array:
    if place.crs is None:
        raise FrameError(
            f"{what}: its coordinates are of {crs}, and the image names no coordinate system; add it to the image "
            f"(gdal_edit.py -a_srs {crs if crs.startswith('EPSG') else 'EPSG:...'} image.tif)"
        )
    pyproj = pyproj_module()
    try:
        transformer = pyproj.Transformer.from_crs(crs, place.crs, always_xy=True)
        x, y = transformer.transform(points[:, 0], points[:, 1], errcheck=True)
    except pyproj.exceptions.ProjError as error:
        text = f"{what}: coordinates of {crs} cannot be projected to {place.crs} ({describe(error)})"
        raise FrameError(f"{text}; name their system as the collection's crs") from None
    return np.stack([x, y], axis=1)


def pyproj_module() -> Any:
    """Import pyproj, an optional dependency for coordinates of maps.

    Raises:
        OptionError: pyproj is not installed.
    """
    try:
        import pyproj
    except ImportError:
        raise OptionError('coordinates of maps need pyproj; install it with pip install "patchaug[geo]"') from None
    return pyproj

"""Tags of GeoTIFF: the transform, and the coordinate system as the image stores it, or by its EPSG code."""

from __future__ import annotations

from typing import Any

from patchaug.errors import OptionError
from patchaug.readers.georeference import GeoKeys, Georeference

_MODEL, _RASTER, _CITATION, _GEOGRAPHIC, _PROJECTED = 1024, 1025, 1026, 2048, 3072
_USER = 32767

Tag = tuple[int, int, int, Any, bool]  # code, type, count, value, and whether only the first page has it


def geo_tags(place: Georeference) -> list[Tag]:
    """Return the tags that state a place, in tifffile's form.

    Raises:
        OptionError: The system is an EPSG code, the image does not store what it means, and pyproj is not installed.
    """
    a, b, c, d, e, f = place.transform
    if b == d == 0 and a > 0 and e < 0:
        tags: list[Tag] = [
            (33550, 12, 3, (a, -e, 0.0), False),
            (33922, 12, 6, (0.0, 0.0, 0.0, c, f, 0.0), False),
        ]
    else:  # turned, or with rows that go up
        tags = [(34264, 12, 16, (a, b, 0.0, c, d, e, 0.0, f, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0), False)]
    keys = _keys(place)
    tags.append((34735, 3, len(keys.directory), keys.directory, False))
    if keys.doubles:
        tags.append((34736, 12, len(keys.doubles), keys.doubles, False))
    if keys.text:
        tags.append((34737, 2, len(keys.text) + 1, keys.text, False))
    return tags


def _keys(place: Georeference) -> GeoKeys:
    if place.keys is not None:
        return _of_areas(place.keys)
    if place.crs is None:
        return _of_areas(GeoKeys((1, 1, 0, 0)))
    code = place.crs.removeprefix("EPSG:")
    if not code.isdecimal():
        text = place.crs.encode("ascii", "replace").decode() + "|"
        citation = (_CITATION, 34737, len(text), 0)
        return _of_areas(GeoKeys((1, 1, 0, 2, _MODEL, 0, 1, _USER, *citation), (), text))
    geographic = _is_geographic(place.crs)
    system = _GEOGRAPHIC if geographic else _PROJECTED
    return _of_areas(GeoKeys((1, 1, 0, 2, _MODEL, 0, 1, 2 if geographic else 1, system, 0, 1, int(code))))


def _of_areas(keys: GeoKeys) -> GeoKeys:
    """Return keys that say that pixels are areas: the transform's origin is the corner of the first one."""
    entries = [keys.directory[at : at + 4] for at in range(4, len(keys.directory) - 3, 4)]
    entries = sorted([one for one in entries if one[0] != _RASTER] + [(_RASTER, 0, 1, 1)])
    flat = tuple(number for entry in entries for number in entry)
    return keys._replace(directory=(*keys.directory[:3], len(entries), *flat))


def _is_geographic(crs: str) -> bool:
    try:
        import pyproj
    except ImportError:
        raise OptionError(
            f'to write {crs} as GeoTIFF needs pyproj; install it with pip install "patchaug[geo]"'
        ) from None
    return bool(pyproj.CRS.from_user_input(crs).is_geographic)

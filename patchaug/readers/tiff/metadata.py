"""What a TIFF states beside its pixels: micrometres per pixel, place on the map, names of channels."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from patchaug.readers.georeference import STAGE, GeoKeys, Georeference, from_geotiff

if TYPE_CHECKING:
    from xml.etree import ElementTree

    from tifffile import TiffFile

_MICROMETRES = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "μm": 1.0, "nm": 1e-3, "in": 25400.0}
_GDAL_METADATA = 42112


def mpp_of(tiff: TiffFile, page: Any, scene: int = 0) -> tuple[float, float] | None:
    """Return micrometres per pixel from the format's metadata or the resolution tags; None if absent."""
    try:
        if tiff.is_svs:
            match = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", page.description)
            x = y = float(match[1]) if match else 0.0
        elif tiff.is_ome:
            x, y = _ome_mpp(tiff.ome_metadata or "", scene)
        else:
            unit = {2: 25400.0, 3: 10000.0}[int(page.tags.valueof(296, 2))]  # inch, centimetre
            x, y = (unit * per[1] / per[0] for per in (page.tags.valueof(282), page.tags.valueof(283)))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, SyntaxError):
        # tags that are missing or of a wrong type, zero denominators, XML that is none (SyntaxError): it is not stated
        return None
    return (x, y) if all(math.isfinite(v) and v > 0 for v in (x, y)) else None


def place_of(tiff: TiffFile, page: Any, mpp: tuple[float, float] | None) -> Georeference | None:
    """Return the place on the map, or on the stage where the file stores an origin; None if absent."""
    try:
        tags = page.geotiff_tags if 33550 in page.tags or 34264 in page.tags else None
        if tags:
            place = from_geotiff(tags)
            return None if place is None else replace(place, keys=_geo_keys(page))
        if mpp is None or tiff.is_svs or 286 not in page.tags or 287 not in page.tags:
            return None
        x, y = (origin[0] / origin[1] for origin in (page.tags.valueof(286), page.tags.valueof(287)))
        unit = {2: 25400.0, 3: 10000.0}[int(page.tags.valueof(296, 2))]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None  # the file does not say
    return Georeference((mpp[0], 0.0, x * unit, 0.0, mpp[1], y * unit), STAGE)


def _geo_keys(page: Any) -> GeoKeys | None:
    """Return the tags of the coordinate system as they are stored."""
    directory, doubles, text = (page.tags.valueof(code) for code in (34735, 34736, 34737))
    if directory is None:
        return None
    numbers = () if doubles is None else tuple(map(float, np.ravel(doubles)))
    return GeoKeys(tuple(map(int, directory)), numbers, str(text or ""))


def _ome_mpp(text: str, scene: int) -> tuple[float, float]:
    """Return the physical size of a pixel in micrometres, 0 where the XML lacks it."""
    stored = _ome_pixels(text, scene).attrib
    x, y = (
        float(stored.get(f"PhysicalSize{axis}", "0")) * _MICROMETRES[stored.get(f"PhysicalSize{axis}Unit", "µm")]
        for axis in "XY"
    )
    return x, y


def _ome_pixels(text: str, scene: int) -> ElementTree.Element:
    from xml.etree import ElementTree

    return ElementTree.fromstring(text).findall(".//{*}Image/{*}Pixels")[scene]


def channel_names(tiff: TiffFile, page: Any, scene: int, count: int) -> tuple[str, ...] | None:
    """Return the names of the channels, from OME-XML or GDAL's band descriptions; None unless each has one."""
    try:
        if tiff.is_ome:
            channels = _ome_pixels(tiff.ome_metadata or "", scene).findall("{*}Channel")
            names = [channel.get("Name") for channel in channels]
        else:
            text = page.tags.valueof(_GDAL_METADATA)
            if text is None:
                return None
            from xml.etree import ElementTree

            items = ElementTree.fromstring(text).findall("Item")
            described = [item for item in items if item.get("role") == "description"]
            found = {int(item.get("sample", "-1")): _unescaped(item.text or "") for item in described}
            names = [found.get(number) for number in range(count)]
    except (AttributeError, LookupError, TypeError, ValueError, SyntaxError):
        return None
    return tuple(str(name) for name in names) if len(names) == count and all(names) else None


def _unescaped(text: str) -> str:
    """Text that GDAL escapes twice; `xml.sax.saxutils.unescape` does the same, and loads urllib.request."""
    return text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&")

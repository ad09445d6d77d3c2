"""GeoJSON (RFC 7946) as QuPath and GIS tools write it: a FeatureCollection, a Feature, or a list of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from patchaug.errors import ReadError
from patchaug.readers.annotations.features import Annotations, Feature, compact, require_modest, ring_of
from patchaug.readers.file import describe

LABEL = "classification"  # QuPath's property
_VALUES = 200  # different values of a property that are counted


def parse_geojson(what: str, source: bytes | Any, label: str = LABEL) -> Annotations:
    """Parse the features of a GeoJSON text, or of parsed GeoJSON.

    Args:
        what: Name of the source, for errors.
        source: The text, or what `json.loads` makes of it.
        label: Property that holds the class.

    Raises:
        ReadError: The text is not GeoJSON.
    """
    if isinstance(source, bytes):
        require_modest(what, source)
        try:
            source = json.loads(source, object_hook=compact)
        except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError, too
            raise ReadError(f"{what}: is not GeoJSON ({describe(error)[:120]}); export the annotations again") from None
    crs = None
    if isinstance(source, Mapping):
        crs = crs_of(source.get("crs"))
        source = source.get("features") if source.get("type") == "FeatureCollection" else [source]
    if not isinstance(source, (list, tuple)):
        raise ReadError(f"{what}: is not GeoJSON: it must be a FeatureCollection or a list of Features")
    features, problems = [], []
    attributes: dict[str, Counter[str]] = {}
    for number, feature in enumerate(source):
        try:
            features.append(_feature(number, feature, label))
        except ReadError as error:
            problems.append((number, str(error)))
            continue
        count_attributes(attributes, feature.get("properties"))
    return Annotations(features, problems, crs, attributes)


def crs_of(member: Any) -> str | None:
    """Return the coordinate system of GeoJSON's older member `crs`, or of a text; None where there is none."""
    if isinstance(member, Mapping):
        properties = member.get("properties")
        member = properties.get("name") if isinstance(properties, Mapping) else None
    if not isinstance(member, str):
        return None
    code = re.fullmatch(r"(?:urn:ogc:def:crs:)?EPSG:+(?:[\d.]*:)?(\d+)", member.strip(), re.IGNORECASE)
    if code:
        return f"EPSG:{code[1]}"
    return "OGC:CRS84" if re.search(r"CRS:?84$", member) else member


def count_attributes(attributes: dict[str, Counter[str]], properties: Any) -> None:
    """Count the values of a feature's properties that may be names of classes."""
    if isinstance(properties, Mapping):
        for key, value in properties.items():
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                of_key = attributes.setdefault(str(key), Counter())
                if len(of_key) < _VALUES or str(value) in of_key:
                    of_key[str(value)] += 1


def _feature(number: int, feature: Any, label: str) -> Feature:
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise ReadError(f"a Feature is expected, got {str(feature)[:60]}")
    try:
        polygons = list(_polygons(feature.get("geometry")))
    except RecursionError:
        raise ReadError("collections of collections, too many of them") from None
    return Feature(number, class_of(feature.get("properties"), label), polygons)


def _polygons(geometry: Any) -> Iterator[Any]:
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    field = "geometries" if kind == "GeometryCollection" else "coordinates"
    if kind not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        raise ReadError(f"{kind or 'no geometry'} has no area, and a mask is made of areas")
    parts = [geometry.get(field)] if kind == "Polygon" else geometry.get(field)
    if not isinstance(parts, (list, tuple)):
        raise ReadError(f"{kind} without {field}")
    for part in parts:
        if kind == "GeometryCollection":
            yield from _polygons(part)
        elif not isinstance(part, (list, tuple)) or not part:
            raise ReadError(f"a polygon must be a list of rings, got {str(part)[:60]}")
        else:
            yield [ring_of(ring) for ring in part]


def class_of(properties: Any, label: str) -> str | int | None:
    """Return the class: a text, a number of the file, or QuPath's mapping with name or names; None where it is null.

    Raises:
        ReadError: It is anything else.
    """
    if not isinstance(properties, Mapping):
        return None
    value = properties.get(label)
    if isinstance(value, Mapping):
        value = value.get("name", value.get("names"))
    if isinstance(value, (list, tuple)):
        value = ": ".join(map(str, value))  # as QuPath writes derived classes
    if isinstance(value, float) and value.is_integer():  # data frames with gaps hold numbers as floats
        value = int(value)
    if isinstance(value, float) and value != value:  # NaN: a gap
        value = None
    if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
        raise ReadError(f"its {label} should be a name, got {str(value)[:60]}")
    return None if value == "" else value

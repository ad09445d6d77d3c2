"""GeoJSON (RFC 7946) as QuPath writes it: a FeatureCollection, a Feature, or a list of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from patchaug.errors import ReadError
from patchaug.readers.annotations.features import Feature, ring_of
from patchaug.readers.file import describe


def parse_geojson(what: str, source: bytes | Any) -> list[Feature]:
    """Parse the features of a GeoJSON text, or of parsed GeoJSON.

    Raises:
        ReadError: The text is not GeoJSON, or a feature has no area; the text names it.
    """
    if isinstance(source, bytes):
        try:
            source = json.loads(source)
        except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError, too
            raise ReadError(f"{what}: is no GeoJSON ({describe(error)[:120]}); export the annotations again") from None
    if isinstance(source, Mapping):
        source = source.get("features") if source.get("type") == "FeatureCollection" else [source]
    if not isinstance(source, (list, tuple)):
        raise ReadError(f"{what}: is no GeoJSON: a FeatureCollection or a list of Features is wanted")
    return [_feature(f"{what}: feature {number}", number, feature) for number, feature in enumerate(source)]


def _feature(where: str, number: int, feature: Any) -> Feature:
    if not isinstance(feature, Mapping) or feature.get("type") != "Feature":
        raise ReadError(f"{where}: a Feature is wanted, got {str(feature)[:60]}")
    try:
        polygons = list(_polygons(where, feature.get("geometry")))
    except RecursionError:
        raise ReadError(f"{where}: collections of collections, too many of them") from None
    return Feature(number, _name(where, feature.get("properties")), polygons)


def _polygons(where: str, geometry: Any) -> Any:
    kind = geometry.get("type") if isinstance(geometry, Mapping) else None
    field = "geometries" if kind == "GeometryCollection" else "coordinates"
    if kind not in ("Polygon", "MultiPolygon", "GeometryCollection"):
        raise ReadError(f"{where}: {kind or 'no geometry'} has no area, and a mask is made of areas; delete it")
    parts = [geometry.get(field)] if kind == "Polygon" else geometry.get(field)
    if not isinstance(parts, (list, tuple)):
        raise ReadError(f"{where}: {kind} without {field}")
    for part in parts:
        if kind == "GeometryCollection":
            yield from _polygons(where, part)
        elif not isinstance(part, (list, tuple)) or not part:
            raise ReadError(f"{where}: a polygon must be a list of rings, got {str(part)[:60]}")
        else:
            yield [ring_of(where, ring) for ring in part]


def _name(where: str, properties: Any) -> str | None:
    """Return the class name: QuPath's `classification` is null, a mapping with name or names, or a text."""
    if not isinstance(properties, Mapping):
        return None
    label = properties.get("classification")
    if isinstance(label, Mapping):
        label = label.get("name", label.get("names"))
    if isinstance(label, (list, tuple)):
        label = ": ".join(map(str, label))  # as QuPath writes derived classes
    if label is not None and not isinstance(label, str):
        raise ReadError(f"{where}: its classification should be a name, got {str(label)[:60]}")
    return label or None

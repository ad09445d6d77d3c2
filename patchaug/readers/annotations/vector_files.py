"""GeoPackage, Shapefile and FlatGeobuf, through pyogrio."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

from patchaug.errors import OptionError, PatchaugError, ReadError
from patchaug.readers.annotations.features import Annotations, Feature, shapely_module
from patchaug.readers.annotations.geojson import class_of, count_attributes, crs_of
from patchaug.readers.annotations.soundness import rings_of
from patchaug.readers.file import describe
from patchaug.readers.first_bytes import VECTORS
from patchaug.readers.remote.file import fetch_whole
from patchaug.readers.urls import is_url

_AREAS = ("Polygon", "MultiPolygon", "GeometryCollection")


def content_of(path: str) -> str | bytes:
    """Return what GDAL reads: the path of a local file, and the content of an object.

    Raises:
        ReadError: The object cannot be read, or is one of the several files of a Shapefile.
    """
    if not is_url(path):
        return path
    content = fetch_whole(path)
    if content.startswith(VECTORS[1]):
        raise ReadError(
            f"{path}: a Shapefile is several files, and one object is read; convert it (ogr2ogr a.gpkg a.shp)"
        )
    return content


def parse_vectors(path: str, label: str) -> Annotations:
    """Read the features of a vector file.

    Args:
        path: The file; of several layers the only one with areas is read.
        label: Attribute that holds the class.

    Raises:
        ReadError: The file cannot be read, or has several layers.
        OptionError: pyogrio or shapely is not installed.
    """
    try:
        import pyogrio
    except ImportError:
        raise OptionError('vector files need pyogrio; install it with pip install "patchaug[geo]"') from None
    shapely = shapely_module()
    try:
        source = content_of(path)
        if isinstance(source, bytes):
            # GDAL misses the suffix of what it reads from memory. Not by a context, which other threads would share.
            warnings.filterwarnings("ignore", ".*non conformant file extension", RuntimeWarning)
        layers = [str(name) for name, _ in pyogrio.list_layers(source)]
        if len(layers) > 1:
            raise ReadError(
                f"{path}: has {len(layers)} layers ({', '.join(map(repr, layers))}); export one to a file of its own"
            )
        meta, _, geometries, columns = pyogrio.raw.read(source)
    except PatchaugError:
        raise
    except Exception as error:  # GDAL's errors are of many classes
        raise ReadError(f"{path}: cannot be read ({describe(error)}); export the annotations again") from error
    names = [str(name) for name in meta["fields"]]
    features, problems = [], []
    attributes: dict[str, Counter[str]] = {}
    for number, shape in enumerate(shapely.from_wkb(geometries)):
        properties = {name: _plain(column[number]) for name, column in zip(names, columns, strict=True)}
        kind = "no geometry" if shape is None else str(shape.geom_type)
        try:
            if kind not in _AREAS:
                raise ReadError(f"{kind} has no area, and a mask is made of areas")
            polygons = [rings for part in shapely.get_parts(shape) for rings in rings_of(part)]
            features.append(Feature(number, class_of(properties, label), polygons))
        except ReadError as error:
            problems.append((number, str(error)))
            continue
        count_attributes(attributes, properties)
    return Annotations(features, problems, crs_of(meta.get("crs")), attributes)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value

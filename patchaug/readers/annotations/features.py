"""Features common to all annotation formats: polygons with a class, and the checks that they must pass."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError, ReadError
from patchaug.readers.file import describe

BYTES = 256 << 20  # of the text, unpacked: parsed, it takes about ten times as much
VERTICES = 10**7
COORDINATE = 2.0**31  # no slide is as wide; beyond 2^53 whole pixels could not be told apart


class Feature(NamedTuple):
    """One annotation.

    Attributes:
        number: Index in the file, from 0.
        name: Class name; None for features without a class.
        polygons: For each polygon its outer ring and its holes; float64 (points, 2) of level-0 (x, y).
    """

    number: int
    name: str | None
    polygons: list[list[Array]]


def text_of(path: str) -> bytes:
    """Read an annotation file, and decompress gzip.

    Raises:
        ReadError: They cannot be read, or are more than the limit.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(f"{path}: cannot be read ({describe(error)}); export the annotations again") from error
    if len(data) > BYTES:
        raise ReadError(
            f"{path}: more than {BYTES >> 20} MiB of annotations, the limit; simplify the outlines, split the file, or "
            f"export the labels as a tiled TIFF"
        )
    return data


def ring_of(where: str, points: Any) -> Array:
    """Convert a ring to float64 (points, 2); a third coordinate (height) is dropped.

    Raises:
        ReadError: The ring has too few points, or a coordinate is outside any slide.
    """
    try:
        ring = np.array([point[:2] for point in points], np.float64)
    except (TypeError, ValueError, OverflowError, LookupError):
        raise ReadError(f"{where}: a ring must be a list of [x, y], got {str(points)[:60]}") from None
    if ring.ndim != 2 or ring.shape[1] != 2:
        raise ReadError(f"{where}: a ring must be a list of [x, y], got {str(points)[:60]}")
    wrong = ~(np.abs(ring) < COORDINATE)  # true for NaN as well
    if wrong.any():
        raise ReadError(f"{where}: coordinate {ring[wrong][0]} is no place on a slide; correct or delete it")
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise ReadError(f"{where}: a ring has {len(ring)} points, an area needs 3; correct or delete it")
    return ring


def shapely_module() -> Any:
    """Import shapely, an optional dependency for polygons.

    Raises:
        OptionError: shapely is not installed.
    """
    try:
        import shapely
    except ImportError:
        raise OptionError('polygon masks need shapely; install it with pip install "patchaug[polygons]"') from None
    return shapely


def require_sound(what: str, features: Iterable[Feature]) -> None:
    """Check that each polygon is valid: rings do not cross, holes lie inside.

    Raises:
        ReadError: Some do not (the first is named with its reason), or there are too many vertices.
    """
    shapely = shapely_module()
    flat = [(feature.number, rings) for feature in features for rings in feature.polygons]
    rings = [ring for _, polygon in flat for ring in polygon]
    vertices = sum(map(len, rings))
    if vertices > VERTICES:
        raise ReadError(f"{what}: {vertices:,} vertices are above the limit of {VERTICES:,}; simplify the outlines")
    if not flat:
        raise ReadError(f"{what}: holds no polygon; export the annotations again, or give no mask")
    of_ring = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    linear = shapely.linearrings(np.concatenate(rings), indices=of_ring)
    polygons = shapely.polygons(linear, indices=np.repeat(np.arange(len(flat)), [len(polygon) for _, polygon in flat]))
    bad = np.flatnonzero(~shapely.is_valid(polygons))
    if len(bad):
        number, reason = flat[bad[0]][0], shapely.is_valid_reason(polygons[bad[0]])
        raise ReadError(
            f"{what}: feature {number} has no clear inside ({reason}), and so {len(bad)} of {len(flat)} polygons; "
            f"correct them, or rewrite them through shapely.make_valid"
        )

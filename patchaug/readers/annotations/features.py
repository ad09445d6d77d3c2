"""Features common to all annotation formats: polygons with a class, and what is wrong with some of them."""

from __future__ import annotations

import gzip
import re
import zlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError, PatchaugError, ReadError
from patchaug.readers.file import describe, open_file

BYTES = 256 << 20  # of the text, unpacked: parsed, it takes about ten times as much
VERTICES = 10**7
RING = 10**6  # points of a ring; parsed, a point takes 200 bytes until it is two numbers of 8
HOLES = 50_000  # of a polygon: to check those that lie on each other takes the square of their number
ELEMENTS = 2 * 10**6  # of an XML text, each of which takes 400 bytes
COORDINATE = 2.0**31  # no slide is as wide; beyond 2^53 whole pixels could not be told apart
PIXELS = "pixels"  # the coordinate system of annotations that count pixels of level 0


_END = re.compile(rb"\]\s*\]")  # of a ring


class Feature(NamedTuple):
    """One annotation.

    Attributes:
        number: Index in the file, from 0.
        name: Class name, or the value of the file that stands for the class; None for features without a class.
        polygons: For each polygon its outer ring and its holes; float64 (points, 2) of (x, y).
    """

    number: int
    name: str | int | None
    polygons: list[list[Array]]


class Annotations(NamedTuple):
    """The features of one source.

    Attributes:
        features: Those that have an area.
        problems: (number of the feature, what is wrong with it).
        crs: Coordinate system, `PIXELS`, or None where the source does not name one.
        attributes: For each property of the features, how often it has each value.
    """

    features: list[Feature]
    problems: list[tuple[int, str]]
    crs: str | None
    attributes: dict[str, Counter[str]]


def text_of(path: str) -> bytes:
    """Read an annotation file, and decompress gzip.

    Raises:
        ReadError: They cannot be read, or are more than the limit.
    """
    try:
        with open_file(path) as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = (gzip.GzipFile(fileobj=file) if packed else file).read(BYTES + 1)
    except PatchaugError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(f"{path}: cannot be read ({describe(error)}); export the annotations again") from error
    if len(data) > BYTES:
        raise ReadError(
            f"{path}: more than {BYTES >> 20} MiB of annotations, the limit; simplify the outlines, split the file, or "
            f"export the labels as a tiled TIFF"
        )
    return data


def require_modest(what: str, text: bytes) -> None:
    """Check how much a JSON text would take when it is parsed, from its brackets alone.

    Raises:
        ReadError: There are too many features, numbers or points, or a ring has too many points.
    """
    limits = ((b"[", 2 * VERTICES, "lists"), (b",", 3 * VERTICES, "values"), (b"{", RING * 4, "objects"))
    for sign, most, things in limits:
        count = text.count(sign)
        if count > most:
            raise ReadError(f"{what}: {count:,} {things} are above the limit of {most:,}; simplify the outlines")
    start, left = 0, text.count(b"[")
    while left > RING:
        ring = _END.search(text, start)
        end = len(text) if ring is None else ring.end()
        points = text.count(b"[", start, end)
        if points > RING + 4:
            raise ReadError(
                f"{what}: a ring of {points:,} points is above the limit of {RING:,}; simplify the outlines, or export "
                f"the labels as TIFF"
            )
        start, left = end, left - points


def compact(value: dict[str, Any]) -> dict[str, Any]:
    """Turn the rings of a parsed polygon into arrays of numbers, which take a tenth of the memory."""
    if value.get("type") == "Polygon" and isinstance(value.get("coordinates"), list):
        value["coordinates"] = [_compact_ring(ring) for ring in value["coordinates"]]
    elif value.get("type") == "MultiPolygon" and isinstance(value.get("coordinates"), list):
        value["coordinates"] = [
            [_compact_ring(ring) for ring in rings] if isinstance(rings, list) else rings
            for rings in value["coordinates"]
        ]
    return value


def _compact_ring(ring: Any) -> Any:
    if not isinstance(ring, list) or len(ring) < 64:
        return ring
    try:
        points = np.array([point[:2] for point in ring], np.float64)
    except (TypeError, ValueError, OverflowError, LookupError):
        return ring  # the error follows where the feature has a number
    return points if points.ndim == 2 else ring


def ring_of(points: Any) -> Array:
    """Convert a ring to float64 (points, 2); a third coordinate (height) is dropped.

    Raises:
        ReadError: The ring has too few points, or a coordinate is outside any slide.
    """
    try:
        ring = points if isinstance(points, np.ndarray) else np.array([point[:2] for point in points], np.float64)
    except (TypeError, ValueError, OverflowError, LookupError):
        raise ReadError(f"a ring must be a list of [x, y], got {str(points)[:60]}") from None
    if ring.ndim != 2 or ring.shape[1] != 2:
        raise ReadError(f"a ring must be a list of [x, y], got {str(points)[:60]}")
    wrong = ~(np.abs(ring) < COORDINATE)  # true for NaN as well
    if wrong.any():
        raise ReadError(f"coordinate {ring[wrong][0]} is not a place on a slide")
    if len(ring) > 1 and (ring[0] == ring[-1]).all():
        ring = ring[:-1]
    if len(ring) < 3:
        raise ReadError(f"a ring has {len(ring)} points, an area needs 3")
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

"""Features common to all annotation formats: polygons with a class, and what is wrong with some of them."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError, ReadError
from patchaug.readers.file import describe

BYTES = 256 << 20  # of the text, unpacked: parsed, it takes about ten times as much
VERTICES = 10**7
COORDINATE = 2.0**31  # no slide is as wide; beyond 2^53 whole pixels could not be told apart
PIXELS = "pixels"  # the coordinate system of annotations that count pixels of level 0


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


def ring_of(points: Any) -> Array:
    """Convert a ring to float64 (points, 2); a third coordinate (height) is dropped.

    Raises:
        ReadError: The ring has too few points, or a coordinate is outside any slide.
    """
    try:
        ring = np.array([point[:2] for point in points], np.float64)
    except (TypeError, ValueError, OverflowError, LookupError):
        raise ReadError(f"a ring must be a list of [x, y], got {str(points)[:60]}") from None
    if ring.ndim != 2 or ring.shape[1] != 2:
        raise ReadError(f"a ring must be a list of [x, y], got {str(points)[:60]}")
    wrong = ~(np.abs(ring) < COORDINATE)  # true for NaN as well
    if wrong.any():
        raise ReadError(f"coordinate {ring[wrong][0]} is no place on a slide")
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

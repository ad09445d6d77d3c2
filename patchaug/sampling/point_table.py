"""Points of a table: CSV, GeoJSON, or a list."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from patchaug.errors import MissingError, OptionError, ReadError


class Point(NamedTuple):
    """A point: level-0 pixels, and what the table says about it."""

    x: float
    y: float
    label: str | None = None
    slide: str | None = None


def points_from(source: Any, label: str) -> tuple[Point, ...]:
    """Read points.

    Args:
        source: Path of a CSV or GeoJSON file, parsed GeoJSON, or a list of (x, y), (x, y, label) or (x, y, label,
            slide).
        label: Property of GeoJSON points that holds the label.

    Returns:
        The points, in the order of the table.

    Raises:
        MissingError: The file does not exist.
        ReadError: It is no table of points.
        OptionError: The source is of another kind, or holds no point.
    """
    what = "points"
    if isinstance(source, (str, os.PathLike)):
        file = Path(source)
        what = str(file)
        if not os.path.isfile(file):  # False too for names that no file may have
            raise MissingError(
                f"there is no file {what:.300}; points come from a CSV or GeoJSON file, or a list of (x, y)"
            )
        found = _of_csv(file) if file.suffix.lower() == ".csv" else _of_geojson(_parsed(file), label, what)
    elif isinstance(source, Mapping):
        found = _of_geojson(source, label, what)
    elif isinstance(source, Iterable):
        found = [_of_row(number, row) for number, row in enumerate(source)]
    else:
        raise OptionError(f"points must be a file, parsed GeoJSON or a list of (x, y), got {source!r:.60}")
    if not found:
        raise OptionError(f"{what}: there is no point; give one at least")
    return tuple(found)


def _number(value: Any, name: str, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(value, bool):
        raise ReadError(f"{where}: {name} must be a number of pixels of level 0, got {value!r:.40}")
    return number


def _of_row(number: int, row: Any) -> Point:
    if isinstance(row, (str, bytes)) or (not isinstance(row, Sequence) and not hasattr(row, "__array__")):
        raise OptionError(f"points[{number}] must be (x, y) or (x, y, label), got {row!r:.60}")
    row = list(row)
    if not 2 <= len(row) <= 4:
        raise OptionError(f"points[{number}] must be (x, y) or (x, y, label), got {len(row)} values")
    where = f"points[{number}]"
    texts = [None if one is None else str(one) for one in row[2:]]
    return Point(_number(row[0], "x", where), _number(row[1], "y", where), *texts)


def _of_csv(file: Path) -> list[Point]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            names = {(name or "").strip().lower(): name for name in rows.fieldnames or ()}
            missing = [name for name in ("x", "y") if name not in names]
            if missing:
                raise ReadError(
                    f"{file}: the first line must name the columns x and y (and label and slide, where wanted); it has "
                    f"no {' and no '.join(missing)}: {', '.join(map(repr, rows.fieldnames or ()))[:200]}"
                )
            found = []
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                x, y = (_number(row[names[name]], name, where) for name in ("x", "y"))
                texts = [(row.get(names.get(name, ""), None) or "").strip() or None for name in ("label", "slide")]
                if "slide" in names and texts[1] is None:
                    raise ReadError(
                        f"{where}: the column slide is empty; name a slide in each row, or remove the column"
                    )
                found.append(Point(x, y, *texts))
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(f"{file}: {error}; a CSV file in UTF-8 with commas is expected") from error


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{file}: {error}; points come from a .csv file, or a file of GeoJSON") from error


def _of_geojson(source: Any, label: str, what: str) -> list[Point]:
    features = source.get("features") if isinstance(source, Mapping) else source
    if isinstance(source, Mapping) and source.get("type") == "Feature":
        features = [source]
    if not isinstance(features, Sequence) or isinstance(features, (str, bytes)):
        raise ReadError(f"{what}: a FeatureCollection of points is expected, got {source!r:.60}")
    found = []
    for number, feature in enumerate(features):
        where = f"{what}: feature {number}"
        geometry = feature.get("geometry") if isinstance(feature, Mapping) else None
        kind = geometry.get("type") if isinstance(geometry, Mapping) else None
        if kind not in ("Point", "MultiPoint"):
            raise ReadError(
                f"{where} is a {kind or 'feature without geometry'}, not a Point or MultiPoint; leave it out"
            )
        assert isinstance(geometry, Mapping)
        properties = feature.get("properties") or {}
        value = properties.get(label) if isinstance(properties, Mapping) else None
        value = value.get("name") if isinstance(value, Mapping) else value  # as QuPath writes it
        slide = properties.get("slide") if isinstance(properties, Mapping) else None
        places = geometry.get("coordinates")
        for place in places if kind == "MultiPoint" and isinstance(places, Sequence) else [places]:
            if not isinstance(place, Sequence) or isinstance(place, str) or len(place) < 2:
                raise ReadError(f"{where}: coordinates must be [x, y], got {place!r:.60}")
            found.append(
                Point(
                    _number(place[0], "x", where), _number(place[1], "y", where),
                    None if value is None else str(value), None if slide is None else str(slide),
                )
            )  # fmt: skip
    return found

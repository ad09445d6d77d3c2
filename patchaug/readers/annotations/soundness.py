"""Bad features: points, lines, outlines that cross themselves. All are listed in one error, skipped, or repaired."""

from __future__ import annotations

import re
import warnings
from typing import Any, Literal

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError, ReadError
from patchaug.readers.annotations.features import HOLES, VERTICES, Annotations, Feature, shapely_module

Invalid = Literal["raise", "skip", "repair"]
_LISTED = 40  # features that an error lists by number, for each reason


def checked_invalid(value: object) -> Invalid:
    """Return what to do with features without a clear inside.

    Raises:
        OptionError: The value is not one of the three.
    """
    if value == "raise" or value == "skip" or value == "repair":
        return value
    raise OptionError(f'invalid must be "raise", "skip" or "repair", got {value!r}')


def sound_features(what: str, annotations: Annotations, invalid: Invalid) -> list[Feature]:
    """Return the features whose polygons have a clear inside.

    Args:
        what: Name of the annotations, for errors.
        annotations: All features.
        invalid: "skip" leaves bad features out, with a warning; "repair" makes crossing outlines valid.

    Raises:
        ReadError: Features are bad; all are listed. Or there are too many vertices.
    """
    problems = list(annotations.problems)
    features, crossing = _crossing(what, annotations.features)
    sound = []
    repaired = 0
    for feature, reason in zip(features, crossing, strict=True):
        if reason is None:
            sound.append(feature)
        elif invalid == "repair":
            sound.append(_repaired(feature))
            repaired += 1
        else:
            problems.append((feature.number, f"no clear inside ({reason})"))
    if problems and invalid != "skip":
        raise ReadError(f"{what}: {_listed(problems, invalid)}")
    if problems or repaired:
        done = f"{len(problems)} features are left out" if problems else f"{repaired} features were repaired"
        warnings.warn(f"{what}: {done} (invalid={invalid!r})", stacklevel=9)
    return [feature for feature in sound if feature.polygons]


def _crossing(what: str, features: list[Feature]) -> tuple[list[Feature], list[str | None]]:
    """Return for each feature why its inside is not clear: rings cross, or holes lie outside; None for sound ones."""
    shapely = shapely_module()
    flat = [(number, rings) for number, feature in enumerate(features) for rings in feature.polygons]
    reasons: list[str | None] = [None] * len(features)
    vertices = sum(len(ring) for _, rings in flat for ring in rings)
    if vertices > VERTICES:
        raise ReadError(f"{what}: {vertices:,} vertices are above the limit of {VERTICES:,}; simplify the outlines")
    if (rings := max((len(rings) for _, rings in flat), default=0)) > HOLES:
        raise ReadError(f"{what}: a polygon of {rings:,} rings is above the limit of {HOLES:,}; simplify it")
    if flat:
        polygons = _shapes([rings for _, rings in flat])
        for at in np.flatnonzero(~shapely.is_valid(polygons)):
            number = flat[at][0]
            reasons[number] = reasons[number] or str(shapely.is_valid_reason(polygons[at]))
    return features, reasons


def _shapes(polygons: list[list[Array]]) -> Any:
    shapely = shapely_module()
    rings = [ring for polygon in polygons for ring in polygon]
    of_ring = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    linear = shapely.linearrings(np.concatenate(rings), indices=of_ring)
    return shapely.polygons(linear, indices=np.repeat(np.arange(len(polygons)), [len(one) for one in polygons]))


def _repaired(feature: Feature) -> Feature:
    """Return a feature whose outlines do not cross, by shapely.make_valid."""
    shapely = shapely_module()
    parts: list[list[Array]] = []
    for polygon in feature.polygons:
        for part in shapely.get_parts(shapely.make_valid(_shapes([polygon])[0])):
            for area in shapely.get_parts(part):
                parts += rings_of(area)
    return feature._replace(polygons=parts)


def rings_of(geometry: Any) -> list[list[Array]]:
    """Return the rings of a shapely Polygon; of another geometry nothing."""
    if geometry.geom_type != "Polygon" or geometry.is_empty:
        return []
    return [[np.asarray(ring.coords, np.float64)[:-1, :2] for ring in (geometry.exterior, *geometry.interiors)]]


def _listed(problems: list[tuple[int, str]], invalid: Invalid) -> str:
    """Return all problems in one text: those of one reason together."""
    if len(problems) == 1:
        ((number, reason),) = problems
        text = f"feature {number}: {reason}"
    else:
        by_reason: dict[str, list[int]] = {}
        for number, reason in sorted(problems):
            by_reason.setdefault(re.split(r"\[| \(annotation", reason)[0], []).append(number)
        first = dict(sorted(problems, reverse=True))
        parts = []
        for numbers in by_reason.values():
            listed = ", ".join(map(str, numbers[:_LISTED]))
            more = f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else ""
            parts.append(f"feature {listed}{more}: {first[numbers[0]]}")
        text = f"{len(problems)} features are not areas: {'; '.join(parts)}"
    repair = "" if invalid == "repair" or "no clear inside" not in text else ', or invalid="repair" mends such outlines'
    return f'{text}; correct or delete them; or invalid="skip" leaves them out{repair}'

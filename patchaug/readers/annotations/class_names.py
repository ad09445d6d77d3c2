"""Map classes of annotations to class numbers; one error lists all that do not fit."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np

from patchaug.core.class_codes import ClassCodes
from patchaug.errors import LabelError, OptionError
from patchaug.readers.annotations.features import Feature

IGNORE = "Ignore*"  # QuPath's class for areas to exclude
_BACKGROUND = ("background", "other", "rest", "none", "ground", "unlabelled", "unlabeled")
_ATTRIBUTES = ("class", "classname", "class_name", "label", "category", "type", "kind", "landuse")


def required_codes(what: str, codes: ClassCodes | None) -> ClassCodes:
    """Return the codes.

    Raises:
        OptionError: There are none.
    """
    if codes is None:
        raise OptionError(f"{what}: polygons have class names; give codes=[...], with the background first")
    return codes


def numbers_of(
    what: str,
    features: list[Feature],
    codes: ClassCodes | None,
    ignore_index: int | None,
    label: str | None = "classification",
    attributes: dict[str, Counter[str]] | None = None,
) -> list[int]:
    """Return the class number of each feature: that of its class's name, or of its value.

    "Ignore*", QuPath's own class, becomes `ignore_index` if that is set. Features without a class are class 1 if
    no feature of the file has a class, there are two codes, and no other property may hold it. Without a label all
    features are class 1.

    Raises:
        OptionError: There are no codes.
        LabelError: Classes are not among the codes, or features have none; all are listed.
    """
    classes = required_codes(what, codes)
    if label is None:
        return [1] * len(features)
    names = classes.names
    known: dict[str | int, int] = {name: number for number, name in enumerate(names)}
    if ignore_index is not None:
        known.setdefault(IGNORE, ignore_index)
    found = Counter(feature.name for feature in features)
    for value in [name for name in found if isinstance(name, int)]:
        if not classes.colours:
            numbers, unknown = classes.mapped(np.array([value], np.int64), ignore_index)
            if unknown is None:
                known[value] = int(numbers[0])
    if set(found) == {None} and len(names) == 2:
        _require_no_attribute(what, attributes or {}, names, label)
        return [1] * len(features)
    problems = []
    for name, count in found.items():
        if name is None:
            first = next(feature.number for feature in features if feature.name is None)
            problems.append(f"{count} features have no class (the first is feature {first})")
        elif name not in known:
            from difflib import get_close_matches

            near = get_close_matches(str(name).lower(), [code.lower() for code in names], n=1, cutoff=0.6)
            nearest = next((f", did you mean {code!r}?" for code in names if [code.lower()] == near), "")
            problems.append(f"{name!r} ({count} features{nearest})")
    if problems:
        others = [key for key in attributes or {} if key != label]
        hint = (
            f"; their properties are {', '.join(map(_quoted, others))}: label={_quoted(others[0])} names one"
            if others
            else ""
        )
        hint = hint if None in found else ""
        raise LabelError(
            f"{what}: classes that are not in codes: {'; '.join(problems)}; codes are {', '.join(names)}: "
            f"add the classes to codes, or rename or delete them in the file{hint}"
        )
    return [known[feature.name] for feature in features if feature.name is not None]


def _quoted(name: str) -> str:
    """Return a name of the file in quotes, on one line."""
    return json.dumps(name, ensure_ascii=False)


def _require_no_attribute(what: str, attributes: dict[str, Counter[str]], names: tuple[str, ...], label: str) -> None:
    """Raise LabelError where features without a class have another property that may hold it."""
    for key, values in attributes.items():
        likely = key.lower() in _ATTRIBUTES and len(values) > 1
        if key != label and (likely or set(values) & set(names)):
            listed = ", ".join(f"{value!r} ({count})" for value, count in values.most_common(5))
            raise LabelError(
                f"{what}: features have no {label}, and their property {_quoted(key)} holds {listed}; is that the "
                f"class? Say label={_quoted(key)}, or delete the property if all features are {names[1]!r}"
            )


def outside_number(
    what: str, outside: Any, numbers: list[int], codes: ClassCodes | None, ignore_index: int | None
) -> int:
    """Return the class number of what no feature covers.

    Args:
        what: Name of the annotations, for errors.
        outside: A class name, a class number, `ignore_index`, or None: the first code.
        numbers: Class numbers of the features.
        codes: The codes.
        ignore_index: Class number that means "no label".

    Raises:
        LabelError: It must be said, since features are drawn in the first code too.
        OptionError: It is no class.
    """
    names = required_codes(what, codes).names
    if outside is None:
        if 0 in numbers:
            ignored = f"outside={ignore_index}" if ignore_index is not None else "ignore_index=255, outside=255"
            other = names[0 if names[0].lower() in _BACKGROUND else -1]
            raise LabelError(
                f"{what}: {numbers.count(0)} features are {names[0]!r}, the first code, so what no feature covers "
                f'must be said: {ignored} where it is not annotated, or its class, such as outside="{other}"'
            )
        return 0
    if isinstance(outside, str) and outside in names:
        return names.index(outside)
    is_number = isinstance(outside, (int, np.integer)) and not isinstance(outside, bool)
    if is_number and (0 <= outside < len(names) or outside == ignore_index):
        return int(outside)
    raise OptionError(
        f"outside must be one of the codes ({', '.join(names)}) or ignore_index ({ignore_index}), got {outside!r}"
    )

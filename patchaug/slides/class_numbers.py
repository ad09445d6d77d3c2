"""Class names and the values of a mask: look one up, and say which value has no name and how to give it one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from patchaug.core.class_codes import ClassCodes
from patchaug.errors import OptionError

Values = Mapping[int, tuple[int, tuple[int, int]]]  # {value: (pixels, the place of one)}

_LISTED = 8  # values without a class that an error lists one by one


def class_number(slide: str, codes: Sequence[str] | None, code: int | str) -> int:
    """Return the mask's integer for a class given by number or name.

    Args:
        slide: Name of the slide, for errors.
        codes: Class names, or None.
        code: The class.

    Raises:
        OptionError: `code` is a name that is not among the codes.
    """
    if not isinstance(code, str):
        return int(code)
    if codes is None or code not in codes:
        known = "the slide has no codes" if codes is None else f"codes are {', '.join(codes)}"
        raise OptionError(f"{slide}: there is no class {code!r}; {known}")
    return codes.index(code)


def unknown_of(values: Values, classes: ClassCodes | None, ignore_index: int | None) -> dict[int, int]:
    """Return the values that no class names, with their pixels; nothing is unknown without codes.

    Args:
        values: Values of the file.
        classes: The codes.
        ignore_index: Value that means "no label".
    """
    if classes is None:
        return {}
    taken = [range(len(classes.names))] if classes.values is None else [r for ranges in classes.values for r in ranges]
    return {
        value: pixels for value, (pixels, _) in values.items()
        if value != ignore_index and not any(value in one for one in taken)
    }  # fmt: skip


def unknown_values(values: Values, classes: ClassCodes, ignore_index: int | None, level: int = 0) -> str:
    """Return the text about values without a class: place, count, and codes that would take them.

    Args:
        values: Values of the file; those that have a class help to find the codes.
        classes: The codes; a value of `values` must be unknown to them.
        ignore_index: Value that means "no label".
        level: Level of the places.
    """
    unknown = unknown_of(values, classes, ignore_index)
    first = min(unknown)
    pixels, (x, y) = values[first]
    at = "" if level == 0 else f" of level {level}"
    what = f"colour {_shown(first, classes)}" if classes.colours else f"class {first}"
    text = f"the mask holds {what} at x={x} y={y}{at} ({pixels} px)"
    if len(unknown) > 1:
        others = sorted(unknown)[1:]
        listed = ", ".join(f"{_shown(value, classes)} ({unknown[value]} px)" for value in others[:_LISTED])
        more = f" and {len(others) - _LISTED} more" if len(others) > _LISTED else ""
        text += f", and {listed}{more}"
    names = ", ".join(classes.names)
    if classes.values is None:
        text += f", but codes name 0 to {len(classes.names) - 1} ({names})"
    else:
        text += f", but codes take {_mapping(classes)}"
    cure = _cure(sorted(values), sorted(unknown), classes, ignore_index)
    ignored = "" if ignore_index is not None or len(unknown) > 1 or classes.colours or first < 0 else (
        f", or ignore_index={first} where it means \"no label\""
    )  # fmt: skip
    return f"{text}; name what it is in codes, such as codes={cure}{ignored}"


def _cure(found: Sequence[int], unknown: Sequence[int], classes: ClassCodes, ignore_index: int | None) -> str:
    """Return codes, as Python text, that take all values."""
    names = list(classes.names)
    of_classes = [value for value in found if value != ignore_index or classes.colours]
    if classes.values is None:
        if len(of_classes) == len(names):  # 0 and 255, 1 and 2: as many values as names
            return _pairs(zip(names, map(str, of_classes), strict=True))
        if len(names) == 2 and of_classes[0] >= 0 and len(of_classes) > 2:  # instance ids
            span = f"range(1, {of_classes[-1] + 1})"
            if ignore_index is None or not 1 <= ignore_index <= of_classes[-1]:
                return _pairs([(names[0], "0"), (names[1], span)])
        if list(unknown) == list(range(len(names), len(names) + len(unknown))) and len(unknown) <= _LISTED:
            return "[" + ", ".join(f'"{name}"' for name in (*names, *(f"class {value}" for value in unknown))) + "]"
        if len(unknown) <= _LISTED:
            known = [(name, str(number)) for number, name in enumerate(names)]
            return _pairs([*known, *((f"class {value}", str(value)) for value in unknown)])
        known = [(name, str(number)) for number, name in enumerate(names)]
        return _pairs([*known, ("other", _spans(unknown))])
    known = [(name, _python(ranges, classes)) for name, ranges in zip(names, classes.values, strict=True)]
    if len(unknown) <= _LISTED:
        label = "colour" if classes.colours else "class"
        return _pairs([*known, *((f"{label} {_shown(v, classes)}", _literal(v, classes)) for v in unknown)])
    if classes.colours:
        listed = ", ".join(_literal(value, classes) for value in unknown[:_LISTED])
        return _pairs([*known, ("other", f"[{listed}, ...]")])
    return _pairs([*known, ("other", _spans(unknown))])


def _spans(values: Iterable[int]) -> str:
    """Return the runs of values as Python ranges."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([value, value + 1])
    texts = [str(a) if b == a + 1 else f"range({a}, {b})" for a, b in runs]
    return texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"


def _python(ranges: Sequence[range], classes: ClassCodes) -> str:
    parts = [_literal(r.start, classes) if len(r) == 1 else f"range({r.start}, {r.stop})" for r in ranges]
    return parts[0] if len(parts) == 1 else "[" + ", ".join(parts) + "]"


def _mapping(classes: ClassCodes) -> str:
    assert classes.values is not None
    return _pairs((name, _python(r, classes)) for name, r in zip(classes.names, classes.values, strict=True))


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}"


def _shown(value: int, classes: ClassCodes) -> str:
    return f"#{value:06x}" if classes.colours else str(value)


def _literal(value: int, classes: ClassCodes) -> str:
    return f'"#{value:06x}"' if classes.colours else str(value)

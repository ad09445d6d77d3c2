"""Class names and the integers of a mask: look one up, and check that each integer has a name."""

from __future__ import annotations

from collections.abc import Sequence

from patchaug.errors import LabelError, OptionError
from patchaug.slides.labels import Labels


def checked_codes(codes: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return class names as a tuple.

    Raises:
        OptionError: One text is given in place of a list.
    """
    if isinstance(codes, str):
        raise OptionError(f"codes must be a list of class names, got the text {codes!r}")
    return None if codes is None else tuple(str(code) for code in codes)


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


def require_known_classes(
    slide: str, labels: Labels, level: int, codes: Sequence[str] | None, ignore_index: int | None
) -> None:
    """Verify that every integer of a mask has a name; nothing is checked without codes.

    Raises:
        LabelError: The mask holds a number that is neither a code nor `ignore_index`.
    """
    if codes is None:
        return
    for value in labels.runs:
        if value == ignore_index or 0 <= value < len(codes):
            continue
        x, y = labels.first(value)
        at = "" if level == 0 else f" of level {level}"
        # Image editors save a mask of two classes as 0 and 255.
        editor = "; a mask of 0 and 255 must be divided by 255" if set(labels.runs) <= {0, 255} else ""
        raise LabelError(
            f"{slide}: the mask holds class {value} at x={x} y={y}{at} ({labels.pixels(value)} px), "
            f"but codes name 0 to {len(codes) - 1} ({', '.join(codes)}); add the class to codes, "
            f"or name it ignore_index{editor}"
        )

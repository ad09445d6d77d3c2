"""Colours that people with any kind of colour vision can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

Colour = tuple[int, int, int]

# Okabe and Ito's (2008), for classes from 1 on; class 0 is not drawn. Their blue is kept for windows, black for text.
_CLASSES = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167), (240, 228, 66))
_IGNORED = (153, 153, 153)
WINDOW = (0, 114, 178)  # their blue
# Nuñez, Anderton and Renslow's cividis (2018), which rises evenly in lightness for all: seven of its steps.
_CIVIDIS = (
    (0, 34, 78), (39, 63, 108), (82, 91, 109), (124, 123, 120), (169, 157, 117), (215, 194, 98), (254, 232, 56)
)  # fmt: skip

# Smith and van der Walt's plasma (2015) without its yellow end: it rises as evenly, and stands out on tissue.
_PLASMA = (
    (13, 8, 135), (83, 2, 163), (138, 9, 165), (183, 49, 138), (218, 91, 105), (243, 135, 74), (254, 186, 44)
)  # fmt: skip


def class_colour(value: int, ignore_index: int | None) -> Colour:
    """A class's colour; from the seventh on they return darker, then lighter. `ignore_index` is grey."""
    if value == ignore_index:
        return _IGNORED
    turn, place = divmod(value - 1, len(_CLASSES))
    mixed_with, share = ((0, 0.0), (0, 0.45), (255, 0.55))[turn % 3]
    red, green, blue = (round((1 - share) * part + share * mixed_with) for part in _CLASSES[place])
    return red, green, blue


def epoch_colour(number: int, epochs: int) -> Colour:
    """The colour of an epoch's windows: blue where there is one; else from dark to light, as epochs follow."""
    return WINDOW if epochs == 1 else _interpolated(_PLASMA, number / (epochs - 1))


def is_light(colour: Colour) -> bool:
    """Whether a dark line sets a colour off better than a white one."""
    red, green, blue = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue > 110


def hexadecimal(colour: Colour) -> str:
    """As HTML and matplotlib write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def sequential_colour(share: float) -> Colour:
    """The colour of a share, 0 (dark blue) to 1 (yellow)."""
    return _interpolated(_CIVIDIS, share)


def _interpolated(steps: Sequence[Colour], share: float) -> Colour:
    at = min(max(share, 0.0), 1.0) * (len(steps) - 1)
    low = min(int(at), len(steps) - 2)
    pairs = zip(steps[low], steps[low + 1], strict=True)
    red, green, blue = (round(a + (at - low) * (b - a)) for a, b in pairs)
    return red, green, blue

"""Colours that are distinct for all kinds of colour vision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from patchaug.core.arrays import Array

Colour = tuple[int, int, int]

# Okabe and Ito (2008), for classes from 1; class 0 is transparent. Their blue is reserved for windows, black for text.
_CLASSES = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167), (240, 228, 66))
_IGNORED = (153, 153, 153)
WINDOW = (0, 114, 178)  # Okabe and Ito's blue
# Cividis (Nuñez, Anderton and Renslow 2018), perceptually uniform: seven of its steps.
_CIVIDIS = (
    (0, 34, 78), (39, 63, 108), (82, 91, 109), (124, 123, 120), (169, 157, 117), (215, 194, 98), (254, 232, 56)
)  # fmt: skip

# Plasma (Smith and van der Walt 2015) without its yellow end: perceptually uniform, and distinct on tissue.
_PLASMA = (
    (13, 8, 135), (83, 2, 163), (138, 9, 165), (183, 49, 138), (218, 91, 105), (243, 135, 74), (254, 186, 44)
)  # fmt: skip


def class_colour(value: int, ignore_index: int | None) -> Colour:
    """Return the colour of a class: from the seventh on they repeat darker, then lighter; `ignore_index` is grey."""
    if value == ignore_index:
        return _IGNORED
    turn, place = divmod(value - 1, len(_CLASSES))
    mixed_with, weight = ((0, 0.0), (0, 0.45), (255, 0.55))[turn % 3]
    red, green, blue = (round((1 - weight) * part + weight * mixed_with) for part in _CLASSES[place])
    return red, green, blue


def class_colours(mask: Array, ignore_index: int | None) -> Array:
    """Paint a mask in the colours of its classes; class 0 is transparent.

    Args:
        mask: Class numbers, integer (height, width).
        ignore_index: Integer that means "no label".

    Returns:
        Red, green, blue and alpha, uint8 (height, width, 4).
    """
    values, numbers = np.unique(mask, return_inverse=True)
    colours = [(0, 0, 0, 0) if v == 0 else (*class_colour(int(v), ignore_index), 255) for v in values]
    return np.array(colours, np.uint8)[numbers.reshape(mask.shape)]


def epoch_colour(number: int, epochs: int) -> Colour:
    """Return the colour of an epoch's windows: blue for a single epoch, otherwise from dark to light."""
    return WINDOW if epochs == 1 else _interpolated(_PLASMA, number / (epochs - 1))


def is_light(colour: Colour) -> bool:
    """Return True if a dark line contrasts better with a colour than a white one."""
    red, green, blue = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue > 110


def hexadecimal(colour: Colour) -> str:
    """Format a colour as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def sequential_colour(value: float) -> Colour:
    """Return the cividis colour of a value from 0 (dark blue) to 1 (yellow)."""
    return _interpolated(_CIVIDIS, value)


def _interpolated(steps: Sequence[Colour], value: float) -> Colour:
    at = min(max(value, 0.0), 1.0) * (len(steps) - 1)
    low = min(int(at), len(steps) - 2)
    pairs = zip(steps[low], steps[low + 1], strict=True)
    red, green, blue = (round(a + (at - low) * (b - a)) for a, b in pairs)
    return red, green, blue

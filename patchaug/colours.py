"""Colours that people with any kind of colour vision can tell apart."""

from __future__ import annotations

Colour = tuple[int, int, int]

# Okabe and Ito's (2008), for classes from 1 on; class 0 is not drawn. Their blue is kept for windows, black for text.
_CLASSES = ((0, 158, 115), (230, 159, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167), (240, 228, 66))
_VOID = (153, 153, 153)
# Nuñez, Anderton and Renslow's cividis (2018), which rises evenly in lightness for all: seven of its steps.
_RISING = (
    (0, 34, 78), (39, 63, 108), (82, 91, 109), (124, 123, 120), (169, 157, 117), (215, 194, 98), (254, 232, 56)
)  # fmt: skip


def class_colour(value: int, void: int | None) -> Colour:
    """A class's colour; from the seventh on they return darker, then lighter. The void is grey."""
    if value == void:
        return _VOID
    turn, place = divmod(value - 1, len(_CLASSES))
    mixed_with, share = ((0, 0.0), (0, 0.45), (255, 0.55))[turn % 3]
    red, green, blue = (round((1 - share) * part + share * mixed_with) for part in _CLASSES[place])
    return red, green, blue


def rising(share: float) -> Colour:
    """The colour of a share, 0 (dark blue) to 1 (yellow)."""
    at = min(max(share, 0.0), 1.0) * (len(_RISING) - 1)
    low = min(int(at), len(_RISING) - 2)
    pairs = zip(_RISING[low], _RISING[low + 1], strict=True)
    red, green, blue = (round(a + (at - low) * (b - a)) for a, b in pairs)
    return red, green, blue

"""Windows and positions: pure integers, no pixels.

All numbers are pixels of one level, x to the right and y down, as OpenSlide counts them. Python integers throughout:
nothing wraps at 16, 24, 32 or 53 bits, so a slide may be as large as its file format allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import index as as_int

from patchaug.errors import WindowError


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels of one level of a slide.

    Args:
        x: Left column, in pixels of `level`.
        y: Top row, in pixels of `level`.
        width: Columns, at least 1.
        height: Rows, at least 1.
        level: Pyramid level that all four numbers are counted in; 0 is the finest.

    Raises:
        WindowError: A number is no integer, a side is below 1, or the level is negative.
    """

    x: int
    y: int
    width: int
    height: int
    level: int = 0

    def __post_init__(self) -> None:
        for name in ("x", "y", "width", "height", "level"):
            value = getattr(self, name)
            if type(value) is int:
                continue
            try:
                object.__setattr__(self, name, as_int(value))  # numpy integers become Python's: no overflow later
            except TypeError:
                raise WindowError(f"Window {name} must be an integer, got {value!r}") from None
        if self.width < 1 or self.height < 1:
            raise WindowError(f"Window sides must be at least 1 px, got {self.width} x {self.height}")
        if self.level < 0:
            raise WindowError(f"Window level must be 0 or more, got {self.level}")

    @property
    def right(self) -> int:
        """First column to the right of the window."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.y + self.height

    def inside(self, width: int, height: int) -> bool:
        """Whether the window lies in a level of width x height pixels."""
        return self.x >= 0 and self.y >= 0 and self.right <= width and self.bottom <= height


def covering(length: int, size: int, stride: int) -> int:
    """Number of windows of `size` at most `stride` apart that cover an axis of `length` pixels.

    Raises:
        WindowError: The size does not fit into the length, or the stride is not in 1..size (a wider one leaves gaps).
    """
    if not 1 <= size <= length:
        raise WindowError(f"a window of {size} px does not fit into {length} px")
    if not 1 <= stride <= size:
        raise WindowError(f"stride must be in 1..{size} to leave no gap, got {stride}")
    return -(-(length - size) // stride) + 1


def fixed_position(number: int, length: int, size: int, stride: int) -> int:
    """Origin of the fixed grid's window `number` in 0..covering-1: multiples of the stride, the last one flush."""
    return min(number * stride, length - size)


def shifted_covering(length: int, size: int, stride: int) -> int:
    """Number of windows of the shifted grid: one more than the fixed grid, where there is room for one more."""
    return min(covering(length, size, stride) + 1, length - size + 1)


def shifted_position(number: int, phase: float, length: int, size: int, stride: int) -> int:
    """Origin of the shifted grid's window `number` in 0..shifted_covering-1, for a phase in [0, 1).

    The first window is flush left and the last flush right, or the border pixels would not be covered without
    padding. Those between are evenly spaced, at most `stride` apart, and slide by up to their spacing with the phase.
    Their number does not depend on the phase, so every epoch has as many windows, and no two coincide as long as the
    spacing is at least 1.
    """
    last = length - size
    n = shifted_covering(length, size, stride)
    if number == 0 or last == 0:
        return 0
    if number == n - 1:
        return last
    inner = n - 2  # windows between the two flush ones
    if last <= inner + 1:
        return number  # every origin is taken: nothing to shift
    # The phase becomes a whole number of pixels of the smallest spacing, so that all gaps stay <= stride exactly.
    shift = int(phase * (last // inner))
    return min(max(shift + (number - 1) * last // inner, number), last - (inner - number + 1))

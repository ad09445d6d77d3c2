"""Windows, and positions of grid windows along one axis.

All numbers are pixels of one level, x to the right and y down, as in OpenSlide. They are Python integers, which do not
overflow, so a slide may be as large as its file format allows.
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
        level: Pyramid level whose pixels all four numbers count; 0 is the finest.

    Raises:
        WindowError: A number is not an integer, a side is below 1, or the level is negative.

    Examples:
        >>> window = Window(100, 200, width=512, height=256)
        >>> window.right, window.bottom, window.inside(1000, 400)
        (612, 456, False)
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
                object.__setattr__(self, name, as_int(value))  # a numpy integer could overflow later
            except TypeError:
                raise WindowError(f"Window {name} must be an integer, got {value!r}") from None
        if self.width < 1 or self.height < 1:
            raise WindowError(f"Window sides must be at least 1 px, got {self.width} x {self.height}")
        if self.level < 0:
            raise WindowError(f"Window level must be 0 or more, got {self.level}")

    @property
    def right(self) -> int:
        """Return the first column to the right of the window."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Return the first row below the window."""
        return self.y + self.height

    def inside(self, width: int, height: int) -> bool:
        """Return whether the window lies within a level of width x height pixels."""
        return self.x >= 0 and self.y >= 0 and self.right <= width and self.bottom <= height


def covering(length: int, size: int, stride: int) -> int:
    """Count the windows of a fixed grid along one axis.

    Args:
        length: Pixels of the axis.
        size: Pixels of a window.
        stride: Largest distance between the origins of neighbouring windows.

    Returns:
        The least number of windows that cover the axis.

    Raises:
        WindowError: The size does not fit into the length, or the stride is not in 1..size (a wider one leaves gaps).
    """
    if not 1 <= size <= length:
        raise WindowError(f"a window of {size} px does not fit into {length} px")
    if not 1 <= stride <= size:
        raise WindowError(f"stride must be in 1..{size} to leave no gap, got {stride}")
    return -(-(length - size) // stride) + 1


def fixed_position(number: int, length: int, size: int, stride: int) -> int:
    """Return the origin of window `number` of a fixed grid: a multiple of the stride; the last window ends at the edge.

    Args:
        number: Window, 0 to `covering(length, size, stride)` - 1.
        length, size, stride: As in `covering`.
    """
    return min(number * stride, length - size)


def shifted_covering(length: int, size: int, stride: int) -> int:
    """Count the windows of a shifted grid: one more than in the fixed grid, where one more has an origin of its own.

    Args:
        length, size, stride: As in `covering`.
    """
    return min(covering(length, size, stride) + 1, length - size + 1)


def shifted_position(number: int, phase: float, length: int, size: int, stride: int) -> int:
    """Return the origin of window `number` of a shifted grid.

    The first window begins at the left edge and the last ends at the right edge, so that border pixels are covered
    without padding. The windows between are evenly spaced, at most `stride` apart. The phase shifts them by up to their
    spacing. Their number does not depend on the phase, so each epoch has equally many. All origins differ.

    Args:
        number: Window, 0 to `shifted_covering(length, size, stride)` - 1.
        phase: Shift as a fraction of the spacing, in [0, 1).
        length, size, stride: As in `covering`.
    """
    last = length - size
    n = shifted_covering(length, size, stride)
    if number == 0 or last == 0:
        return 0
    if number == n - 1:
        return last
    inner = n - 2  # windows between the first and the last
    if last <= inner + 1:
        return number  # each origin is used: nothing can shift
    # The shift is a whole number of pixels of the smallest spacing, so that all gaps stay <= stride exactly.
    shift = int(phase * (last // inner))
    return min(max(shift + (number - 1) * last // inner, number), last - (inner - number + 1))

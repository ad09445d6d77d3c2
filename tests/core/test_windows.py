"""Windows and grids: pure integers."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from patchaug import Window, WindowError
from patchaug.core.windows import covering, fixed_position, shifted_covering, shifted_position


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int]:
    """(length, size, stride) of a grid along an axis."""
    length = draw(st.integers(1, 300))
    size = draw(st.integers(1, length))
    return length, size, draw(st.integers(1, size))


@given(axes())
def test_fixed_grid_covers_each_pixel_with_as_few_windows_as_can_be(axis: tuple[int, int, int]) -> None:
    """No gap, no overhang, strides of at most the one asked for, and one window less would leave a gap."""
    length, size, stride = axis
    n = covering(*axis)
    origins = [fixed_position(k, *axis) for k in range(n)]
    assert origins[0] == 0 and origins[-1] == length - size
    assert all(0 < after - before <= stride for before, after in zip(origins, origins[1:], strict=False))
    assert n == 1 or (n - 2) * stride < length - size


@given(axes(), st.floats(0, 1, exclude_max=True))
def test_shifted_grid_covers_each_pixel_for_any_phase(axis: tuple[int, int, int], phase: float) -> None:
    """Whatever the phase: same number of windows, all distinct, no gap, no overhang."""
    length, size, stride = axis
    n = shifted_covering(*axis)
    origins = [shifted_position(k, phase, *axis) for k in range(n)]
    assert origins[0] == 0 and origins[-1] == length - size
    assert all(0 < after - before <= stride for before, after in zip(origins, origins[1:], strict=False))


@given(axes())
def test_shifted_grid_moves(axis: tuple[int, int, int]) -> None:
    """Where two inner windows are at least 2 px apart, another phase gives other windows."""
    length, size, _ = axis
    n = shifted_covering(*axis)
    assume(n > 2 and length - size >= n and (length - size) // (n - 2) >= 2)  # else every origin is taken
    first, other = ([shifted_position(k, phase, *axis) for k in range(n)] for phase in (0.0, 0.999))
    assert first != other


@pytest.mark.parametrize("length", [2**16 + 3, 2**31 + 5, 2**40 + 7])
def test_grids_have_no_size_limit(length: int) -> None:
    """Beyond 16, 31 and 32 bits the last window is still flush."""
    axis = (length, 512, 500)
    assert fixed_position(covering(*axis) - 1, *axis) == length - 512
    assert shifted_position(shifted_covering(*axis) - 1, 0.5, *axis) == length - 512


def test_window_of_numpy_integers_is_one_of_python_integers() -> None:
    """Narrow integers would wrap in later arithmetic."""
    window = Window(np.uint8(250), np.uint16(65535), np.int32(7), np.int64(9))
    assert window == Window(250, 65535, 7, 9)
    assert window.right == 257 and window.bottom == 65544
    assert all(type(v) is int for v in (window.x, window.y, window.width, window.height, window.level))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.5, 0, 4, 4), "x must be an integer, got 0.5"),
        ((0, 0, 0, 4), "at least 1 px, got 0 x 4"),
        ((0, 0, 4, -1), "at least 1 px, got 4 x -1"),
        ((0, 0, 4, 4, -1), "0 or more, got -1"),
    ],
)
def test_bad_windows_are_refused(arguments: tuple[object, ...], text: str) -> None:
    """The error says what and the value."""
    with pytest.raises(WindowError, match=text):
        Window(*arguments)  # type: ignore[arg-type] - the wrong type is the test


@pytest.mark.parametrize(("axis", "text"), [((4, 5, 1), "does not fit"), ((9, 3, 4), "stride"), ((9, 3, 0), "stride")])
def test_grids_that_cannot_cover_are_refused(axis: tuple[int, int, int], text: str) -> None:
    """A stride wider than the window would leave gaps."""
    with pytest.raises(WindowError, match=text):
        covering(*axis)


@given(st.integers(-5, 20), st.integers(-5, 20), st.integers(1, 20), st.integers(1, 20))
def test_inside_is_what_a_slice_would_need(x: int, y: int, width: int, height: int) -> None:
    """A window is inside when each of its pixels is."""
    field = np.zeros((12, 15), bool)
    whole = x >= 0 and y >= 0 and field[y : y + height, x : x + width].shape == (height, width)
    assert Window(x, y, width, height).inside(15, 12) == whole

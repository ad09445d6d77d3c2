"""Contract of a raster as a test suite: subclass it, and define the raster and its expected pixels."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import WindowError
from patchaug.readers.base import Raster, downsamples


def some_windows(
    dimensions: tuple[tuple[int, int], ...], *, number: int = 24, seed: int = 0, whole: bool = False
) -> list[Window]:
    """Return representative windows for exercising a raster: corners, edges and random windows of every level.

    Args:
        dimensions: (width, height) of each level.
        number: Number of random windows per level.
        seed: Seed of the random windows.
        whole: Include whole levels.
    """
    rng = np.random.default_rng(seed)
    windows = []
    for level, (w, h) in enumerate(dimensions):
        windows += [Window(0, 0, w, h, level)] if whole else []
        for x, y in ((0, 0), (w - 1, 0), (0, h - 1), (w - 1, h - 1)):
            windows.append(Window(x, y, 1, 1, level))
        windows += [Window(w - 1, 0, 1, h, level), Window(0, h - 1, w, 1, level)]
        for _ in range(number):
            width, height = (int(rng.integers(1, min(side, 300) + 1)) for side in (w, h))
            x, y = int(rng.integers(w - width + 1)), int(rng.integers(h - height + 1))
            windows.append(Window(x, y, width, height, level))
    return windows


def digests(raster: Raster, windows: list[Window]) -> list[str]:
    """Hash shape, dtype and pixels of each window, so that processes can compare results without sending pixels."""
    return [_digest(raster.read(window)) for window in windows]


def forked(task: Callable[[], bool]) -> Callable[[], bool]:
    """Start a task in a forked child, and return a function that waits for the child.

    The function returns True if the task returned True, and False if it raised, crashed or ran for a minute.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns if an earlier test used threads
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(60)
            code = 0 if task() else 2
        finally:
            os._exit(code)
    return lambda: os.waitpid(pid, 0)[1] == 0


def _digest(pixels: Array) -> str:
    return hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode() + pixels.tobytes()).hexdigest()


class RasterTests:
    """Test the properties that every raster must have.

    Subclasses define the fixtures `raster` and `expected`, and set `pickles_small` to False for a raster that holds
    its pixels in memory.

    Examples:
        >>> import pytest
        >>> class TestMyRaster(RasterTests):
        ...     pickles_small = False
        ...
        ...     @pytest.fixture
        ...     def expected(self):
        ...         return [np.zeros((40, 60, 3), np.uint8)]
        ...
        ...     @pytest.fixture
        ...     def raster(self, expected):
        ...         from patchaug.readers import ArrayRaster
        ...
        ...         return ArrayRaster(expected)
    """

    pickles_small = True

    @pytest.fixture
    def raster(self) -> Raster:
        """Return the raster under test."""
        raise NotImplementedError

    @pytest.fixture
    def expected(self) -> list[Array]:
        """Return all pixels of each level, (height, width[, channels]), finest first."""
        raise NotImplementedError

    def reads_expected_pixels(self, raster: Raster, expected: list[Array], *, seed: int = 0) -> bool:
        """Return True if a new set of windows has the expected pixels."""
        windows = some_windows(raster.level_dimensions, seed=seed)
        return digests(raster, windows) == [_digest(self._slice(expected, window)) for window in windows]

    @staticmethod
    def _slice(expected: list[Array], window: Window) -> Array:
        return expected[window.level][window.y : window.bottom, window.x : window.right]

    def test_is_a_raster(self, raster: Raster) -> None:
        """Verify that the raster has the attributes of the protocol."""
        assert isinstance(raster, Raster)
        assert raster.name

    def test_dimensions_are_those_of_the_pixels(self, raster: Raster, expected: list[Array]) -> None:
        """Verify that width comes first, and that downsamples are means over both axes."""
        assert raster.level_dimensions == tuple((level.shape[1], level.shape[0]) for level in expected)
        assert raster.level_downsamples == pytest.approx(downsamples(raster.level_dimensions))

    def test_a_window_is_the_slice(self, raster: Raster, expected: list[Array]) -> None:
        """Verify that any window equals the same slice of the level, in shape, dtype and pixels."""
        for window in some_windows(raster.level_dimensions, whole=True):
            got, required = raster.read(window), self._slice(expected, window)
            assert got.dtype == required.dtype, window
            assert np.array_equal(got, required), window

    def test_a_window_outside_is_rejected(self, raster: Raster) -> None:
        """Verify that a window one pixel outside on any side, or at a missing level, is an error."""
        for level, (w, h) in enumerate(raster.level_dimensions):
            for x, y, width, height in ((-1, 0, 1, 1), (0, -1, 1, 1), (w, 0, 1, 1), (0, h, 1, 1)):
                with pytest.raises(WindowError, match=f"level {level}"):
                    raster.read(Window(x, y, width, height, level))
            with pytest.raises(WindowError):
                raster.read(Window(0, 0, w + 1, h, level))
            with pytest.raises(WindowError):
                raster.read(Window(0, 0, w, h + 1, level))
        with pytest.raises(WindowError, match="no level"):
            raster.read(Window(0, 0, 1, 1, len(raster.level_dimensions)))

    def test_reading_does_not_alias(self, raster: Raster) -> None:
        """Verify that writing into returned pixels leaves later reads unchanged."""
        width, height = raster.level_dimensions[0]
        window = Window(0, 0, min(width, 50), min(height, 40))
        first = raster.read(window)
        original = first.copy()
        first[...] = 255 - first
        assert np.array_equal(raster.read(window), original)

    def test_a_pickle_reads_the_same(self, raster: Raster, expected: list[Array]) -> None:
        """Verify that a copy of a used raster reads the same pixels, and that pickles of paths stay below 2 KB."""
        raster.read(Window(0, 0, 1, 1))
        data = pickle.dumps(raster)
        assert len(data) < 2048 or not self.pickles_small
        assert self.reads_expected_pixels(pickle.loads(data), expected)

    def test_forked_children_read_right(self, raster: Raster, expected: list[Array]) -> None:
        """Verify that forked children of a warm parent, and the parent, read correctly at the same time."""
        assert self.reads_expected_pixels(raster, expected)
        children = [forked(partial(self.reads_expected_pixels, raster, expected, seed=seed)) for seed in (1, 2, 3)]
        assert self.reads_expected_pixels(raster, expected, seed=4)
        assert [is_right() for is_right in children] == [True, True, True]

    def test_spawned_children_read_right(self, raster: Raster, expected: list[Array]) -> None:
        """Verify that a spawned process reads correctly from the pickle alone."""
        windows = some_windows(raster.level_dimensions, number=6, seed=4)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            got = pool.apply(digests, (raster, windows))
        assert got == [_digest(self._slice(expected, window)) for window in windows]

    def test_threads_read_right(self, raster: Raster, expected: list[Array]) -> None:
        """Verify that threads starting together on a cold raster read correctly."""
        cold = pickle.loads(pickle.dumps(raster))
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(lambda seed: self.reads_expected_pixels(cold, expected, seed=seed), range(5, 9)))

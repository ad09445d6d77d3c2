"""The contract of a raster as a test suite: subclass it, and say which raster and which pixels."""

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
    """Windows that try a raster: corners, single pixels, edges, and random ones of every level; whole levels too."""
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
    """One hash per window over shape, dtype and pixels: what another process sends back instead of the pixels."""
    return [_digest(raster.read(window)) for window in windows]


def forked(task: Callable[[], bool]) -> Callable[[], bool]:
    """Start the task in a forked child at once; the result waits for the child and says whether the task was true.

    It is False also when the task raises, crashes, or hangs for a minute.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns where a test before used threads
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
    """Laws that hold for every raster.

    Subclasses define the fixtures `raster` and `expected`, and set `pickles_small` to False for a raster that holds
    its pixels itself.
    """

    pickles_small = True

    @pytest.fixture
    def raster(self) -> Raster:
        """The raster under test."""
        raise NotImplementedError

    @pytest.fixture
    def expected(self) -> list[Array]:
        """All pixels of each level, (height, width[, channels]), finest first."""
        raise NotImplementedError

    def right(self, raster: Raster, expected: list[Array], *, seed: int = 0) -> bool:
        """Whether a fresh set of windows holds the expected pixels."""
        windows = some_windows(raster.level_dimensions, seed=seed)
        return digests(raster, windows) == [_digest(self._slice(expected, window)) for window in windows]

    @staticmethod
    def _slice(expected: list[Array], window: Window) -> Array:
        return expected[window.level][window.y : window.bottom, window.x : window.right]

    def test_is_a_raster(self, raster: Raster) -> None:
        """The protocol's names are there."""
        assert isinstance(raster, Raster)
        assert raster.name

    def test_dimensions_are_those_of_the_pixels(self, raster: Raster, expected: list[Array]) -> None:
        """Width comes first, and downsamples are the mean of both axes."""
        assert raster.level_dimensions == tuple((level.shape[1], level.shape[0]) for level in expected)
        assert raster.level_downsamples == pytest.approx(downsamples(raster.level_dimensions))

    def test_a_window_is_the_slice(self, raster: Raster, expected: list[Array]) -> None:
        """Any window equals the same slice of the whole level, in shape, dtype and pixels."""
        for window in some_windows(raster.level_dimensions, whole=True):
            got, wanted = raster.read(window), self._slice(expected, window)
            assert got.dtype == wanted.dtype, window
            assert np.array_equal(got, wanted), window

    def test_a_window_outside_is_refused(self, raster: Raster) -> None:
        """One pixel too far on any side is an error, and so is a level that is not there."""
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
        """What a reader writes into its pixels, no later reader sees."""
        width, height = raster.level_dimensions[0]
        window = Window(0, 0, min(width, 50), min(height, 40))
        first = raster.read(window)
        kept = first.copy()
        first[...] = 255 - first
        assert np.array_equal(raster.read(window), kept)

    def test_a_pickle_reads_the_same(self, raster: Raster, expected: list[Array]) -> None:
        """The copy reads the same, also when the original has been used; a path's pickle stays below 2 KB."""
        raster.read(Window(0, 0, 1, 1))
        data = pickle.dumps(raster)
        assert len(data) < 2048 or not self.pickles_small
        assert self.right(pickle.loads(data), expected)

    def test_forked_children_read_right(self, raster: Raster, expected: list[Array]) -> None:
        """After a fork with a warm parent, children and parent read the right windows at the same time."""
        assert self.right(raster, expected)
        children = [forked(partial(self.right, raster, expected, seed=seed)) for seed in (1, 2, 3)]
        assert self.right(raster, expected, seed=4)
        assert [is_right() for is_right in children] == [True, True, True]

    def test_spawned_children_read_right(self, raster: Raster, expected: list[Array]) -> None:
        """A process that starts from nothing but the pickle reads the right windows."""
        windows = some_windows(raster.level_dimensions, number=6, seed=4)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            got = pool.apply(digests, (raster, windows))
        assert got == [_digest(self._slice(expected, window)) for window in windows]

    def test_threads_read_right(self, raster: Raster, expected: list[Array]) -> None:
        """Threads that start together on a cold raster read the right windows."""
        cold = pickle.loads(pickle.dumps(raster))
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(lambda seed: self.right(cold, expected, seed=seed), range(5, 9)))

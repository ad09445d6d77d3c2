"""Slide formats of the scanner makers, through OpenSlide."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from patchaug.errors import ReadError
from patchaug.geometry import Window
from patchaug.rasters.base import Array, Sizes, require_inside
from patchaug.rasters.file import FileRaster, UnsuitedError, one_line
from patchaug.rasters.handles import forget, handle

if TYPE_CHECKING:
    from openslide import OpenSlide, OpenSlideCache

CACHE_BYTES = 32 << 20  # one cache for all slides of a process; without it each slide grows by as much

_caches: dict[int, OpenSlideCache] = {}  # by process id: a fork must not use, nor free, its parent's


@dataclass(frozen=True)
class _Facts:
    """What OpenSlide says about a slide."""

    dimensions: Sizes
    downsamples: tuple[float, ...]
    mpp: tuple[float, float] | None
    background: tuple[int, int, int]


class OpenSlideRaster(FileRaster):
    """A slide that OpenSlide reads, as uint8 (height, width, 3).

    Args:
        path: The file. It is opened at the first use in each process.
        name: What window errors call it; the file's name by default.

    Windows are exact where the level's downsample is a whole number. Elsewhere OpenSlide takes origins in level-0
    pixels only, so that pixels shift by up to half a level-0 pixel. Where the scanner recorded nothing, pixels have
    the slide's background colour.
    """

    _lazy = ("_known",)

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        super().__init__(path, name=name)
        self._known: _Facts | None = None

    @property
    def _facts(self) -> _Facts:
        if self._known is None:
            slide = self._slide()
            try:
                self._known = _facts_of(slide)
            except Exception as error:
                forget(self._key)
                raise ReadError(f"{self.path}: OpenSlide cannot read its header ({one_line(error)})") from error
        return self._known

    @property
    def level_dimensions(self) -> Sizes:
        """(width, height) per level in pixels, finest first."""
        return self._facts.dimensions

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return self._facts.downsamples

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Micrometres per pixel at level 0 as (x, y); None where the file does not say."""
        return self._facts.mpp

    def read(self, window: Window) -> Array:
        """The window's pixels on the slide's background colour.

        Raises:
            WindowError: The window leaves its level, or there is no such level. (OpenSlide would return black.)
            ReadError: OpenSlide cannot read it, in a handle opened afresh too.
        """
        facts = self._facts
        require_inside(self.name, facts.dimensions, window)
        downsample = facts.downsamples[window.level]
        l0_origin = (round(window.x * downsample), round(window.y * downsample))
        size = (window.width, window.height)
        try:
            rgba = self._rgba(l0_origin, window.level, size)
        except Exception:
            forget(self._key)
            try:
                rgba = self._rgba(l0_origin, window.level, size)
            except ReadError:  # the file has changed, or is gone
                raise
            except Exception as error:
                forget(self._key)
                raise ReadError(
                    f"{self.path}: OpenSlide cannot read level {window.level}, window x={window.x} y={window.y} "
                    f"{window.width} x {window.height} ({one_line(error)}); copy or export the file again"
                ) from error
        return _composited(rgba, facts.background)

    def _rgba(self, l0_origin: tuple[int, int], level: int, size: tuple[int, int]) -> Array:
        return np.asarray(self._slide().read_region(l0_origin, level, size))

    @property
    def _key(self) -> tuple[object, ...]:
        return "openslide", self.path, self._fingerprint

    def _slide(self) -> OpenSlide:
        if self._fingerprint is None:
            self._same_file()
        return handle(self._key, self._open)

    def _open(self) -> OpenSlide:
        from openslide import OpenSlide, OpenSlideCache, OpenSlideUnsupportedFormatError

        self._same_file()
        try:
            slide = OpenSlide(self.path)
        except OpenSlideUnsupportedFormatError:
            raise UnsuitedError(f"{self.path}: no format that OpenSlide knows") from None
        except Exception as error:
            raise UnsuitedError(f"{self.path}: OpenSlide cannot open it ({one_line(error)})") from error
        pid = os.getpid()
        if pid not in _caches:
            _caches[pid] = OpenSlideCache(CACHE_BYTES)
        slide.set_cache(_caches[pid])
        return slide


def _facts_of(slide: OpenSlide) -> _Facts:
    properties = slide.properties
    try:
        x, y = (float(properties[f"openslide.mpp-{axis}"]) for axis in "xy")
    except (KeyError, ValueError):
        x = y = 0.0
    mpp = (x, y) if all(math.isfinite(v) and v > 0 for v in (x, y)) else None
    red, green, blue = bytes.fromhex(properties.get("openslide.background-color", "FFFFFF"))
    return _Facts(slide.level_dimensions, slide.level_downsamples, mpp, (red, green, blue))


def _composited(rgba: Array, background: tuple[int, int, int]) -> Array:
    """RGBA uint8 (h, w, 4) on a colour, as uint8 (h, w, 3) in an array of its own."""
    alpha = rgba[..., 3:]
    if alpha.min() == 255:
        return np.array(rgba[..., :3], order="C")
    wide = rgba.astype(np.uint16)
    mixed = wide[..., :3] * alpha + np.asarray(background, np.uint16) * (255 - wide[..., 3:])
    return ((mixed + 127) // 255).astype(np.uint8)

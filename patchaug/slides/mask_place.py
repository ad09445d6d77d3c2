"""Lay a mask under its image: by sizes, or by where both files say that they are."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from patchaug.errors import FrameError
from patchaug.readers import Raster
from patchaug.readers.georeference import Georeference, georeference_of
from patchaug.slides.mask_alignment import Alignment

_STEP = 4096  # parts of a mask pixel that an offset is rounded to
_EXACT = 1e-3  # pixels over the whole image by which a scale may differ from a fraction of small numbers
_OFF = 1e-2  # pixels by which two places may differ and still be the same


def align(name: str, image: Raster, mask: Raster, ignore_index: int | None) -> Alignment:
    """Return the mask's pixels under the image's, by georeference where both have one, else by their sizes.

    Raises:
        FrameError: Image and mask do not show the same frame.
    """
    sizes, mask_sizes = image.level_dimensions, mask.level_dimensions
    here, there = georeference_of(image), georeference_of(mask)
    if here is None or there is None:
        return Alignment.of(name, sizes, mask_sizes, mask.name)
    start = f"{name}: image and mask ({mask.name}) say different things about their place"
    if here.crs and there.crs and here.crs != there.crs:
        raise FrameError(
            f"{start}: the image is in {here.crs}, the mask in {there.crs}; reproject the mask to the image's system "
            f"(gdalwarp -t_srs {here.crs} -r near mask.tif out.tif)"
        )
    scale, origin = _relation(start, here, there, sizes[0])
    alignment = Alignment.placed(sizes, mask_sizes, scale, origin)
    if alignment.origin is None:
        return alignment
    axes = [alignment.under(0, axis, 0, sizes[0][axis]) for axis in (0, 1)]
    inside = [(at >= 0) & (at < length) for at, length in zip(axes, mask_sizes[0], strict=True)]
    if not (inside[0].any() and inside[1].any()):
        raise FrameError(
            f"{start}: the mask begins {float(-origin[0] * scale[0]):.6g} px right of the image's corner and "
            f"{float(-origin[1] * scale[1]):.6g} px below it, and they do not overlap; is it the mask of this image?"
        )
    if ignore_index is None and not (inside[0].all() and inside[1].all()):
        share = float(inside[0].mean() * inside[1].mean())
        raise FrameError(
            f"{name}: by their georeference the mask ({mask.name}) covers {share:.1%} of the image; "
            f"set ignore_index=255, which becomes the label of what lies beyond it"
        )
    return alignment


def _relation(
    start: str, here: Georeference, there: Georeference, size: tuple[int, int]
) -> tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]:
    """Return image pixels per mask pixel, and the image's corner in mask pixels."""
    corners = np.array([[0.0, 0.0], [size[0], 0.0], [0.0, size[1]]])
    corner, right, below = there.to_pixels(here.to_coordinates(corners))
    across, down = right - corner, below - corner
    if abs(across[1]) > _OFF or abs(down[0]) > _OFF:
        raise FrameError(f"{start}: one is rotated against the other; warp the mask to the image's grid")
    if across[0] <= 0 or down[1] <= 0:
        raise FrameError(
            f"{start}: one is saved south-up or mirrored; warp the mask to the image's grid (gdalwarp -r near)"
        )
    scales = [_fraction(size[axis] / float(step), size[axis]) for axis, step in ((0, across[0]), (1, down[1]))]
    origin = [Fraction(round(float(at) * _STEP), _STEP) for at in corner]
    origin = [Fraction(round(at)) if abs(at - round(at)) < _OFF else at for at in origin]
    return (scales[0], scales[1]), (origin[0], origin[1])


def _fraction(scale: float, length: int) -> Fraction:
    """Return a scale as a fraction of numbers as small as its precision over a length permits."""
    for most in (1, 16, 256, 4096, 65536):
        inverse = Fraction(1 / scale).limit_denominator(most)
        for near in (Fraction(scale).limit_denominator(most), 1 / inverse if inverse else inverse):
            if near and abs(length / float(near) - length / scale) < _EXACT:
                return near
    return Fraction(scale).limit_denominator(1 << 20)

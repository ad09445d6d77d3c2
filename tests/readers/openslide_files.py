"""Slides that OpenSlide reads, written by tifffile: levels of odd downsamples, and scanned areas with bounds."""

from __future__ import annotations

import itertools
import zlib
from typing import NamedTuple

import numpy as np
import tifffile

from patchaug.readers import OpenSlideRaster

EMPTY = zlib.compress(bytes(1024 * 1024 * 3), 9)  # a black tile


class Pyramid(NamedTuple):
    """A level of noise below a level 0 that is all black, and their ratio as OpenSlide has it."""

    noise: np.ndarray
    raster: OpenSlideRaster
    downsample: float


def pyramid(path, w, h, l0_w, l0_h):
    """Write it: the truth is the noise itself."""
    noise = np.random.default_rng(w).integers(0, 256, (h, w, 3), np.uint8)
    with tifffile.TiffWriter(path) as writer:
        tiles = itertools.repeat(EMPTY, -(-l0_w // 1024) * -(-l0_h // 1024))
        writer.write(
            tiles, shape=(l0_h, l0_w, 3), dtype="u1", tile=(1024, 1024), photometric="rgb", compression="deflate",
            metadata=None,
        )  # fmt: skip
        writer.write(noise, tile=(64, 64), photometric="rgb", subfiletype=1, metadata=None)
    raster = OpenSlideRaster(path)
    assert raster.level_dimensions == ((l0_w, l0_h), (w, h))
    return Pyramid(noise, raster, raster.level_downsamples[1])


def write_scn(path, areas, l0_size, nm=250):
    """Write a Leica SCN file of scanned areas, (levels, level-0 corner) each, in an empty frame; it has bounds."""
    text, pages = [], []
    macro = np.zeros((l0_size[1] // 10, l0_size[0] // 10, 3), np.uint8)  # a picture of all of the glass
    for levels, (x, y), size in [*((*area, area[0][0].shape[1::-1]) for area in areas), ([macro], (0, 0), l0_size)]:
        sizes = ""
        for level in levels:
            sizes += f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" ifd="{len(pages)}"/>'
            pages.append(level)
        w, h = size
        text.append(f"""<image><pixels>{sizes}</pixels>
            <view sizeX="{w * nm}" sizeY="{h * nm}" offsetX="{x * nm}" offsetY="{y * nm}"/><scanSettings>
            <objectiveSettings><objective>20</objective></objectiveSettings><illuminationSettings>
            <illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>""")
    space = "http://www.leica-microsystems.com/scn/2010/10/01"
    frame = f'sizeX="{l0_size[0] * nm}" sizeY="{l0_size[1] * nm}"'
    described = f'<?xml version="1.0"?><scn xmlns="{space}"><collection {frame}>{"".join(text)}</collection></scn>'
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for number, level in enumerate(pages):
            said = {"description": None if number else described, "metadata": None}
            said |= {"resolution": (1e7 / nm, 1e7 / nm), "resolutionunit": "CENTIMETER"}
            writer.write(level, tile=(64, 64), photometric="rgb", **said)

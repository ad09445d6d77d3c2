"""Synthetic slides: procedural tissue with nuclei, for a demo without downloads.

A segmentation task rather than a model of biology: glands in loose tissue with fibres. Nuclei are darker and bluer than
their surroundings on average, but so are red cells, pigment, folds and blue tissue, so that a colour threshold fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import require_replaceable
from patchaug.errors import OptionError
from patchaug.testing.own_tiff import is_own_tiff, write_own_tiff

FACTORS = (1, 4, 16)
_BLOCK = 1024  # side of the blocks in which pixels are generated
_REACH = 64  # maximum distance of an object's pixels from its centre

_GLASS = np.array([243.0, 241.0, 244.0], np.float32)
# Light absorbed by one unit of stain, per channel: haematoxylin (nuclei), eosin (tissue), and brown pigment.
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
_EOSIN = np.array([0.10, 0.66, 0.35], np.float32)
_PIGMENT = np.array([0.45, 0.62, 0.80], np.float32)


def write_slide(
    folder: str | os.PathLike[str],
    name: str,
    *,
    size: int = 6144,
    seed: int = 0,
    mpp: float = 0.5,
    progress: Callable[[float], object] | None = None,
) -> tuple[Path, Path]:
    """Generate a slide and its mask, and write them atomically.

    NAME.tiff has JPEG tiles and levels 1, 4 and 16; NAME_mask.tiff holds 0 (background) and 1 (nucleus). Deterministic.

    Args:
        folder: Folder to write to; created if missing.
        name: Stem of both files.
        size: Side in pixels, at least 512.
        seed: Seed of tissue and stain, 0 or more.
        mpp: Micrometres per pixel, above 0, written into the files.
        progress: Function called with the fraction of generated pixels, up to 1.0.

    Returns:
        Paths of image and mask.

    Raises:
        OptionError: The size is below 512 px, the seed is below 0, or mpp is 0 or less.

    Examples:
        >>> image, mask = write_slide("made", "a", size=512)
        >>> open_slide(image, mask).level_dimensions
        ((512, 512), (128, 128), (32, 32))
    """
    if size < 512:
        raise OptionError(f"size of a synthetic slide must be at least 512 px, got {size}")
    if seed < 0:
        raise OptionError(f"seed of a synthetic slide must be 0 or more, got {seed}")
    if not 0 < mpp < float("inf"):
        raise OptionError(f"mpp of a synthetic slide must be above 0, got {mpp}")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    image, mask = _paint(size, seed, progress)
    rgb = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 85}, "subsampling": (2, 2)}
    grey = {"photometric": "minisblack", "compression": "adobe_deflate"}
    paths = root / f"{name}.tiff", root / f"{name}_mask.tiff"
    for path in paths:
        require_replaceable(path, "slide", is_own_tiff)
    write_own_tiff(paths[0], [_mean(image, factor) for factor in FACTORS], FACTORS, mpp, rgb)
    write_own_tiff(paths[1], [_nearest(mask, factor) for factor in FACTORS], FACTORS, mpp, grey)
    return paths


def _paint(size: int, seed: int, progress: Callable[[float], object] | None) -> tuple[Array, Array]:
    """Generate image uint8 (size, size, 3) and mask uint8 (size, size)."""
    rng = np.random.default_rng([seed, size])
    fields = _Fields(size, rng)
    objects = _place_objects(size, rng, fields)
    stain = rng.uniform(0.85, 1.15, 2).astype(np.float32)  # strength of each dye on this slide
    image, mask = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
    for top in range(0, size, _BLOCK):
        for left in range(0, size, _BLOCK):
            height, width = min(_BLOCK, size - top), min(_BLOCK, size - left)
            block = _Block(fields, top, left, height, width)
            near = (
                (np.abs(objects["x"] - left - width / 2) < width / 2 + _REACH)
                & (np.abs(objects["y"] - top - height / 2) < height / 2 + _REACH)
            )  # fmt: skip
            for one in objects[near]:
                block.stamp(one)
            noise = np.random.default_rng([seed, size, top, left]).standard_normal((height, width), np.float32)
            image[top : top + height, left : left + width] = block.pixels(stain, noise)
            mask[top : top + height, left : left + width] = block.mask
            if progress is not None:
                progress((top * size + height * (left + width)) / size**2)
    return image, mask


class _Fields:
    """Smooth random fields, interpolated from small grids at rows y and columns x that broadcast."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        sides = {name: (size + 300) // scale + 4 for name, scale in _SCALES.items()}  # objects may lie just outside
        self._grids = {name: rng.normal(0, 1, (n, n)).astype(np.float32) for name, n in sides.items()}

    def at(self, name: str, y: Array, x: Array) -> Array:
        """Interpolate a field at rows y and columns x by a bicubic B-spline; standard deviation about 0.5."""
        grid, scale = self._grids[name], _SCALES[name]
        (top, down), (left, across) = (_spline(axis.ravel() / scale, len(grid)) for axis in (y, x))
        if y.ndim == 1:
            four = np.arange(4)
            near = grid[(top[:, None] + four)[:, :, None], (left[:, None] + four)[:, None, :]]
            return np.asarray(np.einsum("ni,nij,nj->n", down, near, across))
        part = grid[top[0] : top[-1] + 4, left[0] : left[-1] + 4]  # only the part of the grid below the block
        return np.asarray(_dense(top, down) @ part @ _dense(left, across).T)

    def tissue(self, y: Array, x: Array) -> Array:
        """Return the tissue field, float32: above 0 inside an irregular region around the centre."""
        middle = self.size / 2
        away = np.hypot((y - middle) / middle, (x - middle) / middle)
        rough = 0.22 * self.at("outline", y, x) + 0.10 * self.at("edge", y, x)
        return np.asarray(0.88 - away + rough, np.float32)

    def glands(self, y: Array, x: Array) -> Array:
        """Return the gland field: loose tissue below 0, glands above, their lumen above _LUMEN."""
        return self.at("lobes", y, x) + 0.35 * self.at("edge", y, x)


# Features in pixels: outline of the tissue, glands, blue patches, fibres, granules, folds, stain, light and focus.
_SCALES = {
    "outline": 900, "edge": 180, "lobes": 330, "blue": 240, "fibres": 26, "grain": 7, "folds": 700,
    "stain": 1400, "light": 1100, "focus": 600,
}  # fmt: skip
_LUMEN = 0.8


def _spline(at: Array, length: int) -> tuple[Array, Array]:
    """Return the first grid point (n,) and weights (n, 4) of a cubic B-spline; the weights sum to 1."""
    start = np.clip(at.astype(np.int64), 0, length - 4)
    t = (at - start).astype(np.float32)
    four = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return start, np.stack(four, axis=1) / 6


def _dense(start: Array, four: Array) -> Array:
    """Expand the weights to a matrix over all grid points in use."""
    weights = np.zeros((len(start), int(start[-1] - start[0]) + 4), np.float32)
    np.put_along_axis(weights, (start - start[0])[:, None] + np.arange(4), four, axis=1)
    return weights


_OBJECT = np.dtype(
    [(name, "f4") for name in ("x", "y", "a", "b", "angle", "dye", "rim")] + [("kind", "u1"), ("shape", "f4", 4)]
)
_NUCLEUS, _RED_CELL, _SPECK, _STRAND = range(4)
# Per kind: grid spacing in pixels, half axis, and probability in loose tissue, in a gland, in a lumen.
_KINDS = {
    _NUCLEUS: (112, 26.0, (0.3, 0.85, 0.0)),
    _RED_CELL: (170, 19.0, (0.6, 0.15, 0.1)),
    _SPECK: (280, 9.0, (0.3, 0.3, 0.1)),
    _STRAND: (112, 38.0, (0.85, 0.2, 0.0)),
}


def _place_objects(size: int, rng: np.random.Generator, fields: _Fields) -> Array:
    """Place nuclei, and objects that resemble them: red cells, specks of pigment, dark strands."""
    parts = []
    for kind, (spacing, side, chances) in _KINDS.items():
        steps = np.arange(0, size, spacing)
        y, x = (grid.ravel() + rng.uniform(0, spacing, grid.size) for grid in np.meshgrid(steps, steps, indexing="ij"))
        n, gland = len(x), fields.glands(y, x)
        found = np.zeros(n, _OBJECT)
        found["x"], found["y"], found["kind"] = x, y, kind
        found["a"] = side * rng.uniform(0.75, 1.35, n)
        found["b"] = found["a"] * (rng.uniform(0.1, 0.24, n) if kind == _STRAND else rng.uniform(0.6, 1.0, n))
        found["dye"] = rng.uniform(0.5, 1.25, n) if kind == _NUCLEUS else rng.uniform(0.7, 1.2, n)
        found["shape"] = rng.normal(0, 1, (n, 4)) * (0.09, 0.05, 0.025, 0.015)
        found["rim"] = 2.5 + 9 * np.clip(fields.at("focus", y, x) - 0.2, 0, 1)
        # Long axes point to the lumen inside a gland, and follow its outline outside, as fibres do.
        down, right = fields.glands(y + 4, x) - gland, fields.glands(y, x + 4) - gland
        found["angle"] = np.arctan2(down, right) + np.where(gland > 0, 0, np.pi / 2) + rng.normal(0, 0.35, n)
        chance = np.select([gland < 0, gland < _LUMEN], chances[:2], chances[2])
        parts.append(found[(fields.tissue(y, x) > 0.04) & (rng.random(n) < chance)])
    return np.concatenate(parts)


class _Block:
    """Dyes of one block, painted object by object."""

    def __init__(self, fields: _Fields, top: int, left: int, height: int, width: int) -> None:
        self.y = np.arange(top, top + height, dtype=np.float32)
        self.x = np.arange(left, left + width, dtype=np.float32)
        self.mask = np.zeros((height, width), np.uint8)
        at = self.y[:, None], self.x[None, :]
        gland, edge, fibres = fields.glands(*at), fields.at("edge", *at), fields.at("fibres", *at)
        self.grain = fields.at("grain", *at)
        here = np.clip(fields.tissue(*at) * 12, 0, 1)  # a border of some pixels, not a knife's edge
        # Fibres lie around the glands in waves, with gaps between them; a lumen is nearly empty.
        waves = 0.5 + 0.5 * np.cos(55 * gland + 5 * fibres)
        loose = np.clip(0.3 + 0.55 * waves + 0.5 * fibres + 0.35 * edge, 0.12, 1)
        inside = np.clip(12 * gland + 0.5, 0, 1)
        full = (loose + inside * (1 - loose)) * (1 - 0.88 * np.clip(14 * (gland - _LUMEN) + 2 * fibres, 0, 1))
        self.eosin = here * full * (0.44 + 0.1 * inside * np.clip(gland, 0, 1) + 0.05 * self.grain)
        # Patches of tissue that are blue by themselves: as blue as pale nuclei, so that a threshold fails on them.
        blue = np.clip(fields.at("blue", *at) - 0.15, 0, 1)
        self.haematoxylin = here * full * (0.06 + 0.09 * inside + 0.45 * blue + 0.03 * self.grain)
        self.pigment = np.zeros_like(self.eosin)
        # Along a fold, tissue lies double, now and then.
        fold = np.exp(-((fields.at("folds", *at) / 0.02) ** 2)) * np.clip(4 * edge - 0.4, 0, 1)
        self.stain = (1 + 0.18 * np.tanh(fields.at("stain", *at))) * (1 + 0.7 * fold)
        self.light = 1 + 0.04 * np.tanh(fields.at("light", *at))

    def stamp(self, one: Array) -> None:
        """Paint an object: a wavy or bent ellipse whose rim is softer where the focus is worse."""
        kind, dye, shape, b = int(one["kind"]), np.float32(one["dye"]), one["shape"], float(one["b"])
        reach = min(1.5 * float(one["a"]) + float(one["rim"]), _REACH)
        rows, columns = (slice(*np.searchsorted(axis, (at - reach, at + reach))) for axis, at in
                         ((self.y, float(one["y"])), (self.x, float(one["x"]))))  # fmt: skip
        dy, dx = (self.y[rows] - one["y"])[:, None], (self.x[columns] - one["x"])[None, :]
        cos, sin = np.cos(one["angle"]), np.sin(one["angle"])
        u, v = (dx * cos + dy * sin) / one["a"], dy * cos - dx * sin
        radius: Any = 1.0
        if kind == _NUCLEUS:
            turn = np.arctan2(v / b, u)
            radius = 1 + sum(shape[k] * np.cos((k + 2) * turn + 99 * shape[k - 1]) for k in range(4))
        elif kind == _STRAND:
            v = v + 60 * shape[0] * u**2  # bent
        depth = 1 - np.hypot(u, v / b) / radius
        soft = np.clip(depth * b / one["rim"] + 0.5, 0, 1)
        if kind == _NUCLEUS:
            self.mask[rows, columns] |= depth > 0
            texture = 1 + 0.16 * self.grain[rows, columns] + 0.25 * np.exp(-((depth / 0.16) ** 2))  # a darker envelope
            self.haematoxylin[rows, columns] += soft * (dye * 0.62 * texture - 0.3 * self.haematoxylin[rows, columns])
            self.eosin[rows, columns] *= 1 - 0.35 * soft
        elif kind == _RED_CELL:
            self.eosin[rows, columns] += soft * dye * (0.75 - 0.25 * np.clip(depth * 1.5, 0, 1))  # a paler middle
        elif kind == _SPECK:
            self.pigment[rows, columns] += soft * dye * 0.9
        else:
            self.haematoxylin[rows, columns] += soft * dye * 0.6
            self.eosin[rows, columns] += soft * dye * 0.2

    def pixels(self, strength: Array, noise: Array) -> Array:
        """Render uint8 (height, width, 3): light through the dyes (Beer-Lambert law), with camera noise."""
        out = np.empty((*self.mask.shape, 3), np.uint8)
        haematoxylin, eosin = self.haematoxylin * self.stain * strength[0], self.eosin * self.stain * strength[1]
        for k in range(3):
            absorbed = haematoxylin * _HAEMATOXYLIN[k] + eosin * _EOSIN[k] + self.pigment * _PIGMENT[k]
            light = _GLASS[k] * np.exp(-1.5 * absorbed) * self.light + 2.5 * noise
            out[..., k] = np.clip(light, 0, 255)
        return out


def _mean(image: Array, factor: int) -> Array:
    """Average whole squares of factor x factor pixels."""
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    out = np.empty((height, width, 3), np.uint8)
    for row in range(0, height, 64):  # bands: the mean of a whole slide in float32 would take gigabytes
        part = image[row * factor : min(row + 64, height) * factor, : width * factor]
        rows = part.reshape(-1, factor, width * factor * 3).sum(1, dtype=np.uint32)  # two short sums beat one mean
        sums = rows.reshape(-1, width, factor, 3).sum(2, dtype=np.uint32)
        out[row : row + 64] = (sums + factor**2 // 2) // factor**2
    return out


def _nearest(mask: Array, factor: int) -> Array:
    """Select the middle pixel of each whole square of factor x factor pixels."""
    height, width = mask.shape[0] // factor, mask.shape[1] // factor
    return mask[factor // 2 :: factor, factor // 2 :: factor][:height, :width]

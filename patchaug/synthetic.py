"""Slides made from nothing: procedural tissue with nuclei, for the demo, where nothing can be downloaded.

Not a model of biology, but a fair exercise: nuclei are darker and bluer than the tissue around them on average, while
stain and light vary over the slide, some nuclei are pale, some touch, and red cells, pigment, dark strands and patches
of blue tissue are just as dark, so that no threshold of colour does the work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.errors import OptionError

Array = np.ndarray[Any, np.dtype[Any]]

FACTORS = (1, 4, 16)
_TILE = 256
_BLOCK = 1024  # pixels are made in blocks of this side
_REACH = 64  # no object reaches further than this from its centre

_GLASS = np.array([243.0, 241.0, 244.0], np.float32)
# Light that one unit of stain takes away, per channel: haematoxylin (nuclei), eosin (tissue), and brown pigment.
_HAEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
_EOSIN = np.array([0.10, 0.66, 0.35], np.float32)
_PIGMENT = np.array([0.45, 0.62, 0.80], np.float32)


def write_slide(
    folder: str | os.PathLike[str], name: str, *, size: int = 6144, seed: int = 0, mpp: float = 0.5
) -> tuple[Path, Path]:
    """Make a slide, NAME.tiff (JPEG tiles, levels 1, 4 and 16), and its mask, NAME_mask.tiff (0 background, 1 nucleus).

    The same arguments give the same bytes. Both files appear under their names when they are whole.

    Args:
        folder: Where to write; made if it is not there.
        name: Stem of both files.
        size: Side in pixels, at least 512.
        seed: Another seed is another slide, with another stain.
        mpp: Micrometres per pixel, written into the files.

    Returns:
        Paths of image and mask.

    Raises:
        OptionError: The size is below 512 px.
    """
    if size < 512:
        raise OptionError(f"size of a made slide must be at least 512 px, got {size}")
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    image, mask = _paint(size, seed)
    rgb = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 85}, "subsampling": (2, 2)}
    grey = {"photometric": "minisblack", "compression": "adobe_deflate"}
    paths = root / f"{name}.tiff", root / f"{name}_mask.tiff"
    _write(paths[0], [_mean(image, factor) for factor in FACTORS], mpp, rgb)
    _write(paths[1], [_nearest(mask, factor) for factor in FACTORS], mpp, grey)
    return paths


def _paint(size: int, seed: int) -> tuple[Array, Array]:
    """Image uint8 (size, size, 3) and mask uint8 (size, size)."""
    rng = np.random.default_rng([seed, size])
    fields = _Fields(size, rng)
    objects = _place_objects(size, rng, fields)
    stain = rng.uniform(0.85, 1.15, 2).astype(np.float32)  # how strongly this slide took each dye
    image, mask = np.empty((size, size, 3), np.uint8), np.empty((size, size), np.uint8)
    for top in range(0, size, _BLOCK):
        for left in range(0, size, _BLOCK):
            height, width = min(_BLOCK, size - top), min(_BLOCK, size - left)
            block = _Block(fields, top, left, height, width)
            near = (
                (objects["x"] > left - _REACH) & (objects["x"] < left + width + _REACH)
                & (objects["y"] > top - _REACH) & (objects["y"] < top + height + _REACH)
            )  # fmt: skip
            for one in objects[near]:
                block.stamp(one)
            noise = np.random.default_rng([seed, size, top, left]).standard_normal((height, width, 1), np.float32)
            image[top : top + height, left : left + width] = block.pixels(stain, noise)
            mask[top : top + height, left : left + width] = block.mask
    return image, mask


class _Fields:
    """Smooth random fields over the slide, from small grids: cheap at any size, and the same from any block."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        # Features in pixels: the outline of the tissue, its lobes, fibres, granules, stain and light.
        self._grids = {
            name: rng.normal(0, 1, (size // scale + 4, size // scale + 4)).astype(np.float32)
            for name, scale in _SCALES.items()
        }

    def at(self, name: str, y: Array, x: Array) -> Array:
        """A field at pixel rows y and columns x, (len(y), len(x)): a bicubic B-spline over its grid."""
        grid, scale = self._grids[name], _SCALES[name]
        return _spline(y / scale, grid.shape[0]) @ grid @ _spline(x / scale, grid.shape[1]).T

    def tissue(self, y: Array, x: Array) -> Array:
        """Where tissue is: above 0 inside; an irregular blot in the middle of the slide."""
        middle = self.size / 2
        away = np.hypot((y[:, None] - middle) / middle, (x[None, :] - middle) / middle)
        rough = 0.22 * self.at("outline", y, x) + 0.10 * self.at("edge", y, x)
        return np.asarray(0.88 - away + rough, np.float32)

    def glands(self, y: Array, x: Array) -> Array:
        """Dense tissue above 0, loose tissue below."""
        return self.at("lobes", y, x) + 0.35 * self.at("edge", y, x)


_SCALES = {
    "outline": 900,
    "edge": 180,
    "lobes": 420,
    "blue": 240,
    "fibres": 26,
    "grain": 7,
    "stain": 1400,
    "light": 1100,
}


def _spline(at: Array, length: int) -> Array:
    """Weights (positions, length) of a cubic B-spline: each row sums to 1 and has four entries."""
    start = np.clip(at.astype(np.int64), 0, length - 4)
    t = (at - start).astype(np.float32)
    four = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    weights = np.zeros((len(at), length), np.float32)
    np.put_along_axis(weights, start[:, None] + np.arange(4), four, axis=1)
    return weights


_OBJECT = np.dtype(
    [
        ("x", "f4"),
        ("y", "f4"),
        ("a", "f4"),
        ("b", "f4"),
        ("angle", "f4"),
        ("dye", "f4"),
        ("kind", "u1"),
        ("shape", "f4", 4),
    ]
)
_NUCLEUS, _RED_CELL, _SPECK, _STRAND = range(4)
# Chance that an object stands at a place of its grid, in dense tissue and in loose.
_CHANCE = {_NUCLEUS: (0.85, 0.3), _RED_CELL: (0.1, 0.6), _SPECK: (0.3, 0.3), _STRAND: (0.3, 0.7)}


def _place_objects(size: int, rng: np.random.Generator, fields: _Fields) -> Array:
    """Nuclei, and what looks like them: red cells in groups, specks of pigment, dark strands."""
    parts = []
    for kind, spacing, side in (
        (_NUCLEUS, 112, 26.0),
        (_RED_CELL, 170, 19.0),
        (_SPECK, 280, 9.0),
        (_STRAND, 130, 36.0),
    ):
        steps = np.arange(0, size, spacing)
        y, x = (grid.ravel() + rng.uniform(0, spacing, grid.size) for grid in np.meshgrid(steps, steps, indexing="ij"))
        found = np.zeros(len(x), _OBJECT)
        found["x"], found["y"], found["kind"] = x, y, kind
        found["a"] = side * rng.uniform(0.75, 1.35, len(x))
        found["b"] = found["a"] * rng.uniform(0.6, 1.0, len(x))
        found["angle"] = rng.uniform(0, np.pi, len(x))
        found["dye"] = rng.uniform(0.5, 1.25, len(x)) if kind == _NUCLEUS else rng.uniform(0.7, 1.2, len(x))
        found["shape"] = rng.normal(0, 1, (len(x), 4)) * (0.09, 0.05, 0.025, 0.015)
        if kind == _STRAND:
            found["b"] = found["a"] * rng.uniform(0.1, 0.2, len(x))
        inside = np.array([fields.tissue(y[i : i + 1], x[i : i + 1])[0, 0] for i in range(len(x))]) > 0.04
        dense = np.array([fields.glands(y[i : i + 1], x[i : i + 1])[0, 0] for i in range(len(x))])
        chance = np.where(dense > 0, *_CHANCE[kind])
        parts.append(found[inside & (rng.random(len(x)) < chance)])
    return np.concatenate(parts)


class _Block:
    """Dyes of one block, painted object by object."""

    def __init__(self, fields: _Fields, top: int, left: int, height: int, width: int) -> None:
        self.y, self.x = np.arange(top, top + height), np.arange(left, left + width)
        self.mask = np.zeros((height, width), np.uint8)
        tissue, dense = fields.tissue(self.y, self.x), fields.glands(self.y, self.x)
        fibres, grain = fields.at("fibres", self.y, self.x), fields.at("grain", self.y, self.x)
        here = np.clip(tissue * 12, 0, 1)  # a border of some pixels, not a knife's edge
        gaps = np.clip(1.45 + 1.1 * fibres + 1.5 * dense, 0.3, 1)  # loose tissue has holes between its fibres
        self.eosin = here * gaps * (0.42 + 0.16 * np.clip(dense, -1, 1) + 0.05 * grain)
        # Patches of tissue that are blue by themselves: as blue as pale nuclei, so that a threshold fails on them.
        blue = np.clip(fields.at("blue", self.y, self.x) - 0.15, 0, 1)
        self.haematoxylin = here * gaps * (0.08 + 0.32 * blue + 0.03 * grain)
        self.pigment = np.zeros_like(self.eosin)
        self.stain = 1 + 0.18 * np.tanh(fields.at("stain", self.y, self.x))
        self.light = 1 + 0.04 * np.tanh(fields.at("light", self.y, self.x))
        self.grain = grain

    def stamp(self, one: Array) -> None:
        """Paint an object: an ellipse with a wavy outline and a soft rim."""
        rows, columns = (slice(*np.searchsorted(axis, (at - _REACH, at + _REACH))) for axis, at in
                         ((self.y, float(one["y"])), (self.x, float(one["x"]))))  # fmt: skip
        if rows.start == rows.stop or columns.start == columns.stop:
            return
        dy, dx = (self.y[rows] - one["y"])[:, None], (self.x[columns] - one["x"])[None, :]
        cos, sin = np.cos(one["angle"]), np.sin(one["angle"])
        u, v = (dx * cos + dy * sin) / one["a"], (dy * cos - dx * sin) / one["b"]
        turn = np.arctan2(v, u)
        wave = sum(one["shape"][k] * np.cos((k + 2) * turn + 99 * one["shape"][k - 1]) for k in range(4))
        depth = 1 - np.hypot(u, v) / (1 + (wave if one["kind"] == _NUCLEUS else 0))
        soft = np.clip(depth * float(one["b"]) / 2.5 + 0.5, 0, 1).astype(np.float32)  # a rim of about 2.5 px
        dye = np.float32(one["dye"])
        if one["kind"] == _NUCLEUS:
            self.mask[rows, columns] |= depth > 0
            texture = 1 + 0.16 * self.grain[rows, columns] + 0.25 * np.exp(-((depth / 0.16) ** 2))  # a darker envelope
            target = dye * 0.62 * texture
            self.haematoxylin[rows, columns] += soft * (target - 0.3 * self.haematoxylin[rows, columns])
            self.eosin[rows, columns] *= 1 - 0.35 * soft
        elif one["kind"] == _RED_CELL:
            self.eosin[rows, columns] += soft * dye * (0.75 - 0.25 * np.clip(depth * 1.5, 0, 1))  # a paler middle
        elif one["kind"] == _SPECK:
            self.pigment[rows, columns] += soft * dye * 0.9
        else:
            self.haematoxylin[rows, columns] += soft * dye * 0.5
            self.eosin[rows, columns] += soft * dye * 0.2

    def pixels(self, strength: Array, noise: Array) -> Array:
        """uint8 (height, width, 3): glass seen through the dyes (Beer and Lambert), with the camera's noise."""
        taken = (self.haematoxylin * self.stain * strength[0])[..., None] * _HAEMATOXYLIN
        taken += (self.eosin * self.stain * strength[1])[..., None] * _EOSIN
        taken += self.pigment[..., None] * _PIGMENT
        seen = _GLASS * np.exp(-taken * 1.5) * self.light[..., None] + 2.5 * noise
        return np.asarray(np.clip(seen, 0, 255), np.uint8)


def _mean(image: Array, factor: int) -> Array:
    """Area mean over whole squares of factor x factor pixels."""
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    out = np.empty((height, width, 3), np.uint8)
    for row in range(0, height, 64):  # bands: the mean of a whole slide in float32 would take gigabytes
        part = image[row * factor : min(row + 64, height) * factor, : width * factor]
        squares = part.reshape(-1, factor, width, factor, 3)
        out[row : row + 64] = squares.mean((1, 3), dtype=np.float32).round()
    return out


def _nearest(mask: Array, factor: int) -> Array:
    """The pixel in the middle of each whole square of factor x factor pixels."""
    height, width = mask.shape[0] // factor, mask.shape[1] // factor
    return mask[factor // 2 :: factor, factor // 2 :: factor][:height, :width]


def _tiles(level: Array) -> Iterator[Array]:
    for y in range(0, level.shape[0], _TILE):
        for x in range(0, level.shape[1], _TILE):
            tile = level[y : y + _TILE, x : x + _TILE]
            rest = [(0, _TILE - tile.shape[0]), (0, _TILE - tile.shape[1])] + [(0, 0)] * (tile.ndim - 2)
            yield np.ascontiguousarray(np.pad(tile, rest, "edge"))  # tiles are whole; what is past the level is cut


def _write(path: Path, levels: list[Array], mpp: float, form: dict[str, Any]) -> None:
    import tifffile

    part = path.with_name(path.name + ".part")
    with tifffile.TiffWriter(part) as tiff:
        for factor, level in zip(FACTORS, levels, strict=True):
            tiff.write(
                _tiles(level), shape=level.shape, dtype=np.uint8, tile=(_TILE, _TILE),
                resolution=(1e4 / (mpp * factor),) * 2, resolutionunit="CENTIMETER", metadata=None,
                subfiletype=0 if factor == 1 else 1, **form,
            )  # fmt: skip
    os.replace(part, path)

"""Derive how far outside a patch the transforms of albumentations read, from their parameters.

A pipeline is followed backwards, from the resulting patch to the pixels that it depends on. Distances are measured from
the centre of the image, around which albumentations rotates and scales. An extent (y, x) is the distance from there to
the centre of the outermost required pixel. Each transform widens the extent by the most that its parameters allow.

The transforms of albumentations 2.0.8 are known by name. Bounds are strict: no draw reaches further. An unknown
transform is an error that asks for a number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import atan2, ceil, cos, hypot, inf, pi, prod, radians, sin, tan
from typing import Any

from patchaug.augment.transform_footprints import (
    CHANGES_SIZE,
    KERNEL_REACH,
    NEIGHBOURS,
    POINTWISE,
    QUARTER_TURNS,
    WHOLE_IMAGE,
    filter_radius,
    perspective_margin,
)
from patchaug.errors import OptionError

Extent = tuple[float, float]

_WARP = 1 / 16  # OpenCV rounds coordinates to 1/32 of a pixel
_STEPS, _UNBOUNDED = 1000, 1e6  # iterations, and pixels, beyond which a halo counts as unbounded


@dataclass(frozen=True)
class ImageSize:
    """Largest size (height, width) of the image that enters a transform, and whether each image has that size."""

    height: float
    width: float
    exact: bool = True

    def scaled(self, transforms: list[Any]) -> ImageSize:
        """Return the size after some transforms have enlarged the image."""
        factors = [most for part in transforms if (most := largest_scale(part)) is not None]
        if not factors:
            return self
        return ImageSize(self.height * prod(factors), self.width * prod(factors), exact=False)

    def snapped(self, far: Extent) -> Extent:
        """Round an extent up to the next pixel centre: the transform before produces whole pixels."""
        if not self.exact:  # its centre may lie on a pixel or between two
            return ceil(2 * far[0] - 1e-9) / 2 + 0.5, ceil(2 * far[1] - 1e-9) / 2 + 0.5
        y, x = (
            at + ceil(extent_of - at - 1e-9)
            for extent_of, at in zip(far, ((self.height - 1) / 2 % 1, (self.width - 1) / 2 % 1), strict=True)
        )
        return y, x


def needed_halo(transform: Any, height: int, width: int) -> tuple[int, int]:
    """Return the pixels (y, x) that a pipeline needs on each side of a patch of height x width px.

    Some transforms move pixels by a fraction of the image, and therefore further with a larger halo. The halo is
    widened until it suffices.

    Args:
        transform: A transform or composition of albumentations.
        height: Rows of the patch.
        width: Columns of the patch.

    Raises:
        OptionError: A transform is unknown, changes the size of the image, or needs an unbounded halo.
    """
    square = _any_named(transform, QUARTER_TURNS)
    side = max(height, width)
    base = (side, side) if square else (height, width)
    halo = (0, 0)
    for _ in range(_STEPS):
        size = ImageSize(base[0] + 2 * halo[0], base[1] + 2 * halo[1])
        y, x = extent(transform, ((base[0] - 1) / 2, (base[1] - 1) / 2), size)
        if max(y, x) > _UNBOUNDED:
            break
        required = tuple(max(ceil(far - (n - 1) / 2 - 1e-9), 0) for far, n in zip((y, x), base, strict=True))
        if square:
            required = (max(required), max(required))
        if required[0] <= halo[0] and required[1] <= halo[1]:
            return halo[0] + (base[0] - height + 1) // 2, halo[1] + (base[1] - width + 1) // 2
        halo = (max(halo[0], required[0]), max(halo[1], required[1]))
    raise OptionError(
        f"no halo is enough for {_describe(transform)}: a transform that may show its whole input follows one that "
        f"rotates or shrinks it; put it first, or set halo= in pixels"
    )


def extent(transform: Any, required: Extent, size: ImageSize) -> Extent:
    """Return the extent of the input pixels that the given extent of the result depends on."""
    if not getattr(transform, "p", 1) or max(required) > _UNBOUNDED:
        return required
    parts = getattr(transform, "transforms", None)
    if parts is not None:
        return _composition(transform, list(parts), required, size)
    name = _known_name(transform)
    if name in POINTWISE:
        return required
    if name in QUARTER_TURNS:
        return max(required), max(required)
    if name in NEIGHBOURS:
        radius = filter_radius(transform, name)
        return required[0] + radius, required[1] + radius
    if name in WHOLE_IMAGE:
        inside = perspective_margin(transform) if name == "Perspective" else 0
        return max(required[0] + inside, (size.height - 1) / 2), max(required[1] + inside, (size.width - 1) / 2)
    y, x = _GEOMETRY[name](transform, required, size)
    more = _WARP + KERNEL_REACH.get(int(getattr(transform, "interpolation", 1)), 0.0)
    # At least the given extent: with a probability below 1 the transform may be skipped.
    return max(y + more, required[0]), max(x + more, required[1])


def largest_scale(transform: Any) -> float | None:
    """Return the largest factor, 1 or more, by which a pipeline enlarges the image (`RandomScale`), or None."""
    parts = getattr(transform, "transforms", None)
    if parts is not None:
        found = [most for part in parts if (most := largest_scale(part)) is not None]
        return prod(found) if found else None
    return max(1 + transform.scale_limit[1], 1.0) if type(transform).__name__ == "RandomScale" else None


def _composition(transform: Any, parts: list[Any], required: Extent, size: ImageSize) -> Extent:
    name = type(transform).__name__
    active = [part for part in parts if getattr(part, "p", 1)]
    if name in ("OneOf", "OneOrOther"):
        return _widest([extent(part, required, size) for part in active], required)
    if name in ("SomeOf", "RandomOrder"):
        # Some of the parts in random order: the widest extent of all, once for each part that may follow another.
        size = size.scaled(active)
        for _ in range(int(transform.n) if active else 0):
            required = size.snapped(_widest([extent(part, required, size) for part in active], required))
        return required
    if name not in ("Compose", "Sequential", "ReplayCompose", "SelectiveChannelTransform"):
        raise OptionError(f"the halo of the composition {name} is not known; set halo= in pixels")
    for number in reversed(range(len(active))):
        before = size.scaled(active[:number])
        required = before.snapped(extent(active[number], required, before))
    return required


def _widest(extents: list[Extent], least: Extent) -> Extent:
    return max([least[0], *(y for y, _ in extents)]), max([least[1], *(x for _, x in extents)])


def _known_name(transform: Any) -> str:
    """Return the class name of a supported transform."""
    name = type(transform).__name__
    if not type(transform).__module__.startswith("albumentations."):
        raise OptionError(f"the halo of {name}, a custom transform, is not known; set it in pixels, such as halo=32")
    if name in CHANGES_SIZE or getattr(transform, "crop_border", False) or not getattr(transform, "keep_size", True):
        raise OptionError(f"{name} changes the size of the image, but the sampler sets the size of windows; remove it")
    if getattr(transform, "fit_output", False) and name != "SafeRotate":
        raise OptionError(f"{name} with fit_output changes the size of the image; set fit_output=False")
    # WebP predicts each block from the blocks before it: any pixel may depend on any other.
    webp = name == "ImageCompression" and transform.compression_type != "jpeg"
    if webp or name not in (*POINTWISE, *QUARTER_TURNS, *NEIGHBOURS, *WHOLE_IMAGE, *_GEOMETRY):
        raise OptionError(f"the halo of {name} is not known; set it in pixels, such as halo=32")
    return name


def _describe(transform: Any) -> str:
    """Describe a pipeline in one line."""
    parts = getattr(transform, "transforms", None)
    name = type(transform).__name__
    return name if parts is None else f"{name}({', '.join(map(_describe, parts))})"


def _any_named(transform: Any, names: frozenset[str]) -> bool:
    parts = getattr(transform, "transforms", None)
    if parts is not None:
        return any(_any_named(part, names) for part in parts)
    return type(transform).__name__ in names


# Geometric transforms, from result to input: each function inverts one transform for its widest parameters.


def rotated_extent(far: Extent, low: float, high: float) -> Extent:
    """Return the extent of a box rotated by low..high degrees: widest at an end, or with a corner on an axis."""
    (y, x), corner = far, atan2(far[1], far[0])
    angles = [radians(low), radians(high)]
    for quarter in range(-9, 10):
        for at in (quarter * pi / 2, quarter * pi / 2 + corner, quarter * pi / 2 - corner):
            if angles[0] < at < angles[1]:
                angles.append(at)
    return (
        max(abs(cos(a)) * y + abs(sin(a)) * x for a in angles),
        max(abs(cos(a)) * x + abs(sin(a)) * y for a in angles),
    )


def _range(value: Any, axis: str) -> tuple[float, float]:
    """Return (low, high) of a parameter that is a number, a pair, or either for each axis."""
    if isinstance(value, dict):
        value = value[axis]
    low, high = value if isinstance(value, (tuple, list)) else (value, value)
    return float(low), float(high)


def _affine(transform: Any, required: Extent, size: ImageSize) -> Extent:
    y, x = required
    if transform.translate_px is not None:
        y += max(map(abs, _range(transform.translate_px, "y")))
        x += max(map(abs, _range(transform.translate_px, "x")))
    elif transform.translate_percent is not None:
        y += max(map(abs, _range(transform.translate_percent, "y"))) * size.height
        x += max(map(abs, _range(transform.translate_percent, "x"))) * size.width
    shear_x, shear_y = (
        max(abs(tan(radians(angle))) for angle in _range(transform.shear, axis)) if _steep(transform, axis) else inf
        for axis in "xy"
    )
    if shear_x * shear_y >= 1:
        raise OptionError(
            f"{type(transform).__name__} with shear {transform.shear} may fold the image; reduce the shear"
        )
    y, x = (y + shear_y * x) / (1 - shear_x * shear_y), (x + shear_x * y) / (1 - shear_x * shear_y)
    y, x = rotated_extent((y, x), *_range(transform.rotate, "x"))
    least_y, least_x = _range(transform.scale, "y")[0], _range(transform.scale, "x")[0]
    if min(least_y, least_x) <= 0:
        raise OptionError(f"{type(transform).__name__} scales by {transform.scale}; factors must be above 0")
    return y / least_y, x / least_x


def _steep(transform: Any, axis: str) -> bool:
    return max(map(abs, _range(transform.shear, axis))) < 89


def _rotate(transform: Any, required: Extent, size: ImageSize) -> Extent:
    return rotated_extent(required, *_range(transform.limit, "x"))


def _safe_rotate(transform: Any, required: Extent, size: ImageSize) -> Extent:
    """Rotate, and shrink until the whole image fits in again."""
    low, high = _range(transform.limit, "x")
    box_y, box_x = rotated_extent((size.height, size.width), low, high)
    y, x = rotated_extent((required[0] * box_y / size.height, required[1] * box_x / size.width), low, high)
    return y + 1, x + 1  # its centre is rounded


def _elastic(transform: Any, required: Extent, size: ImageSize) -> Extent:
    """Shift by noise in -1..1, smoothed by a kernel that sums to 1, times alpha."""
    return required[0] + abs(transform.alpha), required[1] + abs(transform.alpha)


def _grid(transform: Any, required: Extent, size: ImageSize) -> Extent:
    """Scale grid cells by 1 - d to 1 + d: widest if one side has only long cells, and the other only short ones."""
    low, high = _range(transform.distort_limit, "x")
    far = []
    for extent_of, length in zip(required, (size.height, size.width), strict=True):
        at = min(0.5 + extent_of / length, 1.0)  # of the length, from the side where steps are long
        if transform.normalized:
            long, short = at * (1 + high), (1 - at) * (1 + low)
            end = long / (long + short)
            long, short = (1 - at) * (1 + low), at * (1 + high)
            begin = long / (long + short)
        else:
            end, begin = at * (1 + high), (1 - at) * (1 + low)
        far.append(max(end - 0.5, 0.5 - begin) * length + length / (length // transform.num_steps or 1) + 2)
    return far[0], far[1]


def _optical(transform: Any, required: Extent, size: ImageSize) -> Extent:
    """Distort radially: r (1 + k r^2 + k r^4) for a camera, r (1 + k r^2) for a fisheye, r relative to the image."""
    y, x = required
    if transform.mode == "camera":
        square = (y / size.height) ** 2 + (x / size.width) ** 2
        square += square**2
    else:
        square = (hypot(y, x) / (hypot(size.height, size.width) / 2)) ** 2
    factor = max(1.0, *(abs(1 + k * square) for k in _range(transform.distort_limit, "x")))
    return y * factor + factor, x * factor + factor  # its centre is half a pixel off


def _random_scale(transform: Any, required: Extent, size: ImageSize) -> Extent:
    least = 1 + transform.scale_limit[0]
    if least <= 0:
        raise OptionError(f"RandomScale by {transform.scale_limit}: factors must be above 0")
    return required[0] / least + 2 / least, required[1] / least + 2 / least  # sizes and centre are rounded


_GEOMETRY: dict[str, Callable[[Any, Extent, ImageSize], Extent]] = {
    "Affine": _affine,
    "ShiftScaleRotate": _affine,
    "Rotate": _rotate,
    "SafeRotate": _safe_rotate,
    "ElasticTransform": _elastic,
    "GridDistortion": _grid,
    "OpticalDistortion": _optical,
    "RandomScale": _random_scale,
}

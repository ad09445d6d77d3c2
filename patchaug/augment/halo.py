"""How far outside a patch the transforms of albumentations may look: derived from their own parameters.

A pipeline is followed backwards, from the patch that comes out to the pixels that it is made of. Everything is counted
from the centre of the picture, where albumentations turns and scales: an extent (y, x) is the distance from there to
the centre of the outermost pixel wanted. Each transform widens the extent by the most that its parameters allow.

Known are the transforms of albumentations 2.0.8, by name. Bounds are hard ones: no draw reaches further. What is not
known is an error that asks for a number, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import atan2, ceil, cos, hypot, inf, pi, prod, radians, sin, tan
from typing import Any

from patchaug.augment.transform_footprints import (
    BEYOND,
    CHANGES_SIZE,
    EVERYTHING,
    NEIGHBOURS,
    PLACES,
    SQUARE,
    corners,
    neighbours,
)
from patchaug.errors import OptionError

Extent = tuple[float, float]

_WARP = 1 / 16  # OpenCV rounds coordinates to 1/32 of a pixel
_STEPS, _ENDLESS = 1000, 1e6  # widenings of the halo, and pixels, after which it is taken to be endless


@dataclass(frozen=True)
class ImageSize:
    """What a transform is given: its largest size (height, width), and whether it always has that size."""

    height: float
    width: float
    exact: bool = True

    def scaled(self, transforms: list[Any]) -> ImageSize:
        """The picture that some transforms may make of this one."""
        factors = [most for part in transforms if (most := largest_scale(part)) is not None]
        if not factors:
            return self
        return ImageSize(self.height * prod(factors), self.width * prod(factors), exact=False)

    def snapped(self, far: Extent) -> Extent:
        """The next centre of a pixel at or beyond an extent: what comes before makes whole pixels."""
        if not self.exact:  # its centre may be that of a pixel, or between two
            return ceil(2 * far[0] - 1e-9) / 2 + 0.5, ceil(2 * far[1] - 1e-9) / 2 + 0.5
        y, x = (
            at + ceil(extent_of - at - 1e-9)
            for extent_of, at in zip(far, ((self.height - 1) / 2 % 1, (self.width - 1) / 2 % 1), strict=True)
        )
        return y, x


def needed_halo(transform: Any, height: int, width: int) -> tuple[int, int]:
    """Pixels (y, x) that a pipeline needs on each side of a patch of height x width px.

    Some transforms move pixels by a share of the picture, and so further the larger the halo: the halo is widened until
    it is enough.

    Args:
        transform: A transform or composition of albumentations.
        height: Rows of the patch.
        width: Columns of the patch.

    Raises:
        OptionError: A transform is not known, changes the size of the picture, or no halo is enough.
    """
    square = _any_named(transform, SQUARE)
    side = max(height, width)
    base = (side, side) if square else (height, width)
    halo = (0, 0)
    for _ in range(_STEPS):
        picture = ImageSize(base[0] + 2 * halo[0], base[1] + 2 * halo[1])
        y, x = extent(transform, ((base[0] - 1) / 2, (base[1] - 1) / 2), picture)
        if max(y, x) > _ENDLESS:
            break
        wanted = tuple(max(ceil(far - (n - 1) / 2 - 1e-9), 0) for far, n in zip((y, x), base, strict=True))
        if square:
            wanted = (max(wanted), max(wanted))
        if wanted[0] <= halo[0] and wanted[1] <= halo[1]:
            return halo[0] + (base[0] - height + 1) // 2, halo[1] + (base[1] - width + 1) // 2
        halo = (max(halo[0], wanted[0]), max(halo[1], wanted[1]))
    raise OptionError(
        f"no halo is enough for {_told(transform)}: a transform that may show all of its picture follows one that "
        f"turns or shrinks it; put it first, or say halo= in pixels"
    )


def extent(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    """Extent of the pixels that a transform looks at, for the extent of those that are wanted of its result."""
    if not getattr(transform, "p", 1) or max(wanted) > _ENDLESS:
        return wanted
    parts = getattr(transform, "transforms", None)
    if parts is not None:
        return _composition(transform, list(parts), wanted, picture)
    name = _known_name(transform)
    if name in PLACES:
        return wanted
    if name in SQUARE:
        return max(wanted), max(wanted)
    if name in NEIGHBOURS:
        radius = neighbours(transform, name)
        return wanted[0] + radius, wanted[1] + radius
    if name in EVERYTHING:
        inside = corners(transform) if name == "Perspective" else 0
        return max(wanted[0] + inside, (picture.height - 1) / 2), max(wanted[1] + inside, (picture.width - 1) / 2)
    y, x = _GEOMETRY[name](transform, wanted, picture)
    more = _WARP + BEYOND.get(int(getattr(transform, "interpolation", 1)), 0.0)
    # Not less than is wanted: with a probability below 1 the transform may not take place.
    return max(y + more, wanted[0]), max(x + more, wanted[1])


def largest_scale(transform: Any) -> float | None:
    """The most that a pipeline may enlarge the picture itself (`RandomScale`), 1 or more; None if it never does."""
    parts = getattr(transform, "transforms", None)
    if parts is not None:
        found = [most for part in parts if (most := largest_scale(part)) is not None]
        return prod(found) if found else None
    return max(1 + transform.scale_limit[1], 1.0) if type(transform).__name__ == "RandomScale" else None


def _composition(transform: Any, parts: list[Any], wanted: Extent, picture: ImageSize) -> Extent:
    name = type(transform).__name__
    active = [part for part in parts if getattr(part, "p", 1)]
    if name in ("OneOf", "OneOrOther"):
        return _widest([extent(part, wanted, picture) for part in active], wanted)
    if name in ("SomeOf", "RandomOrder"):
        # Some of the parts, in an order that is drawn: as often as parts may follow each other, the widest of all.
        picture = picture.scaled(active)
        for _ in range(int(transform.n) if active else 0):
            wanted = picture.snapped(_widest([extent(part, wanted, picture) for part in active], wanted))
        return wanted
    if name not in ("Compose", "Sequential", "ReplayCompose", "SelectiveChannelTransform"):
        raise OptionError(f"{name} is no composition whose halo is known; say halo= in pixels")
    for number in reversed(range(len(active))):
        given = picture.scaled(active[:number])
        wanted = given.snapped(extent(active[number], wanted, given))
    return wanted


def _widest(extents: list[Extent], least: Extent) -> Extent:
    return max([least[0], *(y for y, _ in extents)]), max([least[1], *(x for _, x in extents)])


def _known_name(transform: Any) -> str:
    """The class by which a transform is known."""
    name = type(transform).__name__
    if not type(transform).__module__.startswith("albumentations."):
        raise OptionError(f"{name} is not known, so its halo is not; say how many pixels it looks around, as halo=32")
    if name in CHANGES_SIZE or getattr(transform, "crop_border", False) or not getattr(transform, "keep_size", True):
        raise OptionError(
            f"{name} changes the size of the picture; windows have their size from the sampler: leave it out"
        )
    if getattr(transform, "fit_output", False) and name != "SafeRotate":
        raise OptionError(f"{name} with fit_output changes the size of the picture; set fit_output=False")
    # WebP predicts each block from the ones before it: any pixel may matter to any other.
    webp = name == "ImageCompression" and transform.compression_type != "jpeg"
    if webp or name not in (*PLACES, *SQUARE, *NEIGHBOURS, *EVERYTHING, *_GEOMETRY):
        raise OptionError(f"the halo of {name} is not known; say how many pixels it looks around, as halo=32")
    return name


def _told(transform: Any) -> str:
    """A pipeline in one line."""
    parts = getattr(transform, "transforms", None)
    name = type(transform).__name__
    return name if parts is None else f"{name}({', '.join(map(_told, parts))})"


def _any_named(transform: Any, names: frozenset[str]) -> bool:
    parts = getattr(transform, "transforms", None)
    if parts is not None:
        return any(_any_named(part, names) for part in parts)
    return type(transform).__name__ in names


# What geometric transforms do, seen from their result: each undoes one step and keeps the widest.


def turned(far: Extent, low: float, high: float) -> Extent:
    """Extent of a box turned by low..high degrees: widest at an end, or where a corner points along an axis."""
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
    """(low, high) of a parameter that may be a number, a pair, or one of those for each axis."""
    if isinstance(value, dict):
        value = value[axis]
    low, high = value if isinstance(value, (tuple, list)) else (value, value)
    return float(low), float(high)


def _affine(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    y, x = wanted
    if transform.translate_px is not None:
        y += max(map(abs, _range(transform.translate_px, "y")))
        x += max(map(abs, _range(transform.translate_px, "x")))
    elif transform.translate_percent is not None:
        y += max(map(abs, _range(transform.translate_percent, "y"))) * picture.height
        x += max(map(abs, _range(transform.translate_percent, "x"))) * picture.width
    shear_x, shear_y = (
        max(abs(tan(radians(angle))) for angle in _range(transform.shear, axis)) if _steep(transform, axis) else inf
        for axis in "xy"
    )
    if shear_x * shear_y >= 1:
        raise OptionError(
            f"{type(transform).__name__} with shear {transform.shear} may fold the picture; shear by less"
        )
    y, x = (y + shear_y * x) / (1 - shear_x * shear_y), (x + shear_x * y) / (1 - shear_x * shear_y)
    y, x = turned((y, x), *_range(transform.rotate, "x"))
    least_y, least_x = _range(transform.scale, "y")[0], _range(transform.scale, "x")[0]
    if min(least_y, least_x) <= 0:
        raise OptionError(f"{type(transform).__name__} scales by {transform.scale}; factors must be above 0")
    return y / least_y, x / least_x


def _steep(transform: Any, axis: str) -> bool:
    return max(map(abs, _range(transform.shear, axis))) < 89


def _rotate(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    return turned(wanted, *_range(transform.limit, "x"))


def _safe_rotate(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    """Turned, and made smaller until all of it fits in again."""
    low, high = _range(transform.limit, "x")
    box_y, box_x = turned((picture.height, picture.width), low, high)
    y, x = turned((wanted[0] * box_y / picture.height, wanted[1] * box_x / picture.width), low, high)
    return y + 1, x + 1  # its centre is rounded


def _elastic(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    """Noise of -1..1, smoothed by a kernel that sums to 1, times alpha."""
    return wanted[0] + abs(transform.alpha), wanted[1] + abs(transform.alpha)


def _grid(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    """Steps of 1 - d to 1 + d: the widest where those on one side are all long, and on the other all short."""
    low, high = _range(transform.distort_limit, "x")
    far = []
    for extent_of, length in zip(wanted, (picture.height, picture.width), strict=True):
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


def _optical(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    """Radial: r (1 + k r^2 + k r^4) of a camera, r (1 + k r^2) of a fisheye, r in units of the picture."""
    y, x = wanted
    if transform.mode == "camera":
        square = (y / picture.height) ** 2 + (x / picture.width) ** 2
        square += square**2
    else:
        square = (hypot(y, x) / (hypot(picture.height, picture.width) / 2)) ** 2
    factor = max(1.0, *(abs(1 + k * square) for k in _range(transform.distort_limit, "x")))
    return y * factor + factor, x * factor + factor  # its centre is half a pixel off


def _random_scale(transform: Any, wanted: Extent, picture: ImageSize) -> Extent:
    least = 1 + transform.scale_limit[0]
    if least <= 0:
        raise OptionError(f"RandomScale by {transform.scale_limit}: factors must be above 0")
    return wanted[0] / least + 2 / least, wanted[1] / least + 2 / least  # sizes are rounded, and the centre with them


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

"""Footprints of the transforms of albumentations 2.0.8: the pixels that each output pixel depends on."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# These paint over pixels, and over class numbers if a parameter asks for it.
_PAINTERS = _names("CoarseDropout ConstrainedCoarseDropout Erasing GridDropout PixelDropout XYMasking")
# Each pixel depends on itself alone (and on statistics of the whole image).
POINTWISE = _PAINTERS | _names("""
    NoOp HorizontalFlip VerticalFlip AdditiveNoise AutoContrast CLAHE ChannelDropout ChannelShuffle ColorJitter
    Equalize FancyPCA FromFloat GaussNoise HEStain HueSaturationValue ISONoise Illumination InvertImg
    MultiplicativeNoise Normalize PlanckianJitter PlasmaBrightnessContrast PlasmaShadow Posterize RGBShift
    RandomBrightnessContrast RandomGamma RandomToneCurve SaltAndPepper ShotNoise Solarize ToFloat ToGray ToRGB ToSepia
""")
# The same, on a square: rows and columns may be exchanged.
QUARTER_TURNS = _names("RandomRotate90 Transpose D4 SquareSymmetry")
# Each pixel may depend on any pixel of the image, but on none outside it (see `perspective_margin`).
WHOLE_IMAGE = _names("Perspective RandomGridShuffle")
# Not supported: the sampler sets the size of a patch.
CHANGES_SIZE = _names("""
    AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop CenterCrop Crop CropAndPad CropNonEmptyMaskIfExists LongestMaxSize Pad
    PadIfNeeded RandomCrop RandomCropFromBorders RandomCropNearBBox RandomResizedCrop RandomSizedBBoxSafeCrop
    RandomSizedCrop Resize SmallestMaxSize
""")
# Each pixel depends on its neighbours.
NEIGHBOURS = _names("""
    AdvancedBlur Blur Defocus Downscale Emboss GaussianBlur GlassBlur ImageCompression MedianBlur MotionBlur
    RingingOvershoot Sharpen UnsharpMask ZoomBlur
""")

# Additional reach in pixels of INTER_CUBIC and INTER_LANCZOS4; the other modes use two neighbours.
KERNEL_REACH = {2: 1.0, 4: 3.0}


def perspective_margin(transform: Any) -> float:
    """Return the width of the border of a Perspective's result, in pixels, that may show what lies outside the image.

    Perspective maps the image's edges, not the centres of its outermost pixels, onto a quadrangle whose corners lie in
    the outer 0.32 of each side. The last column may therefore come from up to one pixel outside. From an edge of the
    result inwards, the source moves by at least 0.08 px per pixel (0.25 in a square). This bound was searched over all
    extreme quadrangles and random ones, for aspect ratios of up to 1 : 50.
    """
    return 14 + 12 * KERNEL_REACH.get(int(transform.interpolation), 0.0)


def filter_radius(transform: Any, name: str) -> int:
    """Return the largest radius in pixels of the neighbourhood that a filter uses."""
    if name == "Defocus":
        return max(8, int(transform.radius[1])) + 3  # a disc on a grid of 17 px at least, softened
    if name == "Downscale":
        return ceil(2 / float(transform.scale_range[0]))
    if name == "ImageCompression":
        return 16  # JPEG's blocks, with the colours at half resolution
    if name == "Emboss":
        return 1
    if name == "Sharpen":
        return (
            1
            if transform.method == "kernel"
            else max(int(transform.kernel_size) // 2, _gaussian_radius(transform.sigma))
        )
    if name == "GlassBlur":
        return int(transform.iterations) * int(transform.max_delta) + 2 * _gaussian_radius(transform.sigma)
    if name == "ZoomBlur":
        return 2  # towards the centre, with rounded sizes
    radius = int(max(transform.blur_limit)) // 2 + 1
    if name in ("GaussianBlur", "UnsharpMask"):
        radius = max(radius, _gaussian_radius(max(transform.sigma_limit)))
    return 2 * radius if name == "UnsharpMask" else radius


def _gaussian_radius(sigma: float) -> int:
    """Return the radius in pixels of a Gaussian kernel of width sigma: 3.5 to 4 sigmas."""
    return int(4 * sigma) + 1


def painted_numbers(transform: Any) -> Iterator[tuple[str, str, float]]:
    """Yield (transform, parameter, number) for each number that a pipeline paints into masks."""
    for part in getattr(transform, "transforms", ()):
        if type(part).__name__ in _PAINTERS:
            for word in ("fill_mask", "mask_drop_value"):
                value = getattr(part, word, None)
                values = value if isinstance(value, (tuple, list)) else () if value is None else (value,)
                yield from ((type(part).__name__, word, number) for number in values)
        yield from painted_numbers(part)

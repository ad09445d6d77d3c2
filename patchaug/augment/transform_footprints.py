"""What is known of the transforms of albumentations 2.0.8: which pixels each of them looks at."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# These paint over pixels on purpose, and over class numbers where they are told to.
_PAINTERS = _names("CoarseDropout ConstrainedCoarseDropout Erasing GridDropout PixelDropout XYMasking")
# Each pixel from itself alone (and from statistics of the whole picture).
PLACES = _PAINTERS | _names("""
    NoOp HorizontalFlip VerticalFlip AdditiveNoise AutoContrast CLAHE ChannelDropout ChannelShuffle ColorJitter
    Equalize FancyPCA FromFloat GaussNoise HEStain HueSaturationValue ISONoise Illumination InvertImg
    MultiplicativeNoise Normalize PlanckianJitter PlasmaBrightnessContrast PlasmaShadow Posterize RGBShift
    RandomBrightnessContrast RandomGamma RandomToneCurve SaltAndPepper ShotNoise Solarize ToFloat ToGray ToRGB ToSepia
""")
# The same, on a square: rows become columns.
SQUARE = _names("RandomRotate90 Transpose D4 SquareSymmetry")
# Pixels from anywhere in the picture, but none from outside (see `corners`).
EVERYTHING = _names("Perspective RandomGridShuffle")
# A patch has its size from the sampler.
CHANGES_SIZE = _names("""
    AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop CenterCrop Crop CropAndPad CropNonEmptyMaskIfExists LongestMaxSize Pad
    PadIfNeeded RandomCrop RandomCropFromBorders RandomCropNearBBox RandomResizedCrop RandomSizedBBoxSafeCrop
    RandomSizedCrop Resize SmallestMaxSize
""")
# Pixels around each pixel.
NEIGHBOURS = _names("""
    AdvancedBlur Blur Defocus Downscale Emboss GaussianBlur GlassBlur ImageCompression MedianBlur MotionBlur
    RingingOvershoot Sharpen UnsharpMask ZoomBlur
""")

# Further pixels that INTER_CUBIC and INTER_LANCZOS4 look at; the others look at two.
BEYOND = {2: 1.0, 4: 3.0}


def corners(transform: Any) -> float:
    """Pixels at the border of a Perspective's result that may show what lies outside of the picture.

    It maps the picture's edges, not the centres of its outermost pixels, onto a quadrangle whose corners lie in the
    outer 0.32 of each side: what is made of the last column may lie up to a pixel beyond it. From an edge of the result
    inwards, the place in the picture moves by 0.08 px a pixel at least (by 0.25 in a square); searched over all
    extreme quadrangles and random ones, for sides of up to 1 : 50.
    """
    return 14 + 12 * BEYOND.get(int(transform.interpolation), 0.0)


def neighbours(transform: Any, name: str) -> int:
    """Pixels around each pixel that a filter looks at, at most."""
    if name == "Defocus":
        return max(8, int(transform.radius[1])) + 3  # a disc on a grid of 17 px at least, softened
    if name == "Downscale":
        return ceil(2 / float(transform.scale_range[0]))
    if name == "ImageCompression":
        return 16  # JPEG's blocks, with the colours at half resolution
    if name == "Emboss":
        return 1
    if name == "Sharpen":
        return 1 if transform.method == "kernel" else max(int(transform.kernel_size) // 2, _of_sigma(transform.sigma))
    if name == "GlassBlur":
        return int(transform.iterations) * int(transform.max_delta) + 2 * _of_sigma(transform.sigma)
    if name == "ZoomBlur":
        return 2  # towards the centre; sizes are rounded
    radius = int(max(transform.blur_limit)) // 2 + 1
    if name in ("GaussianBlur", "UnsharpMask"):
        radius = max(radius, _of_sigma(max(transform.sigma_limit)))
    return 2 * radius if name == "UnsharpMask" else radius


def _of_sigma(sigma: float) -> int:
    """Radius of a Gaussian kernel whose size follows from its width: 3.5 to 4 sigmas."""
    return int(4 * sigma) + 1


def painted(transform: Any) -> Iterator[tuple[str, str, float]]:
    """The numbers that a pipeline paints into masks on purpose: names of transform and parameter, and the number."""
    for part in getattr(transform, "transforms", ()):
        if type(part).__name__ in _PAINTERS:
            for word in ("fill_mask", "mask_drop_value"):
                value = getattr(part, word, None)
                values = value if isinstance(value, (tuple, list)) else () if value is None else (value,)
                yield from ((type(part).__name__, word, number) for number in values)
        yield from painted(part)

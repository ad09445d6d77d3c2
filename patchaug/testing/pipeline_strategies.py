"""Hypothesis strategy for albumentations pipelines with a known halo."""

from __future__ import annotations

from typing import Any

import albumentations as alb
from hypothesis import strategies as st

INTERPOLATIONS = [0, 1, 2, 3, 4]  # OpenCV's nearest, linear, cubic, area, Lanczos


@st.composite
def geometric(draw: st.DrawFn) -> Any:
    """Draw a transform that moves pixels with probability 1; invented pixels would be 0."""
    how: dict[str, Any] = {"p": 1, "interpolation": draw(st.sampled_from(INTERPOLATIONS)), "border_mode": 0}
    fraction, angle = draw(st.floats(0, 0.12)), draw(st.integers(0, 180))
    low, high = draw(st.floats(0.7, 1)), draw(st.floats(1, 1.5))
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return alb.Rotate((-angle, angle), **how)
    if kind == 1:
        return alb.Affine(
            scale={"x": (low, high), "y": (low, 1)}, rotate=(-angle, angle), shear={"x": (-15, 15), "y": (0, 10)},
            translate_px=(-draw(st.integers(0, 9)), 5), **how,
        )  # fmt: skip
    if kind == 2:
        return alb.Affine(scale=(low, high), translate_percent=(-fraction, fraction), **how)
    if kind == 3:
        return alb.SafeRotate((-angle, angle), **how)
    if kind == 4:
        return alb.ElasticTransform(alpha=draw(st.integers(1, 30)), sigma=draw(st.integers(1, 9)), **how)
    if kind == 5:
        return alb.GridDistortion(draw(st.integers(1, 6)), fraction, normalized=draw(st.booleans()), **how)
    if kind == 6:
        return alb.OpticalDistortion(3 * fraction, mode=draw(st.sampled_from(["camera", "fisheye"])), **how)
    if kind == 7:
        return alb.RandomScale((low - 1, high - 1), p=1, interpolation=how["interpolation"])
    if kind == 8:
        return alb.ShiftScaleRotate(fraction, (low - 1, high - 1), (-angle, angle), **how)
    return draw(st.sampled_from([alb.D4(p=1), alb.Transpose(p=1), alb.RandomRotate90(p=1), alb.HorizontalFlip(p=1)]))


@st.composite
def filters(draw: st.DrawFn) -> Any:
    """Draw a neighbourhood filter that leaves an image of one colour unchanged."""
    odd = 2 * draw(st.integers(1, 7)) + 1
    return draw(
        st.sampled_from(
            [
                alb.Blur((3, odd), p=1),
                alb.MedianBlur((3, odd), p=1),
                alb.GaussianBlur(sigma_limit=(0.3, odd / 3), p=1),
                alb.MotionBlur((3, odd), p=1),
                alb.GlassBlur(max_delta=2, p=1),
                alb.ZoomBlur(p=1),
                alb.UnsharpMask((3, odd), p=1),
                alb.Downscale((0.3, 0.6), p=1),
            ]
        )
    )


@st.composite
def pipelines(draw: st.DrawFn, *, depth: int = 3) -> Any:
    """Draw nested Compose, Sequential, OneOf and SomeOf of up to three parts; Perspective may come first only.

    Args:
        depth: Maximum nesting of compositions.

    Examples:
        >>> from hypothesis import given, settings
        >>> @settings(max_examples=2, database=None, deadline=None)
        ... @given(pipelines(depth=1))
        ... def test_halo_is_known(pipeline):
        ...     assert min(Augment(pipeline).needed(64, 64)) >= 0
        >>> test_halo_is_known()
    """
    parts = [
        draw(pipelines(depth=depth - 1))
        if depth > 1 and draw(st.integers(0, 3)) == 0
        else draw(geometric() | filters())
        for _ in range(draw(st.integers(1, 3)))
    ]
    kind = draw(st.sampled_from(["Compose", "Sequential", "OneOf", "SomeOf"]))
    if kind == "OneOf":
        return alb.OneOf(parts, p=1)
    if kind == "SomeOf":
        return alb.SomeOf(parts, n=draw(st.integers(1, len(parts))), replace=draw(st.booleans()), p=1)
    if kind == "Sequential":
        return alb.Sequential(parts, p=1)
    how: dict[str, Any] = {"interpolation": draw(st.sampled_from(INTERPOLATIONS)), "border_mode": 0}
    corner = draw(st.floats(0.01, 0.5))
    first = [alb.Perspective((0.01, corner), p=1, **how)] if depth == 3 and draw(st.booleans()) else []
    return alb.Compose([*first, *parts])

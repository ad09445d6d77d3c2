"""Blocks of slides for fastai's `DataBlock`, and the transforms that make lazy items of sources.

fastai's pipelines need one object for each element of the tuple, so a slide is two lazy items, image and mask. They
hold sources, not pixels; `PatchDL` pairs them into a `Slide` and yields copies for one window.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.data.block import TransformBlock
from fastai.data.transforms import IntToFloatTensor
from fastai.vision.core import TensorImage, TensorMask
from fasttransform import Transform

from patchaug.core.arrays import Array
from patchaug.core.class_codes import ClassCodes
from patchaug.core.validation import refuses_old_names
from patchaug.data.image_pixels import ImagePixels
from patchaug.data.reusable_memory import reusable_memory
from patchaug.data.slide_items import LazySlideItem, SlideImage, SlideMask, name_of, place_of, region_for, source_of
from patchaug.fastai2.losses import SlideCrossEntropy
from patchaug.fastai2.mask_display import ClassColours
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.pixels import TensorChannels
from patchaug.readers import Raster
from patchaug.slides.slide import Slide

_SOURCES = (int, type(None), dict, list, str, os.PathLike, Path, np.ndarray, torch.Tensor, Raster, Slide)


class OpenSlideImage(Transform):
    """Convert a path or array to a `SlideImage`; the file is opened later."""

    input_types = _SOURCES  # types that `test_dl` accepts, beside that of the training items

    def __init__(
        self, ram: int | str = "auto", mpp: float | tuple[float, float] | None = None,
        pixels: ImagePixels | None = None, region: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.ram, self.mpp, self.region = ram, mpp, region
        self.pixels = ImagePixels() if pixels is None else pixels

    def encodes(self, source: Any) -> SlideImage:
        """Wrap the source; fastai calls this for every type."""
        own = source.mpp if isinstance(source, LazySlideItem) else None  # of one slide, as a data frame gives it
        place = place_of(source)
        if place.get("region") is None:
            place["region"] = region_for(self.region, source)
        return SlideImage(
            source_of(source), pixels=self.pixels, ram=self.ram, mpp=own or self.mpp, name=name_of(source), **place
        )


class OpenSlideMask(Transform):
    """Convert a path or array to a `SlideMask`; the file is opened later."""

    input_types = _SOURCES

    def __init__(
        self, codes: Any = None, ignore_index: int | None = None, ram: int | str = "auto", **polygons: Any
    ) -> None:
        super().__init__()
        self.codes, self.ignore_index, self.ram, self.polygons = codes, ignore_index, ram, polygons
        if codes is not None:
            self.vocab, self.c = list(codes), len(codes)  # found from here as dls.vocab and dls.c
        # The learner takes its default loss from here (fastai's OpenMask does the same).
        self.loss_func = SlideCrossEntropy(ignore_index)

    def encodes(self, source: Any) -> SlideMask:
        """Wrap the source; fastai calls this for every type."""
        return SlideMask(
            source_of(source), codes=self.codes, ignore_index=self.ignore_index, ram=self.ram, **self.polygons
        )


class PatchToFloat(IntToFloatTensor):
    """Convert images to float and masks to int64: fastai's `IntToFloatTensor`, with the same numbers, but faster.

    On the CPU it uses NumPy in one thread. fastai starts as many workers as there are cores, and torch's threads would
    wait milliseconds for a core.
    """

    def encodes(self, o: TensorImage) -> Any:  # noqa: D102
        if o.device.type != "cpu" or o.dtype != torch.uint8:
            return o.float().div_(self.div)
        return torch.from_numpy(_divided(o.numpy(), np.float32(self.div)))

    def encodes(self, o: TensorChannels) -> Any:  # type: ignore[no-redef]  # noqa: D102, F811
        if o.dtype != torch.uint8:
            return o  # floats are scaled when they are read
        if o.device.type != "cpu":
            return o.float().div_(self.div)
        return torch.from_numpy(_divided(o.numpy(), np.float32(self.div)))

    def encodes(self, o: TensorMask) -> Any:  # type: ignore[no-redef]  # noqa: D102, F811 - fastai dispatches on both
        if self.div_mask != 1:
            return (o.long() / self.div_mask).long()
        if o.device.type != "cpu":
            return o.long()
        if not o.is_contiguous():
            return torch.from_numpy(o.numpy().astype(np.int64))
        numbers = reusable_memory.like(o.numpy(), np.int64)
        np.copyto(numbers, o.numpy(), casting="unsafe")
        return torch.from_numpy(numbers)


def _divided(pixels: Array, divisor: Any) -> Array:
    """Return 8-bit pixels divided by a number, float32 with their strides."""
    if pixels.ndim < 2 or not pixels.flags.c_contiguous:
        divided: Array = np.divide(pixels, divisor, dtype=np.float32)
        return divided
    floats = reusable_memory.like(pixels, np.float32)
    for source, target in zip(pixels, floats, strict=True):  # one image, which the processor's cache holds
        np.copyto(target, source)
        np.divide(target, divisor, out=target)
    return floats


def SlideBlock(  # noqa: N802 - fastai's blocks are named like classes
    ram: int | str = "auto",
    mpp: float | tuple[float, float] | None = None,
    *,
    channels: Any = None,
    series: int | str | None = None,
    scale: Any = None,
    region: Any = None,
) -> TransformBlock:
    """Make a block for slides: items are paths or arrays, batches hold images, float32 (n, channels, height, width).

    Args:
        ram: Budget for decoded pixels, see `open_slide`.
        mpp: Micrometres per pixel at level 0 of all slides, for files that store none or a wrong value.
        channels: Channels to read and their order, by number or name; default: all of them.
        series: Picture of files that hold several, by number or name.
        scale: (low, high), the values that become 0 and 1, or one pair a channel. Optional for uint8, where it is
            (0, 255); other pixels need it, and `patchaug stats` measures it.
        region: Where windows are drawn, see `open_slide`: the same for all slides, such as "tissue", or a function that
            returns the region of a path or array.

    Returns:
        The block; 8-bit images lie in 0..1, others where `scale` puts them.

    Examples:
        >>> from patchaug.fastai import SlideBlock
        >>> SlideBlock(ram="2GB").dl_type.__name__
        'PatchDL'
    """
    pixels = ImagePixels(channels, series, scale)
    return TransformBlock(type_tfms=OpenSlideImage(ram, mpp, pixels, region), batch_tfms=PatchToFloat, dl_type=PatchDL)


@refuses_old_names
def SlideMaskBlock(  # noqa: N802 - as above
    codes: Any = None, *, ignore_index: int | None = None, ram: int | str = "auto", outside: str | int | None = None,
    label: str = "classification", invalid: str = "raise",
) -> TransformBlock:  # fmt: skip
    """Make a block for the masks of slides: batches hold class numbers, int64 (n, height, width).

    Args:
        codes: Class names in the order of the mask's integers, or a mapping from name to what the files hold, see
            `open_slide`; any other value is an error before training.
        ignore_index: Integer that means "no label"; the default loss, `SlideCrossEntropy`, ignores such pixels.
        ram: Budget for decoded pixels, see `open_slide`.
        outside: What no polygon covers: a class name, or `ignore_index`.
        label: Property of polygons that holds the class.
        invalid: What to do with bad polygons: "raise", "skip" or "repair".

    Returns:
        The block.

    Raises:
        OptionError: The codes are neither a list of names nor a mapping, see `open_slide`.

    Examples:
        >>> from patchaug.fastai import SlideMaskBlock
        >>> SlideMaskBlock(["background", "nucleus"], ignore_index=255).type_tfms[0].c
        2
    """
    classes = ClassCodes.of(codes)
    if classes is not None:
        codes = classes.as_given()
    return TransformBlock(
        type_tfms=OpenSlideMask(codes, ignore_index, ram, outside=outside, label=label, invalid=invalid),
        item_tfms=ClassColours(None if classes is None else list(classes.names), ignore_index),
        batch_tfms=PatchToFloat,
        dl_type=PatchDL,
    )

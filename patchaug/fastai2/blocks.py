"""Slides as fastai items: handles that wait for their window, and the blocks that make them.

fastai's pipelines want one object per element of the tuple, so a slide travels as two handles, image and mask. They
carry sources, not pixels; `PatchDL` pairs them into a `Slide` and hands out copies that know their draw.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.data.block import TransformBlock
from fastai.data.transforms import IntToFloatTensor
from fastai.losses import CrossEntropyLossFlat
from fastai.vision.core import AddMaskCodes, TensorImage, TensorMask
from fasttransform import Transform

from patchaug.core.validation import refuses_old_names
from patchaug.data.slide_items import SlideImage, SlideMask, name_of, source_of
from patchaug.errors import OptionError
from patchaug.fastai2.crop_halo import CropHalo
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.readers import Raster
from patchaug.slides.slide import Slide

_SOURCES = (str, os.PathLike, Path, np.ndarray, torch.Tensor, Raster, Slide)


class OpenSlideImage(Transform):
    """Type transform: a path or array becomes a `SlideImage`; no file is opened yet."""

    input_types = _SOURCES  # what `test_dl` accepts, beside the training items' own type

    def __init__(self, ram: int | str = "auto", mpp: float | tuple[float, float] | None = None) -> None:
        super().__init__()
        self.ram, self.mpp = ram, mpp

    def encodes(self, source):  # noqa: ANN001, ANN201 - fastai dispatches on annotations; none means every type
        """A handle of the source."""
        return SlideImage(source_of(source), ram=self.ram, mpp=self.mpp, name=name_of(source))


class OpenSlideMask(Transform):
    """Type transform: a path or array becomes a `SlideMask`; no file is opened yet."""

    input_types = _SOURCES

    def __init__(self, codes: Any = None, ignore_index: int | None = None, ram: int | str = "auto") -> None:
        super().__init__()
        self.codes, self.ignore_index, self.ram = codes, ignore_index, ram
        if codes is not None:
            self.vocab, self.c = codes, len(codes)  # found from here as dls.vocab and dls.c
        # The learner takes its default loss from here (fastai's OpenMask does the same).
        ignored = {} if ignore_index is None else {"ignore_index": ignore_index}
        self.loss_func = CrossEntropyLossFlat(axis=1, **ignored)

    def encodes(self, source):  # noqa: ANN001, ANN201 - as above
        """A handle of the source."""
        return SlideMask(source_of(source), codes=self.codes, ignore_index=self.ignore_index, ram=self.ram)


class PatchToFloat(IntToFloatTensor):
    """fastai's `IntToFloatTensor`, the same numbers, without its detour through floats for masks left as they are.

    On the CPU by NumPy, in one thread: fastai starts as many workers as there are cores, and each step that torch
    shares out among its own threads then waits until the system takes a core from a worker, for milliseconds.
    """

    def encodes(self, o: TensorImage):  # noqa: ANN201, D102 - as above
        if o.device.type != "cpu" or o.dtype != torch.uint8:
            return o.float().div_(self.div)
        return torch.from_numpy(np.divide(o.numpy(), np.float32(self.div), dtype=np.float32))

    def encodes(self, o: TensorMask):  # noqa: ANN201, D102, F811 - fastai collects them by annotation
        if self.div_mask != 1:
            return (o.long() / self.div_mask).long()
        return o.long() if o.device.type != "cpu" else torch.from_numpy(o.numpy().astype(np.int64))


def SlideBlock(  # noqa: N802 - fastai's blocks are named like classes
    ram: int | str = "auto", mpp: float | tuple[float, float] | None = None
) -> TransformBlock:
    """A block for slides: items are paths or arrays, batches hold float images (n, 3, height, width) in 0..1.

    Args:
        ram: Budget for decoded pixels, see `open_slide`.
        mpp: Micrometres per pixel at level 0 of all slides, where the files do not say so or are wrong.
    """
    return TransformBlock(type_tfms=OpenSlideImage(ram, mpp), batch_tfms=[PatchToFloat, CropHalo], dl_type=PatchDL)


@refuses_old_names
def SlideMaskBlock(  # noqa: N802 - as above
    codes: Any = None, *, ignore_index: int | None = None, ram: int | str = "auto"
) -> TransformBlock:
    """A block for the masks of slides: batches hold class numbers, int64 (n, height, width).

    Args:
        codes: Class names in the order of the mask's integers; any other number is an error before training.
        ignore_index: Integer that means "no label"; the default loss leaves such pixels out.
        ram: Budget for decoded pixels, see `open_slide`.

    Raises:
        OptionError: The codes are no list of names.
    """
    if codes is not None:
        if isinstance(codes, str):
            raise OptionError(f"codes must be a list of class names, got the text {codes!r}")
        codes = [str(code) for code in codes]
    return TransformBlock(
        type_tfms=OpenSlideMask(codes, ignore_index, ram),
        item_tfms=AddMaskCodes(codes=codes),
        batch_tfms=PatchToFloat,
        dl_type=PatchDL,
    )

"""Masks of slides for fastai 1: a `SegmentationLabelList` that reads through the windows of the images."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fastai.vision.data import SegmentationLabelList, SegmentationProcessor
from fastai.vision.image import ImageSegment, plt

from patchaug.core.class_codes import ClassCodes
from patchaug.core.validation import refuses_old_names
from patchaug.data.item_list import as_items
from patchaug.errors import OptionError
from patchaug.fastai1.losses import SlideCrossEntropy

_COLOURS = 20  # of matplotlib's tab20, one for each class number, the same in all pictures


class MaskImage(ImageSegment):
    """Show a mask without its class 0, which is the background by convention: the picture below stays visible."""

    def show(
        self, ax: Any = None, figsize: tuple[float, float] = (3, 3), title: str | None = None, hide_axis: bool = True,
        cmap: str = "tab20", alpha: float = 0.5, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Draw the mask, see fastai's `ImageSegment.show`."""
        numbers = self.data[0].cpu().numpy()
        labelled = np.ma.masked_where(numbers == 0, numbers % _COLOURS)
        limits = {"vmin": 0, "vmax": _COLOURS - 1, **kwargs}
        if ax is None:
            _, ax = plt.subplots(figsize=figsize)
        ax.imshow(labelled, cmap=cmap, alpha=alpha, interpolation="nearest", **limits)
        if hide_axis:
            ax.axis("off")
        if title:
            ax.set_title(title)


class SlideMaskProcessor(SegmentationProcessor):
    """Store classes and ignore_index in an exported file."""

    def __init__(self, ds: SlideMaskList) -> None:
        super().__init__(ds)
        self.ignore_index = ds.ignore_index

    def process(self, ds: SlideMaskList) -> None:
        """Set classes and ignore_index of a list."""
        super().process(ds)
        ds.ignore_index = self.ignore_index


class SlideMaskList(SegmentationLabelList):
    """List the masks of a `SlideItemList`, which reads them together with the images.

    Args:
        items: Paths or arrays.
        classes: Names of the classes, in the order of the mask's integers, or a mapping from name to what the files
            hold; any other value is an error.
        ignore_index: Integer that means "no label"; the default loss ignores such pixels.
        outside: What no polygon covers: a class name, or `ignore_index`.
        label: Property of polygons that holds the class.
        invalid: What to do with bad polygons: "raise", "skip" or "repair".
        codes: The same as classes, with what the files hold; fastai copies lists with it.

    Raises:
        OptionError: The classes are missing, or an item is not a mask.
    """

    _processor = SlideMaskProcessor

    @refuses_old_names
    def __init__(
        self, items: Any, classes: Any = None, ignore_index: int | None = None, outside: str | int | None = None,
        label: str = "classification", invalid: str = "raise", codes: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        if isinstance(classes, str) or (classes is None and len(items)):
            raise OptionError(
                f"masks need the names of their classes, as classes=['background', 'nucleus']; got {classes!r}"
            )
        self.codes = ClassCodes.of(classes if codes is None else codes)  # fastai hands names on as classes
        super().__init__(
            as_items(items, masks=True), classes=None if self.codes is None else list(self.codes.names), **kwargs
        )
        self.ignore_index, self.outside, self.label, self.invalid = ignore_index, outside, label, invalid
        self.copy_new += ["ignore_index", "outside", "label", "invalid", "codes"]
        self.loss_func = SlideCrossEntropy(ignore_index)

    def get(self, i: int) -> Any:
        """Return the mask of window i, float32 (1, height, width); of unprocessed masks the source."""
        if self.x is None or self.x.plan is None:
            return self.items[i]
        # float32, as fastai 1 transforms masks; it holds every class number below 2^24.
        return MaskImage(torch.from_numpy(self.x.patch_at(i).mask.astype(np.float32))[None])

    def reconstruct(self, t: torch.Tensor) -> MaskImage:
        """Return the mask of a target or a prediction, class numbers (1, height, width)."""
        return MaskImage(t)

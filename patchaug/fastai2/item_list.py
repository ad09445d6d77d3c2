"""fastai 1's data block methods on fastai 2: `SlideItemList`, a thin builder over `SlideDataLoaders`.

    data = (SlideItemList.from_folder(path, patch=PatchOptions(512, per_slide=64))
            .split_by_rand_pct(0.2, seed=42)
            .label_from_func(mask_of, classes=codes)
            .transform(get_transforms(flip_vert=True), tfm_y=True)
            .databunch(bs=8))

It collects slides, masks and options, and passes them on; windows are made by the loaders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from fastai.data.core import DataLoaders
from fastai.data.transforms import Normalize
from fastai.vision.augment import aug_transforms
from fastcore.foundation import L

from patchaug.augment import as_augment
from patchaug.core.arguments import names_arguments, names_arguments_of_init
from patchaug.core.validation import refuses_old_names
from patchaug.data.item_list import SlideListMixin, as_items, column, require_apart, require_as_many, require_patch
from patchaug.data.slide_items import source_of
from patchaug.errors import OptionError
from patchaug.fastai2.dataloaders import SlideDataLoaders
from patchaug.fastai2.random_patch import RandomPatch
from patchaug.slides.slide import Codes

_ORDER = "the order is SlideItemList.from_...(), .split_by_...(), .label_from_...(), .transform(), .databunch()"


class SlideDataBunch(DataLoaders):
    """`DataLoaders` with fastai 1's attribute names too.

    Attributes:
        train_dl, valid_dl: The loaders, `train` and `valid` of fastai 2.
        classes: Names of the classes, `vocab` of fastai 2.

    Examples:
        >>> from patchaug import PatchOptions
        >>> mask_of = lambda image: image.with_name(f"{image.stem}_mask.tiff")
        >>> data = (SlideItemList.from_folder("slides", patch=PatchOptions(64)).split_by_rand_pct(0.34, seed=42)
        ...         .label_from_func(mask_of, classes=["background", "nucleus"]).databunch(bs=1, num_workers=0))
        >>> isinstance(data, SlideDataBunch), len(data.train_dl)
        (True, 2)
    """

    @property
    def train_dl(self) -> Any:
        """The loader of the training slides."""
        return self.train

    @property
    def valid_dl(self) -> Any:
        """The loader of the validation slides."""
        return self.valid

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the mask's integers."""
        return list(self.train.vocab)

    def normalize(self, stats: Any = None) -> SlideDataBunch:
        """Normalize images, by (mean, std) for each channel, or by those of the first training batch."""
        norm = Normalize() if stats is None else Normalize.from_stats(*stats)
        if stats is None:
            norm.setup(self.train)
        self.add_tfms([norm], "after_batch")
        return self


class _Stage:
    """One step of the builder; a method of another step raises an error that lists the order."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("split_", "label_", "transform", "databunch", "dataloaders")):
            raise OptionError(f"{name} is not available at this point; {_ORDER}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


@names_arguments_of_init
class SlideItemList(SlideListMixin, _Stage):
    """List slides with the methods of fastai 1; see `SlideListMixin` for `from_*` and `split_by_*`.

    Args:
        items: Paths, arrays, open slides.
        path: Folder that relative paths of data frames and the learner's files start from.
        patch: The windows, a `PatchOptions`.
        augment: A transform or Compose of albumentations, or an `Augment`, for the training slides; see `RandomPatch`.
        ram: Budget for decoded pixels, see `open_slide`.
        inner_df: The data frame that the slides came from.

    Raises:
        OptionError: An item is not a slide, or `augment` is not a transform of albumentations.

    Examples:
        >>> import numpy as np
        >>> from patchaug import PatchOptions
        >>> from patchaug.fastai import SlideItemList
        >>> images = [np.full((64, 96, 3), value, np.uint8) for value in (0, 1)]
        >>> mask = np.zeros((64, 96), np.uint8)
        >>> data = (
        ...     SlideItemList.from_arrays(images, patch=PatchOptions(32, per_slide=8))
        ...     .split_by_idx([1])
        ...     .label_from_func(lambda image: mask, classes=["a", "b"])
        ...     .databunch(bs=4, num_workers=0)
        ... )
        >>> data.classes, len(data.train_dl)
        (['a', 'b'], 2)
    """

    def __init__(
        self, items: Iterable[Any], path: str | os.PathLike[str] = ".", *, patch: Any = None, augment: Any = None,
        ram: int | str = "auto", inner_df: Any = None,
    ) -> None:  # fmt: skip
        self.items, self.path = as_items(items), Path(path)
        self.patch, self.ram, self.inner_df = patch, ram, inner_df
        self.augment = as_augment(augment, "auto" if patch is None else patch.halo)

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"SlideItemList({len(self)} slides, {self.patch})"

    def split_by_idxs(self, train_idx: Sequence[int], valid_idx: Sequence[int]) -> SlideItemLists:
        """Split by the numbers of the slides."""
        return SlideItemLists(self._some(train_idx), self._some(valid_idx))

    def split_by_list(self, train: SlideItemList, valid: SlideItemList) -> SlideItemLists:
        """Split into two lists that were made before.

        Raises:
            OptionError: A slide is in both lists.
        """
        require_apart(train.items, valid.items)
        return SlideItemLists(train, valid)

    def _some(self, numbers: Sequence[int]) -> SlideItemList:
        frame = None if self.inner_df is None else self.inner_df.iloc[list(numbers)]
        return SlideItemList(
            self.items[list(numbers)], self.path, patch=self.patch, augment=self.augment, ram=self.ram, inner_df=frame
        )  # fmt: skip


class SlideItemLists(_Stage):
    """Hold training and validation slides until they are labelled."""

    def __init__(self, train: SlideItemList, valid: SlideItemList) -> None:
        self.train, self.valid = train, valid

    def label_from_func(self, func: Callable[[Any], Any], **labels: Any) -> LabelledSlides:
        """Label each slide by a function of its path or array; `classes` as in `label_from_lists`."""
        masks = ([func(source_of(item)) for item in one.items] for one in (self.train, self.valid))
        return self.label_from_lists(*masks, **labels)

    def label_from_df(self, cols: int | str = 1, **labels: Any) -> LabelledSlides:
        """Label with paths from a column of the data frame, below `path`."""
        masks = ([one.path / name for name in column(one.inner_df, cols)] for one in (self.train, self.valid))
        return self.label_from_lists(*masks, **labels)

    @refuses_old_names
    def label_from_lists(
        self, train_labels: Iterable[Any], valid_labels: Iterable[Any], *, classes: Codes,
        ignore_index: int | None = None, **polygons: Any,
    ) -> LabelledSlides:  # fmt: skip
        """Label with one mask for each slide: paths or arrays.

        Args:
            train_labels: Masks of the training slides.
            valid_labels: Masks of the validation slides.
            classes: Class names, or a mapping from name to what the files hold, see `open_slide`.
            ignore_index: Integer that means "no label".
            **polygons: `outside`, `label` and `invalid` of `open_slide`.

        Raises:
            OptionError: The numbers of slides and masks differ.
        """
        masks = as_items(train_labels, masks=True), as_items(valid_labels, masks=True)
        for side, labels in zip((self.train, self.valid), masks, strict=True):
            require_as_many(side.items, labels)
        return LabelledSlides(self, *masks, classes, ignore_index, **polygons)


class LabelledSlides(_Stage):
    """Hold slides with masks, until batch transforms and batch size are set."""

    def __init__(
        self,
        slides: SlideItemLists,
        train_masks: Any,
        valid_masks: Any,
        classes: Codes,
        ignore_index: int | None,
        **polygons: Any,
    ) -> None:
        self.slides, self.masks = slides, (train_masks, valid_masks)
        self.classes, self.ignore_index, self.polygons = classes, ignore_index, polygons
        self.batch_tfms: list[Any] = []

    def transform(self, tfms: Any = None, *, tfm_y: bool = False) -> LabelledSlides:
        """Set batch transforms: a list of them, or a pair of lists from `get_transforms`.

        Raises:
            OptionError: `tfm_y` is false, or the validation slides have transforms.
        """
        train, valid = tfms if _is_pair(tfms) else (tfms, None)
        if L(valid):
            raise OptionError("on fastai 2 each transform decides whether it runs on validation slides; pass one list")
        if L(train) and not tfm_y:
            raise OptionError("transforms would move images without their masks: set tfm_y=True")
        self.batch_tfms = list(L(train))
        return self

    def databunch(self, path: str | os.PathLike[str] | None = None, **kwargs: Any) -> SlideDataBunch:
        """Make the loaders; arguments such as bs and num_workers go to them.

        Raises:
            PatchaugError: A slide cannot be opened, or its windows are impossible.
        """
        sides = (self.slides.train, self.slides.valid)
        start = sides[0]
        require_patch(start.patch)
        windows = RandomPatch.from_options(start.patch, augment=start.augment)
        pairs = [list(zip(one.items, masks, strict=True)) for one, masks in zip(sides, self.masks, strict=True)]
        dls = SlideDataLoaders.from_lists(
            pairs[0], pairs[1], codes=self.classes, ignore_index=self.ignore_index, item_tfms=windows,
            batch_tfms=self.batch_tfms, ram=start.patch.ram if start.ram == "auto" else start.ram,
            path=start.path if path is None else path, **self.polygons, **kwargs,
        )  # fmt: skip
        return SlideDataBunch(*dls.loaders, path=dls.path, device=dls.device)

    dataloaders = databunch


@names_arguments
def get_transforms(
    do_flip: bool = True, flip_vert: bool = False, max_rotate: float = 10.0, max_zoom: float = 1.1,
    max_lighting: float = 0.2, max_warp: float = 0.2, p_affine: float = 0.75, p_lighting: float = 0.75,
    xtra_tfms: list[Any] | None = None,
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """Make fastai 1's pair of lists, for training and validation slides, by fastai 2's `aug_transforms`."""
    made = aug_transforms(
        do_flip=do_flip, flip_vert=flip_vert, max_rotate=max_rotate, max_zoom=max_zoom, max_lighting=max_lighting,
        max_warp=max_warp, p_affine=p_affine, p_lighting=p_lighting, xtra_tfms=xtra_tfms,
    )  # fmt: skip
    return list(made), []


def _is_pair(tfms: Any) -> bool:
    return isinstance(tfms, (tuple, list)) and len(tfms) == 2 and all(isinstance(t, (tuple, list)) for t in tfms)

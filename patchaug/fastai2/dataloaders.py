"""`SlideDataLoaders`: slides and masks to DataLoaders in one call, in the words of fastai's own factories."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastai.data.block import DataBlock, TransformBlock
from fastai.data.core import DataLoaders
from fastai.data.transforms import IndexSplitter, RandomSplitter
from fastcore.foundation import L

from patchaug.core.validation import SEED, refuses_old_names
from patchaug.data.item_list import column, require_apart, validation_count
from patchaug.data.region_parts import open_parts
from patchaug.data.slide_items import LazySlideItem
from patchaug.errors import OptionError
from patchaug.fastai2.blocks import SlideBlock, SlideMaskBlock
from patchaug.fastai2.random_patch import RandomPatch
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pairing import find_masks
from patchaug.slides.slide import Codes
from patchaug.slides.split_region import Guard

# Arguments of the factories that `open_slide` has too.
_OPENING = "codes", "ignore_index", "outside", "label", "invalid", "ram", "mpp", "channels", "series", "region"


class Pair(NamedTuple):
    """One item: a slide and its mask. A named tuple, since fastai applies transforms to each element of a plain one."""

    image: Any
    mask: Any


class SlideDataLoaders(DataLoaders):
    """Make loaders for segmentation on slides.

    All factories accept `codes` (class names in the order of the mask's integers, or a mapping from name to what files
    hold), `ignore_index` (the integer that means "no label"), `outside`, `label` and `invalid` of polygons, `ram` and
    `mpp` (see `open_slide`), `region` of `SlideBlock`, `batch_tfms`, and `channels`, `series` and `scale` of
    `SlideBlock`, which default to those of the options. The windows are `options=PatchOptions(...)` or
    `item_tfms=RandomPatch(...)`. Further arguments, such as bs and num_workers, go to the loaders. The split is by
    slide, or by its parts: windows of validation slides are never trained on.

    Examples:
        >>> import numpy as np
        >>> from patchaug import PatchOptions
        >>> from patchaug.fastai import SlideDataLoaders
        >>> image, mask = np.zeros((64, 96, 3), np.uint8), np.zeros((64, 96), np.uint8)
        >>> dls = SlideDataLoaders.from_lists(
        ...     [(image, mask)], [(image.copy(), mask)], codes=["a", "b"], options=PatchOptions(32, per_slide=8), bs=4,
        ...     num_workers=0,
        ... )
        >>> images, masks = dls.one_batch()
        >>> tuple(images.shape), tuple(masks.shape)
        ((4, 3, 32, 32), (4, 32, 32))
    """

    @classmethod
    @refuses_old_names
    def from_lists(
        cls,
        train: Sequence[tuple[Any, Any]],
        valid: Sequence[tuple[Any, Any]],
        *,
        codes: Codes | None = None,
        ignore_index: int | None = None,
        outside: str | int | None = None,
        label: str = "classification",
        invalid: str = "raise",
        options: Any = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        ram: int | str = "auto",
        mpp: float | tuple[float, float] | None = None,
        channels: Any = None,
        series: int | str | None = None,
        scale: Any = None,
        region: Any = None,
        path: str | os.PathLike[str] = ".",
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from (image, mask) pairs of paths or arrays, for training and for validation.

        An open `Slide` with a mask may be both elements, (slide, slide).

        Raises:
            OptionError: A list is empty, or a slide is in both.
            PatchaugError: A slide cannot be opened, or its windows are impossible.
        """
        train_pairs, valid_pairs = [Pair(*pair) for pair in train], [Pair(*pair) for pair in valid]
        for name, pairs in (("train", train_pairs), ("valid", valid_pairs)):
            if not pairs:
                raise OptionError(f"{name} must hold at least one (image, mask) pair, and is empty")
        require_apart(*([pair.image for pair in pairs] for pairs in (train_pairs, valid_pairs)))
        items = [*train_pairs, *valid_pairs]
        block = _block(
            SlideMaskBlock(codes, ignore_index=ignore_index, outside=outside, label=label, invalid=invalid),
            options, item_tfms, batch_tfms, ram, mpp,
            {"channels": channels, "series": series, "scale": scale, "region": region},
            getters=[_image_of, _mask_of], splitter=IndexSplitter(range(len(train_pairs), len(items))),
        )  # fmt: skip
        return cls.from_dblock(block, items, path=path, **kwargs)

    @classmethod
    @refuses_old_names
    def from_regions(
        cls,
        pairs: Sequence[tuple[Any, Any]],
        valid: float = 0.2,
        *,
        guard: Guard = "auto",
        seed: int = SEED,
        options: Any = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from (image, mask) pairs, one is enough: each slide is cut in a training and a validation part.

        Args:
            pairs: Paths or arrays, or an open slide twice.
            valid: Share of the pixels of each slide for validation; none of them is read for training.
            guard: Pixels between the parts, see `split_region`.
            seed: Seed of the cut, see `split_region`.
            options: The windows, a `PatchOptions`.
            **kwargs: See the class.

        Raises:
            PatchaugError: See `open_slide` and `split_region`, or windows are impossible.

        Examples:
            >>> import numpy as np
            >>> from patchaug import PatchOptions
            >>> from patchaug.fastai import SlideDataLoaders
            >>> image, mask = np.zeros((200, 300, 3), np.uint8), np.zeros((200, 300), np.uint8)
            >>> dls = SlideDataLoaders.from_regions(
            ...     [(image, mask)], valid=0.3, codes=["a", "b"], options=PatchOptions(32, per_slide=8), bs=4,
            ...     num_workers=0,
            ... )
            >>> dls.train.slides[0].frame, dls.valid.slides[0].frame
            (Window(x=0, y=0, width=195, height=200, level=0), Window(x=210, y=0, width=90, height=200, level=0))
        """
        of_options = {} if options is None else {name: getattr(options, name) for name in ("ram", "channels", "series")}
        opening = of_options | {name: kwargs[name] for name in _OPENING if kwargs.get(name) not in (None, "auto")}
        train, held = open_parts(pairs, valid=valid, guard=guard, seed=seed, **opening)
        return cls.from_lists(train, held, options=options, **kwargs)

    @classmethod
    @refuses_old_names
    def from_label_func(
        cls,
        path: str | os.PathLike[str],
        fnames: Sequence[Path],
        label_func: Callable[[Path], Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        codes: Codes | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        *,
        ignore_index: int | None = None,
        outside: str | int | None = None,
        label: str = "classification",
        invalid: str = "raise",
        options: Any = None,
        ram: int | str = "auto",
        mpp: float | tuple[float, float] | None = None,
        channels: Any = None,
        series: int | str | None = None,
        scale: Any = None,
        region: Any = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from image paths and a function that returns the mask of one, as `SegmentationDataLoaders` does.

        Raises:
            OptionError: There are fewer than two slides.
            PatchaugError: A slide cannot be opened, or its windows are impossible.
        """
        fnames = list(fnames)
        splitter = _random_split(len(fnames), valid_pct, seed)
        block = _block(
            SlideMaskBlock(codes, ignore_index=ignore_index, outside=outside, label=label, invalid=invalid),
            options, item_tfms, batch_tfms, ram, mpp,
            {"channels": channels, "series": series, "scale": scale, "region": region},
            getters=[_same, label_func], splitter=splitter,
        )  # fmt: skip
        return cls.from_dblock(block, fnames, path=path, **kwargs)

    @classmethod
    @refuses_old_names
    def from_folder(
        cls,
        path: str | os.PathLike[str],
        images: str = "images",
        masks: str = "masks",
        valid_pct: float = 0.2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from a folder of images and a folder of masks below `path`; a mask is named like its image.

        Raises:
            MissingError: There are no slides, or some have no mask (all are listed).
            OptionError: There are fewer than two slides.
            PatchaugError: A slide cannot be opened, or its windows are impossible.
        """
        files = get_slide_files(Path(path, images))
        pairs = list(zip(files, find_masks(files, Path(path, masks), root=Path(path, images)), strict=True))
        train, valid = _random_split(len(pairs), valid_pct, seed)(pairs)
        return cls.from_lists([pairs[i] for i in train], [pairs[i] for i in valid], path=path, **kwargs)

    @classmethod
    @refuses_old_names
    def from_df(
        cls,
        df: Any,
        path: str | os.PathLike[str] = ".",
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: int | str = 0,
        label_col: int | str = 1,
        valid_col: int | str | None = None,
        mpp_col: int | str | None = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Make loaders from a data frame with a column of images and one of masks, paths below `path`.

        Args:
            df: The pandas data frame.
            path: Folder that relative paths start from.
            valid_pct: Share of the slides for validation, where there is no valid_col.
            seed: Seed of that split.
            fn_col: Column of images, name or number.
            label_col: Column of masks, name or number.
            valid_col: Column of booleans, true for validation slides.
            mpp_col: Column of the slides' micrometres per pixel, where files store none or a wrong one.
            **kwargs: See the class.

        Raises:
            OptionError: There are fewer than two slides.
            PatchaugError: A slide cannot be opened, or its windows are impossible.
        """
        image, mask = (column(df, name) for name in (fn_col, label_col))
        pairs: list[tuple[Any, Any]] = [(Path(path, i), Path(path, m)) for i, m in zip(image, mask, strict=True)]
        if mpp_col is not None:
            sizes = column(df, mpp_col)
            pairs = [(LazySlideItem(i, mpp=float(mpp)), m) for (i, m), mpp in zip(pairs, sizes, strict=True)]
        if valid_col is None:
            train, valid = _random_split(len(pairs), valid_pct, seed)(pairs)
        else:
            chosen = column(df, valid_col).astype(bool)
            train, valid = np.flatnonzero(~chosen), np.flatnonzero(chosen)
        return cls.from_lists([pairs[i] for i in train], [pairs[i] for i in valid], path=path, **kwargs)


def _block(
    masks: TransformBlock,
    options: Any,
    item_tfms: Any,
    batch_tfms: Any,
    ram: int | str,
    mpp: Any,
    pixels: dict[str, Any],
    **kwargs: Any,
) -> DataBlock:
    item_tfms = L(item_tfms)
    if options is not None:
        if any(isinstance(t, RandomPatch) for t in item_tfms):
            raise OptionError("windows are described twice, by options= and by RandomPatch in item_tfms; keep one")
        item_tfms = L(RandomPatch.from_options(options)) + item_tfms
        ram = options.ram if ram == "auto" else ram
        own = {name: getattr(options, name) for name in ("channels", "series", "scale")}
        pixels = {name: own.get(name) if value is None else value for name, value in pixels.items()}
    masks.type_tfms[0].ram = ram
    blocks = (SlideBlock(ram=ram, mpp=mpp, **pixels), masks)
    return DataBlock(blocks=blocks, item_tfms=item_tfms, batch_tfms=batch_tfms, **kwargs)


def _random_split(slides: int, valid_pct: float, seed: int | None) -> RandomSplitter:
    """fastai's splitter, with at least one slide on each side."""
    # It rounds a share of them down: half a slide more keeps that from the mistakes of floats.
    return RandomSplitter((validation_count(slides, valid_pct) + 0.5) / slides, seed=seed)


# Getters are functions of the module: lambdas and methods do not pickle to spawned workers.
# They have no annotations: fastai would take them for the types of items that `test_dl` accepts.
def _same(item):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return item


def _image_of(item):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return item.image


def _mask_of(item):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return item.mask

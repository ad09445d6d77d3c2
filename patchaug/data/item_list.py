"""Shared start and split methods of the slide lists of fastai 1 and 2.

The names are those of fastai 1's data block. Items are slides, never windows, until the loaders are made: no split can
put windows of one slide on both sides.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.validation import SEED
from patchaug.data.region_parts import cut_items
from patchaug.data.slide_items import LazySlideItem, source_of
from patchaug.errors import MissingError, OptionError
from patchaug.readers import Raster
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.slide import Slide
from patchaug.slides.split_region import Guard


def validation_count(slides: int, valid_pct: float) -> int:
    """Return the number of validation slides: the fraction rounded down, as fastai does, but at least one on each side.

    Raises:
        OptionError: There are fewer than two slides, or the share is not between 0 and 1.
    """
    if not 0 < valid_pct < 1:
        raise OptionError(f"valid_pct must lie between 0 and 1, got {valid_pct}; 0.2 is usual")
    if slides < 2:
        raise OptionError(
            f"{'there is no slide' if not slides else 'one slide cannot be split'}: the split is by slide, so that no "
            f"window of a validation slide is trained on, and two are the least; add a slide, or cut a large one in "
            f"two parts: SlideDataLoaders.from_regions, split_by_region, or patchaug train --split-region 0.2"
        )
    return min(max(int(valid_pct * slides), 1), slides - 1)


def as_items(sources: Iterable[Any], names: Sequence[str] | None = None, *, masks: bool = False) -> Array:
    """Convert slides or masks to fastai 1's items: an object array (n,) of `Path` and `LazySlideItem`.

    NumPy would split a list of equal arrays into pixels, and a list of tuples into a table.

    Args:
        sources: Paths, arrays, tensors, `Raster`s, `Slide`s; or the numbers of windows, which stay as they are.
        names: Names of slides without a path; windows are drawn by name.
        masks: Accept what only a mask can be, too: None, one class number for a whole slide, or parsed polygons.

    Raises:
        OptionError: Something else stands among them, or there are more or fewer names.
    """
    if isinstance(sources, np.ndarray) and sources.dtype != object:
        if sources.ndim == 1 and sources.dtype.kind in "iu":
            return sources
        if sources.ndim != 1:
            raise OptionError(f"items must be a list of slides, got one array {sources.shape}; put it in a list")
    sources = list(sources)
    if names is not None and len(names) != len(sources):
        raise OptionError(f"{len(sources)} slides have {len(names)} names; give one for each")
    items = np.empty(len(sources), object)
    for number, source in enumerate(sources):
        items[number] = _as_item(number, source, None if names is None else str(names[number]), masks=masks)
    return items


def _as_item(number: int, source: Any, name: str | None, *, masks: bool) -> Any:
    if isinstance(source, LazySlideItem):
        return source
    if isinstance(source, (str, os.PathLike)):
        return Path(source) if name is None else LazySlideItem(Path(source), name=name)
    is_class = isinstance(source, (int, np.integer)) and not isinstance(source, bool)  # of a whole slide
    of_mask = masks and (source is None or is_class or isinstance(source, list))
    if of_mask or isinstance(source, (Slide, Raster, Mapping)) or (hasattr(source, "__array__") and not is_class):
        return LazySlideItem(source, name=name)
    raise OptionError(
        f"item {number} is a {type(source).__name__}, and an item is one slide: a path, an array or an open slide; "
        f"masks come from label_from_func or label_from_lists, the number of windows from per_slide of the options"
    )


def column(frame: Any, name: int | str) -> Array:
    """Return a column of a pandas data frame, by name or number.

    Raises:
        OptionError: There is no such column, some of its rows are empty, or a file that was read by `from_csv` names
            a path that leaves its folder.
    """
    if isinstance(name, str) and name not in frame.columns:
        raise OptionError(f"the data frame has no column {name!r}; it has {', '.join(map(str, frame.columns))}")
    if isinstance(name, int) and not 0 <= name < len(frame.columns):
        raise OptionError(f"the data frame has no column {name}; it has {len(frame.columns)}, counted from 0")
    values = frame[name] if isinstance(name, str) else frame.iloc[:, name]
    if values.isna().any():
        raise OptionError(f"column {name!r} is empty in rows {', '.join(map(str, values.index[values.isna()]))}")
    if "csv" in getattr(frame, "attrs", ()):  # somebody else may have written it; a frame is the caller's own
        for row, value in values.items():
            if isinstance(value, str) and (os.path.isabs(value) or os.path.normpath(value).startswith("..")):
                raise OptionError(
                    f"{frame.attrs['csv']}: row {row} of column {name!r} is {value!r}, which leaves the folder; if "
                    f"that is meant, read the table with pandas, and pass it to from_df"
                )
    return np.asarray(values.to_numpy())


def require_as_many(slides: Sized, masks: Sized) -> None:
    """Raise OptionError unless there is one mask for each slide."""
    if len(slides) != len(masks):
        raise OptionError(f"{len(slides)} slides have {len(masks)} masks; give one for each")


def require_apart(train: Iterable[Any], valid: Iterable[Any]) -> None:
    """Raise OptionError with all the paths that stand on both sides of a split."""
    first, second = ({os.fspath(s) for s in side if isinstance(s, (str, os.PathLike))} for side in (train, valid))
    if both := sorted(first & second):
        raise OptionError(f"slides stand in both train and valid: {', '.join(both)}; put each in one")


def require_patch(patch: Any) -> None:
    """Raise OptionError if `patch` is not set."""
    if patch is None:
        raise OptionError("SlideItemList needs to know its windows: say patch=PatchOptions(512, per_slide=64)")


class _SlideListLike(Protocol):
    """What the words below need of a list."""

    items: Array
    path: Path
    inner_df: Any

    def split_by_idxs(self, train_idx: Any, valid_idx: Any) -> Any:
        """Split by the numbers of the items on both sides."""


class SlideListMixin:
    """`from_*` and `split_by_*`, in fastai 1's words. `patch=` takes a `PatchOptions`, `ram=` a budget."""

    @classmethod
    def from_folder(
        cls, path: str | os.PathLike[str], *, recurse: bool = True, include: Sequence[str] = (), **kwargs: Any
    ) -> Any:
        """Collect all slides below a folder, see `get_slide_files`; `include` names the subfolders to look into.

        Raises:
            MissingError: There is no such folder, or no slide in it.
        """
        return cls.from_lists(get_slide_files(path, recurse=recurse, folders=include), path=path, **kwargs)

    @classmethod
    def from_lists(cls, sources: Iterable[Any], path: str | os.PathLike[str] = ".", **kwargs: Any) -> Any:
        """Collect slides given one by one: paths, arrays, open slides."""
        make: Any = cls  # fastai's lists take items first
        return make(as_items(sources), path=Path(path), **kwargs)

    @classmethod
    def from_arrays(cls, images: Iterable[Any], *, names: Sequence[str] | None = None, **kwargs: Any) -> Any:
        """Collect slides in memory, uint8 (height, width, 3) each; nothing is copied.

        Args:
            images: The arrays.
            names: What they are called: windows are drawn by name. Default: "array 0", "array 1", ... in each split.
            **kwargs: See `from_lists`.
        """
        return cls.from_lists(as_items(images, names), **kwargs)

    @classmethod
    def from_df(
        cls, df: Any, path: str | os.PathLike[str] = ".", cols: int | str = 0, folder: str | None = None,
        suffix: str = "", **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Read paths from a column of a pandas data frame, below `path` and `folder`, with `suffix` added."""
        root = Path(path, folder or "")
        return cls.from_lists([root / f"{name}{suffix}" for name in column(df, cols)], path=path, inner_df=df, **kwargs)

    @classmethod
    def from_csv(
        cls, path: str | os.PathLike[str], csv_name: str, header: Any = "infer", delimiter: str | None = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        """Read paths as `from_df` does, from a CSV file below `path` that names only files below `path`.

        Raises:
            MissingError: There is no such file.
            OptionError: It names a path that is absolute, or leaves the folder by "..".
        """
        import pandas as pd  # comes with fastai

        file = Path(path, csv_name)
        if not file.is_file():
            raise MissingError(f"there is no file {file}")
        frame = pd.read_csv(file, header=header, delimiter="," if delimiter is None else delimiter)
        frame.attrs["csv"] = str(file)
        return cls.from_df(frame, path=path, **kwargs)

    def split_by_idx(self: _SlideListLike, valid_idx: Iterable[int]) -> Any:
        """Use the slides with these numbers for validation."""
        valid = list(valid_idx)
        return self.split_by_idxs(np.setdiff1d(np.arange(len(self.items)), valid), valid)

    def split_by_rand_pct(self: Any, valid_pct: float = 0.2, seed: int | None = None) -> Any:
        """Use a fraction of the slides, at least one, for validation: by numpy's legacy generator, as in fastai 1.

        Raises:
            OptionError: There are fewer than two slides.
        """
        count = validation_count(len(self.items), valid_pct)
        return self.split_by_idx(np.random.RandomState(seed).permutation(len(self.items))[:count])

    def split_by_region(self: Any, valid: float = 0.2, *, guard: Guard = "auto", seed: int = SEED) -> Any:
        """Cut each slide in a training and a validation part; no pixel of the latter is read for training.

        The side of the slide that validates follows from the seed; `SlideDataLoaders.from_regions` looks at masks, too.

        Args:
            valid: Share of the pixels of each slide for validation.
            guard: Pixels of level 0 between the parts, or "auto", see `split_region`.
            seed: Seed of the cut.

        Raises:
            OptionError: A value is out of its limits.
            WindowError: The guard leaves no pixel of a part.
            PatchaugError: A slide cannot be opened.
        """
        options = {name: getattr(self.patch, name, None) for name in ("channels", "series")}
        train, held = cut_items(list(self.items), valid=valid, guard=guard, seed=seed, ram=0, **options)
        both = copy.copy(self)
        both.items = as_items([*train, *held])
        if self.inner_df is not None:
            both.inner_df = self.inner_df.iloc[[*range(len(train))] * 2]
        return both.split_by_idxs(np.arange(len(train)), np.arange(len(train), 2 * len(train)))

    def split_by_valid_func(self: Any, func: Callable[[Any], bool]) -> Any:
        """Use the slides for which the function of path or array is true for validation."""
        return self.split_by_idx([i for i, item in enumerate(self.items) if func(source_of(item))])

    def split_by_files(self: Any, valid_names: Iterable[Any]) -> Any:
        """Use the slides with these file names, or names of arrays, for validation.

        Raises:
            OptionError: No slide has one of the names.
        """
        names = {Path(name).name for name in valid_names}
        found = [item.name or "" for item in self.items]
        if missing := sorted(names - set(found)):
            raise OptionError(f"no slide is called {', '.join(missing)}; slides are {', '.join(sorted(found))}")
        return self.split_by_idx([i for i, name in enumerate(found) if name in names])

    def split_by_fname_file(self: Any, fname: str, path: str | os.PathLike[str] | None = None) -> Any:
        """Use the slides whose names are in a text file, one per line, for validation."""
        lines = Path(self.path if path is None else path, fname).read_text().splitlines()
        return self.split_by_files([line.strip() for line in lines if line.strip()])

    def split_by_folder(self: Any, train: str = "train", valid: str = "valid") -> Any:
        """Use the slides below these two folders of `path` for training and for validation; leave out all others."""
        first = [item.relative_to(self.path).parts[0] if isinstance(item, Path) else "" for item in self.items]
        return self.split_by_idxs(*([i for i, name in enumerate(first) if name == one] for one in (train, valid)))

    def split_from_df(self: Any, col: int | str = 2) -> Any:
        """Use the slides for which a column of the data frame is true for validation."""
        return self.split_by_idx(np.flatnonzero(column(self.inner_df, col).astype(bool)))

"""What stands for a slide in fastai's items until its window is known."""

from __future__ import annotations

import copy
import gc
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from patchaug.core.progress import progress
from patchaug.core.waiting_calls import call_each
from patchaug.core.windows import Window
from patchaug.data.image_pixels import ImagePixels
from patchaug.errors import FrameError, OptionError, PatchaugError, collected
from patchaug.readers.urls import is_url
from patchaug.sampling import Sampler
from patchaug.sampling.index_requests import Indexing, build_all, needed_kinds
from patchaug.sampling.plan import Draw, Plan
from patchaug.slides.discovery import require_files
from patchaug.slides.open import open_slide
from patchaug.slides.regions import region_of
from patchaug.slides.resolution import SlideTooSmallError, region
from patchaug.slides.slide import Codes, Slide
from patchaug.slides.slide_group import SlideGroup
from patchaug.slides.split_region import frame_of, part_of

CHECKED_AT_START = 1 << 31  # pixels of masks that are checked before training where no plan needs their labels


class LazySlideItem:
    """The source of a slide's image or mask; with a plan and a draw, one window of it.

    Not a tuple, since fastai's transforms would go through its elements.
    """

    plan: Plan | None = None
    draw: Draw | None = None

    def __init__(
        self,
        source: Any,
        *,
        ram: int | str = "auto",
        mpp: float | tuple[float, float] | None = None,
        name: str | None = None,
        region: Any = None,
        frame: Window | None = None,
    ) -> None:
        self.source, self.ram, self.mpp, self.name = source, ram, mpp, name
        self.region, self.frame = region, frame  # see `open_slide` and `part_of`

    def at(self, plan: Plan, draw: Draw) -> LazySlideItem:
        """Return a copy that stands for one window."""
        new = copy.copy(self)
        new.plan, new.draw = plan, draw
        return new

    @property
    def path(self) -> str | None:
        """Path of the source, None for arrays."""
        return os.fspath(self.source) if isinstance(self.source, (str, os.PathLike)) else None

    def __repr__(self) -> str:
        what = self.path or type(self.source).__name__
        at = "" if self.draw is None else f", {self.draw.window}"
        return f"{type(self).__name__}({what}{at})"


class SlideImage(LazySlideItem):
    """The image of a slide.

    Args:
        source: See `open_slide`.
        pixels: Channels, picture and scale, shared by all slides of a data set.
        **options: As for `LazySlideItem`.

    Examples:
        >>> SlideImage("slides/slide0.tiff")
        SlideImage(slides/slide0.tiff)
    """

    def __init__(self, source: Any, *, pixels: ImagePixels | None = None, **options: Any) -> None:
        super().__init__(source, **options)
        self.pixels = ImagePixels() if pixels is None else pixels


class SlideMask(LazySlideItem):
    """The mask of a slide, with the names of its classes, and `outside`, `label` and `invalid` of `open_slide`.

    Examples:
        >>> SlideMask("slides/slide0_mask.tiff", codes=["background", "nucleus"]).codes
        ['background', 'nucleus']
    """

    def __init__(
        self, source: Any, *, codes: Codes | None = None, ignore_index: int | None = None, ram: int | str = "auto",
        **polygons: Any,
    ) -> None:  # fmt: skip
        super().__init__(source, ram=ram)
        self.codes, self.ignore_index, self.polygons = codes, ignore_index, polygons


def source_of(item: Any) -> Any:
    """Return the path or array of an item: the argument of a user's function."""
    return item.source if isinstance(item, LazySlideItem) else item


def place_of(item: Any) -> dict[str, Any]:
    """Return region and frame of an item, as keyword arguments of another one."""
    return {"region": item.region, "frame": item.frame} if isinstance(item, LazySlideItem) else {}


def region_for(region: Any, item: Any) -> Any:
    """Return the region of one slide: what a function makes of its path or array, or the same for all."""
    return region(source_of(item)) if callable(region) else region


def name_of(item: Any) -> str | None:
    """Return the name that the user gave an item; None for paths, which are named by their file."""
    return item.name if isinstance(item, LazySlideItem) else None


def slide_of(item: Iterable[Any], *, name: str = "array") -> Slide:
    """Open the slide of an item: its first image and, where it has one, its mask; a `SlideGroup` of several.

    The second image and the second mask are the second slide of the group, and so on. A mask without an image of its
    own lies on the first image.

    Args:
        item: The elements of a tuple of fastai's.
        name: Name of a slide that has no path.

    Raises:
        OptionError: The item holds no slide.
        FrameError: A mask is asked of an open slide that has none, or the sizes of images or masks differ.
        PatchaugError: See `open_slide`.
    """
    elements = list(item)
    images = [element for element in elements if isinstance(element, SlideImage)]
    masks = [element for element in elements if isinstance(element, SlideMask)]
    if not images:
        raise OptionError("an item holds no slide; the first block of the DataBlock must be a SlideBlock")
    slides = [
        _open_pair(image or images[0], mask, name if number == 1 else f"{name}, element {number}")
        for number, (image, mask) in enumerate(zip_longest(images, masks), 1)
    ]
    return slides[0] if len(slides) == 1 else SlideGroup(slides)


def _open_pair(image: SlideImage, mask: SlideMask | None, name: str) -> Slide:
    """Open the slide of an image and its mask, with its region and the part of it that plans read."""
    slide = _open_whole(image, mask, name)
    if image.region is not None and isinstance(image.source, Slide):
        slide = part_of(slide, frame_of(slide))  # a slide of its own, which shares all else
        slide.region = region_of(slide, image.region)
    frame = image.frame if image.frame is not None or not isinstance(image.source, Slide) else image.source.frame
    return slide if frame is None else part_of(slide, frame)


def _open_whole(image: SlideImage, mask: SlideMask | None, name: str) -> Slide:
    source, mpp, region = image.source, image.mpp, image.region
    called = image.name or (None if image.path is not None else name)
    if isinstance(source, Slide):
        if mask is None:
            return source.without_mask()
        if isinstance(mask.source, Slide):  # an open slide is its own label
            if source.mask is None:
                raise FrameError(
                    f"{source.name}: labels are asked of a slide without a mask; open it with one, "
                    f"open_slide(image, mask), or leave out with_labels"
                )
            return source
        region = source.region
        source, mpp, called = source.image, source.mpp, source.name
    return open_slide(
        source,
        None if mask is None else mask.source,
        name=called,
        codes=None if mask is None else mask.codes,
        ignore_index=None if mask is None else mask.ignore_index,
        ram=image.ram,
        mpp=mpp,
        channels=image.pixels.channels if source is image.source else None,
        series=image.pixels.series if source is image.source else None,
        region=region,
        **({} if mask is None else mask.polygons),
    )


def slides_of(
    items: Sequence[Iterable[Any]],
    sampler: Sampler,
    indexing: Indexing = Indexing(),  # noqa: B008 - is immutable
) -> list[Slide]:
    """Open the slides of all items, and check their masks against the codes before anything is trained.

    Where the sampler needs no labels, and the masks have more pixels than a start may take, each window is checked when
    it is read instead.

    Args:
        items: For each slide, its `SlideImage` and, where it has one, its `SlideMask`.
        sampler: What will be drawn from them.
        indexing: How indexes of labels are built and kept.

    Raises:
        MissingError: Files do not exist; all of them are named.
        OptionError: A mask is None, which does not say what the slide holds; all are named.
        PatchaugError: See `open_slide` and `Slide.labels`.
    """
    _require_masks(items)
    for kind, what in ((SlideImage, "slides"), (SlideMask, "masks")):
        paths = [element.path for item in items for element in item if isinstance(element, kind)]
        require_files([path for path in paths if path is not None], what)
    slides = _opened(items)
    images = [[element for element in item if isinstance(element, SlideImage)] for item in items]
    for number, first in enumerate(images[0] if images else []):
        first.pixels.require_format([slide.members[number] for slide in slides])
    wanted = []
    for slide in slides:
        try:
            level = region(slide, sampler.size, sampler.level, sampler.mpp)[0]
        except SlideTooSmallError:  # the plan raises it, or skips the slide
            continue
        if isinstance(slide, SlideGroup):
            slide.require_level(level)
        wanted += [(one, "mask", level) for one in slide.members if one.mask is not None and one.codes is not None]
    pixels = sum(math.prod(one.mask.level_dimensions[0]) for one, _, _ in wanted if one.mask is not None)
    if pixels <= CHECKED_AT_START or any("mask" in needed_kinds(sampler, slide) for slide in slides):
        with indexing.keeping():
            build_all(wanted, workers=indexing.workers)
    return slides


def _opened(items: Sequence[Iterable[Any]]) -> list[Slide]:
    """Open the slides of all items, those at URLs several at a time; one error names all that cannot be opened."""
    slides, errors = [], []
    with _collection_paused():  # it would go through the headers of all slides again and again
        for found in progress(call_each(_opened_or_error, items, _is_remote), len(items), "opening slides"):
            if isinstance(found, PatchaugError):
                errors.append(found)
            else:
                slides.append(found)
    if errors:
        raise collected(errors, len(items))
    return slides


def _opened_or_error(number: int, item: Iterable[Any]) -> Slide | PatchaugError:
    try:
        return slide_of(item, name=f"array {number}")
    except PatchaugError as error:
        return error


def _is_remote(item: Iterable[Any]) -> bool:
    return any(isinstance(one, LazySlideItem) and is_url(one.source) for one in item)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Pause Python's search for reference cycles."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _require_masks(items: Sequence[Iterable[Any]]) -> None:
    """Raise OptionError where masks are None: that says neither "nothing here" nor "not annotated"."""
    missing = []
    codes: Any = None
    for number, item in enumerate(items):
        elements = list(item)
        masks = [one for one in elements if isinstance(one, SlideMask)]
        codes = next((one.codes for one in masks if one.codes is not None), codes)
        if any(one.source is None for one in masks):
            image = next((one for one in elements if isinstance(one, SlideImage)), None)
            missing.append(str((image and (image.path or image.name)) or f"array {number}"))
    if missing:
        first = "class 0" if codes is None else repr(next(iter(codes)))
        raise OptionError(
            f"{len(missing)} of {len(items)} slides have the mask None: {', '.join(missing[:20])}; write 0 where "
            f"nothing is there ({first} everywhere), or ignore_index=255 and the mask 255 where nothing was annotated"
        )

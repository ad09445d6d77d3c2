"""What an index of labels is made of: its identity, how it is built, and what reads its pixels again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import Any, Protocol, Self

from patchaug.readers.hooks import uncached
from patchaug.readers.identity import Identity, identity_of
from patchaug.slides.aligned_mask import AlignedMask
from patchaug.slides.label_runs import BLOCK, LIMIT, STRIP, Read
from patchaug.slides.labels import Labels
from patchaug.slides.pixel_format import CheckedRaster
from patchaug.slides.valid_pixels import index_invalid, read_invalid

FORMAT = 1  # of indexes; raise it where an index of the same pixels becomes another one


class IndexTask(Protocol):
    """One index that a plan needs; a call builds it."""

    @property
    def slide(self) -> str:
        """Name of the slide, for errors."""

    @property
    def pixels(self) -> int:
        """Number of pixels to index, the measure of its work."""

    def identity(self) -> Identity | None:
        """Return what the index follows from; None where nothing identifies the pixels, such as arrays."""

    def __call__(self) -> Labels:
        """Build the index."""

    def facts(self) -> dict[str, Any]:
        """Return what building the index found out beside it, as JSON stores it."""

    def accept(self, facts: Mapping[str, Any]) -> None:
        """Take over such facts from another process or an earlier run."""

    def reader(self) -> Read:
        """Return what reads the indexed integers again, for blocks whose runs are not kept."""

    def for_other_process(self) -> Self | None:
        """Return the task for another process, where it caches no pixels; None where it can be done here alone."""


def key_of(task: IndexTask) -> str | None:
    """Return 32 hexadecimal digits that name the index of a task; None where it has no identity.

    Raises:
        MissingError, ReadError: A file does not exist any more, or cannot be read.
    """
    identity = task.identity()
    if identity is None:
        return None
    made_by = FORMAT, STRIP, BLOCK, LIMIT, sys.modules["patchaug"].__version__
    return blake2b(repr((made_by, identity)).encode(errors="surrogateescape"), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class MaskIndex:
    """The labels of a slide's mask on a level.

    Attributes:
        mask: The mask.
        image: The image, where its pixels may be invalid; None where all are known to be valid.
        level: Level of the image.
        invalid: Its invalid pixels.
    """

    mask: AlignedMask
    image: CheckedRaster | None
    level: int
    invalid: Labels = field(repr=False)

    @property
    def slide(self) -> str:
        """Name of the slide."""
        return self.mask.slide

    @property
    def pixels(self) -> int:
        """Pixels of the mask that are read, about."""
        width, height = self.mask.alignment.mask[0]
        return width * height

    def identity(self) -> Identity | None:
        """Return identities of mask and image, and all options that the labels follow from."""
        of_mask = identity_of(self.mask.raster)
        of_image = () if self.image is None else identity_of(self.image.raster)
        if of_mask is None or of_image is None:
            return None
        classes = self.mask.classes.classes
        codes = None if classes is None else (len(classes.names), classes.values, classes.colours)
        place = repr(self.mask.alignment)
        return "mask", of_mask, of_image, codes, self.mask.ignore_index, place, self.level

    def __call__(self) -> Labels:
        """Build the index; see `AlignedMask.index` for its errors."""
        return self.mask.index(self.level, self.invalid)

    def facts(self) -> dict[str, Any]:
        """Return whether the mask's own level holds the labels of its level 0, where that was looked at."""
        return {"same_labels": self.mask.same_labels.get(self.level)}

    def accept(self, facts: Mapping[str, Any]) -> None:
        """Take over the facts of the same mask."""
        if isinstance(facts.get("same_labels"), bool):
            self.mask.same_labels[self.level] = facts["same_labels"]

    def reader(self) -> Read:
        """Return what reads class numbers of the mask."""
        return self.mask.reader(self.level, self.invalid)

    def for_other_process(self) -> MaskIndex | None:
        """Return the task with an uncached mask; None where the mask is decoded whole, or is an array."""
        raster = uncached(self.mask.raster)
        if identity_of(raster) is None or getattr(raster, "needs_all", False):
            return None
        return replace(self, mask=self.mask.with_raster(raster), image=None)


@dataclass(frozen=True, eq=False)
class InvalidIndex:
    """The invalid pixels of a level of an image.

    Attributes:
        slide: Name of the slide.
        image: The image.
        level: Its level.
    """

    slide: str
    image: CheckedRaster
    level: int

    @property
    def pixels(self) -> int:
        """Pixels of the level."""
        width, height = self.image.raster.level_dimensions[self.level]
        return width * height

    def identity(self) -> Identity | None:
        """Return the identity of the image, and the level."""
        found = identity_of(self.image.raster)
        return None if found is None else ("invalid", found, self.level)

    def __call__(self) -> Labels:
        """Build the index; see `index_invalid` for its errors."""
        return index_invalid(self.slide, self.image, self.level)

    def facts(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def accept(self, facts: Mapping[str, Any]) -> None:
        """Do nothing."""

    def reader(self) -> Read:
        """Return what reads `INVALID` where pixels are invalid."""
        return partial(read_invalid, self.slide, self.image, self.level)

    def for_other_process(self) -> InvalidIndex | None:
        """Return the task with an uncached image; None where that is decoded whole, or is an array."""
        raster = uncached(self.image.raster)
        if identity_of(raster) is None or getattr(raster, "needs_all", False):
            return None
        return replace(self, image=CheckedRaster(raster, "image", self.slide))

"""`Augment`: a pipeline of albumentations on a patch with its halo, under the sample's key."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np

from patchaug.augment.halo import needed_halo
from patchaug.augment.transform_footprints import painted
from patchaug.core.validation import checked_halo
from patchaug.errors import OptionError
from patchaug.slides.slide import Patch, Slide

_CURE = "pip install 'patchaug[augment]'"
_EXACT = (None, 0, 6)  # not said, INTER_NEAREST, INTER_NEAREST_EXACT: class numbers have no mean


class Augment:
    """An albumentations transform, or Compose, for image and mask in one call.

    The pipeline is given the patch with a halo of real pixels around it, and what it returns is cropped to the patch:
    what rotation, scaling or deformation pulls in from outside are pixels of the slide. Shares of the size in its
    parameters (`translate_percent`) are of the patch with its halo.

    Its random numbers come from the sample's key, set for each call: albumentations 2.0.8 keeps generators of its own,
    a copy in each worker, so that workers repeat each other and epochs repeat themselves
    (github.com/albumentations-team/albumentations/issues/2473). So a result is a function of (seed, epoch, slide,
    draw) alone.

    OpenCV's own threads are switched off in the process (`cv2.setNumThreads(0)`): its pool does not cross a fork.

    Args:
        transform: The transform. It is copied, so that its own generators stay as they are.
        halo: Pixels read around the window on each side, or "auto" to derive them from the pipeline's parameters.

    Raises:
        OptionError: albumentations is not installed, the transform is none of its own, needs targets other than image
            and mask, or interpolates class numbers; halo is neither "auto" nor a number.
    """

    def __init__(self, transform: Any, *, halo: int | str = "auto") -> None:
        try:
            import albumentations
        except ImportError:
            raise OptionError(f"Augment needs albumentations, which is not installed: {_CURE}") from None
        if not isinstance(transform, (albumentations.BasicTransform, albumentations.BaseCompose)):
            raise OptionError(f"Augment takes a transform or Compose of albumentations, got {type(transform).__name__}")
        if halo != "auto":
            halo = checked_halo(halo)
        whole = isinstance(transform, albumentations.Compose)
        self.transform = copy.deepcopy(transform) if whole else albumentations.Compose([copy.deepcopy(transform)])
        self.halo = halo
        _check(self.transform)
        _without_threads()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _without_threads()  # a spawned worker begins with OpenCV's default

    def __repr__(self) -> str:
        names = ", ".join(type(part).__name__ for part in self.transform.transforms)
        return f"Augment({names}, halo={self.halo!r})"

    def needed(self, height: int, width: int) -> tuple[int, int]:
        """Halo (y, x) in pixels for a patch of height x width px.

        Raises:
            OptionError: halo is "auto", and the pipeline's is not known.
        """
        if isinstance(self.halo, int):
            return self.halo, self.halo
        return needed_halo(self.transform, height, width)

    def require_known_labels(self, slide: Slide) -> None:
        """Check that no transform paints a number into masks that a slide's codes do not name.

        Raises:
            OptionError: One does.
        """
        if slide.mask is None or slide.codes is None:
            return
        for name, word, number in painted(self.transform):
            if number != slide.ignore_index and not (float(number).is_integer() and 0 <= number < len(slide.codes)):
                raise OptionError(
                    f"{slide.name}: {name} paints {number:g} into the mask ({word}={number:g}), and codes name 0 to "
                    f"{len(slide.codes) - 1}; leave it out, take one of these, or say ignore_index={number:g}"
                )

    def __call__(self, patch: Patch, height: int, width: int, generator: np.random.Generator) -> Patch:
        """The middle of what the pipeline makes of a patch.

        Args:
            patch: Image uint8 (height + 2 y, width + 2 x, channels) and mask of the same size, or None.
            height: Rows of the result.
            width: Columns of the result.
            generator: What all random numbers follow from.

        Raises:
            OptionError: The pipeline returns fewer pixels, other channels or another dtype, or the mask's numbers do
                not fit into 16 bits, which is what OpenCV moves without change.
        """
        self.transform.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        given = {"image": patch.image}
        if patch.mask is not None:
            given["mask"] = _movable(patch.mask)
        made = self.transform(**given)
        image, mask = made["image"], made.get("mask")
        image = image[..., None] if image.ndim == 2 else image
        if image.shape[0] < height or image.shape[1] < width or image.shape[2] != patch.image.shape[2]:
            raise OptionError(
                f"{self!r} made {image.shape} of {patch.image.shape}, and a patch of {height} x {width} px is wanted; "
                f"leave out what changes the size or the channels"
            )
        if image.dtype != np.uint8:
            raise OptionError(
                f"{self!r} made pixels of {image.dtype}, and patches are uint8; leave out Normalize and its kin"
            )
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        inside = slice(top, top + height), slice(left, left + width)
        if mask is None or patch.mask is None:
            return Patch(np.ascontiguousarray(image[inside]), None)
        return Patch(np.ascontiguousarray(image[inside]), np.ascontiguousarray(mask[inside], patch.mask.dtype))


def as_augment(transform: Any, halo: int | str = "auto") -> Augment | None:
    """What a user gives as `augment`, a transform of albumentations or an `Augment`, as the latter; None stays None.

    Raises:
        OptionError: See `Augment`; or the halo is said twice.
    """
    if transform is None or not isinstance(transform, Augment):
        return None if transform is None else Augment(transform, halo=halo)
    if halo not in ("auto", transform.halo):
        raise OptionError(f"halo={halo!r} is asked for, and {transform!r} says it too; say it once")
    return transform


def _check(transform: Any) -> None:
    """Refuse what would go wrong in silence."""
    for processor in getattr(transform, "processors", {}):
        raise OptionError(f"Augment carries image and mask; {processor} are left out of the pipeline's targets")
    if getattr(transform, "additional_targets", None):
        raise OptionError(
            f"Augment carries image and mask; leave out additional_targets {sorted(transform.additional_targets)}"
        )
    for part in getattr(transform, "transforms", ()):
        if getattr(part, "mask_interpolation", 0) not in _EXACT:
            raise OptionError(
                f"{type(part).__name__} interpolates masks (mask_interpolation={part.mask_interpolation}), and class "
                f"numbers have no mean; leave it at cv2.INTER_NEAREST"
            )
        wanted = set(getattr(part, "targets_as_params", ())) - {"image", "mask"}
        if wanted:
            raise OptionError(f"{type(part).__name__} needs {sorted(wanted)}; Augment carries image and mask alone")
        _check(part)


def _movable(mask: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """The mask in a dtype that OpenCV moves without change."""
    if mask.dtype in (np.uint8, np.uint16, np.int16):
        return mask
    low, high = int(mask.min()), int(mask.max())
    if low >= 0 and high < 2**16:
        return mask.astype(np.uint16)
    if low >= -(2**15) and high < 2**15:
        return mask.astype(np.int16)
    raise OptionError(
        f"class numbers {low}..{high} do not fit into 16 bits, and more OpenCV does not move; renumber them"
    )


def _without_threads() -> None:
    """Switch OpenCV's threads off in this process: their pool does not cross a fork, and a child would hang.

    It must happen in the parent, before the fork: in a forked child even this call would wait.
    """
    import cv2

    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)

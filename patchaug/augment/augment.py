"""`Augment`: run an albumentations pipeline on a patch with its halo, seeded by the sample's key."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np

from patchaug.augment.halo import needed_halo
from patchaug.augment.pixel_support import require_supported
from patchaug.augment.transform_footprints import painted_numbers
from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.validation import checked_halo
from patchaug.errors import OptionError
from patchaug.slides.slide import Patch, Slide

_CURE = "pip install 'patchaug[augment]'"
_EXACT = (None, 0, 6)  # not set, INTER_NEAREST, INTER_NEAREST_EXACT: class numbers cannot be averaged


@names_arguments_of_init
class Augment:
    """Apply an albumentations transform, or Compose, to image and mask in one call.

    The pipeline receives the patch with a halo of real pixels around it; its result is cropped to the patch. Rotation,
    scaling and deformation therefore pull in pixels of the slide. Fractions of the size in the parameters
    (`translate_percent`) refer to the patch with its halo.

    Deterministic: each call seeds the pipeline from (seed, epoch, slide, draw). albumentations 2.0.8 on its own keeps
    one generator per worker, so that workers and epochs repeat each other
    (github.com/albumentations-team/albumentations/issues/2473).

    OpenCV's threads are switched off in this process (`cv2.setNumThreads(0)`), because its pool does not survive a
    fork.

    Args:
        transform: A transform or Compose of albumentations; it is copied.
        halo: Pixels to read around the window on each side; "auto" derives them from the pipeline's parameters.

    Raises:
        OptionError: albumentations is not installed; the transform belongs to another library, needs targets other
            than image and mask, or interpolates class numbers; halo is neither "auto" nor an integer in 0..65536.

    Examples:
        >>> import albumentations as alb
        >>> augment = Augment(alb.Rotate((-180, 180), p=1.0))
        >>> augment.needed(512, 512)  # rows and columns of the halo
        (106, 106)
        >>> plan = Plan([slide], Uniform(64, per_slide=4), augment=augment)
        >>> plan.read(plan[0]).image.shape
        (64, 64, 3)
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
        is_compose = isinstance(transform, albumentations.Compose)
        self.transform = copy.deepcopy(transform) if is_compose else albumentations.Compose([copy.deepcopy(transform)])
        self.halo = halo
        _check(self.transform)
        _disable_opencv_threads()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _disable_opencv_threads()  # a spawned worker begins with OpenCV's default

    def __repr__(self) -> str:
        names = ", ".join(type(part).__name__ for part in self.transform.transforms)
        return f"Augment({names}, halo={self.halo!r})"

    def needed(self, height: int, width: int) -> tuple[int, int]:
        """Return the halo (rows, columns) in pixels for a patch of height x width px.

        Args:
            height: Rows of the patch.
            width: Columns of the patch.

        Raises:
            OptionError: halo is "auto", and the pipeline contains a transform with an unknown halo.
        """
        if isinstance(self.halo, int):
            return self.halo, self.halo
        return needed_halo(self.transform, height, width)

    def require_known_labels(self, slide: Slide) -> None:
        """Require that transforms fill masks only with numbers that the slide's codes name, or with `ignore_index`.

        Args:
            slide: The slide; without a mask or without codes every number is accepted.

        Raises:
            OptionError: A transform fills masks with another number, or does not support the slide's pixels.
        """
        require_supported(self.transform, slide)
        if slide.mask is None or slide.codes is None:
            return
        for name, word, number in painted_numbers(self.transform):
            if number != slide.ignore_index and not (float(number).is_integer() and 0 <= number < len(slide.codes)):
                raise OptionError(
                    f"{slide.name}: {name} paints {number:g} into the mask ({word}={number:g}), but codes name 0 to "
                    f"{len(slide.codes) - 1}; remove the transform, use one of these, or set ignore_index={number:g}"
                )

    def __call__(self, patch: Patch, height: int, width: int, generator: np.random.Generator) -> Patch:
        """Run the pipeline on a patch with its halo, and crop the centre of the result.

        Args:
            patch: Image (height + 2 y, width + 2 x, channels) with the halo (y, x), and an integer mask of the
                same height and width, or None.
            height: Rows of the result.
            width: Columns of the result.
            generator: Source of all random numbers of this call.

        Returns:
            Image (height, width, channels) of the same dtype, and mask (height, width) in its own dtype, or None.

        Raises:
            OptionError: The pipeline returns fewer pixels, other channels or another dtype; or the mask's numbers need
                more than 16 bits, the most that OpenCV moves unchanged.
        """
        self.transform.set_random_state(generator, random.Random(int(generator.integers(2**63))))
        inputs = {"image": patch.image}
        if patch.mask is not None:
            inputs["mask"] = _as_16_bit(patch.mask)
        outputs = self.transform(**inputs)
        image, mask = outputs["image"], outputs.get("mask")
        image = image[..., None] if image.ndim == 2 else image
        if image.shape[0] < height or image.shape[1] < width or image.shape[2] != patch.image.shape[2]:
            raise OptionError(
                f"{self!r} returned {image.shape} for {patch.image.shape}, and a patch of {height} x {width} px is "
                f"required; remove transforms that change the size or the channels"
            )
        if image.dtype != patch.image.dtype:
            raise OptionError(
                f"{self!r} returned pixels of {image.dtype}, and patches are {patch.image.dtype}; remove Normalize or "
                f"ToFloat"
            )
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        inside = slice(top, top + height), slice(left, left + width)
        if mask is None or patch.mask is None:
            return Patch(np.ascontiguousarray(image[inside]), None)
        return Patch(np.ascontiguousarray(image[inside]), np.ascontiguousarray(mask[inside], patch.mask.dtype))


def as_augment(transform: Any, halo: int | str = "auto") -> Augment | None:
    """Wrap a transform of albumentations in an `Augment`; return an `Augment`, or None, unchanged.

    Args:
        transform: A transform or Compose of albumentations, an `Augment`, or None.
        halo: Halo of the new `Augment`; for an `Augment`, "auto" or its own value.

    Raises:
        OptionError: See `Augment`; or `halo` differs from that of the `Augment`.
    """
    if transform is None or not isinstance(transform, Augment):
        return None if transform is None else Augment(transform, halo=halo)
    if halo not in ("auto", transform.halo):
        raise OptionError(f"halo={halo!r} differs from the halo of {transform!r}; give the halo once")
    return transform


def _check(transform: Any) -> None:
    """Reject transforms that would silently corrupt the mask."""
    for processor in getattr(transform, "processors", {}):
        raise OptionError(f"Augment supports image and mask; remove {processor} from the pipeline's targets")
    if getattr(transform, "additional_targets", None):
        raise OptionError(
            f"Augment supports image and mask; remove additional_targets {sorted(transform.additional_targets)}"
        )
    for part in getattr(transform, "transforms", ()):
        if getattr(part, "mask_interpolation", 0) not in _EXACT:
            raise OptionError(
                f"{type(part).__name__} interpolates masks (mask_interpolation={part.mask_interpolation}), but class "
                f"numbers cannot be averaged; set it to cv2.INTER_NEAREST"
            )
        unsupported = set(getattr(part, "targets_as_params", ())) - {"image", "mask"}
        if unsupported:
            raise OptionError(
                f"{type(part).__name__} needs {sorted(unsupported)}; Augment supports image and mask only"
            )
        _check(part)


def _as_16_bit(mask: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the mask in a dtype that OpenCV moves unchanged."""
    if mask.dtype in (np.uint8, np.uint16, np.int16):
        return mask
    low, high = int(mask.min()), int(mask.max())
    if low >= 0 and high < 2**16:
        return mask.astype(np.uint16)
    if low >= -(2**15) and high < 2**15:
        return mask.astype(np.int16)
    raise OptionError(
        f"class numbers {low}..{high} do not fit into 16 bits, the most that OpenCV moves unchanged; renumber them"
    )


def _disable_opencv_threads() -> None:
    """Switch off OpenCV's threads in this process: their pool does not survive a fork, and a child would hang.

    The parent must call it before the fork: in a forked child this call itself would wait.
    """
    import cv2

    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)

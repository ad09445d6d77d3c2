"""Copy the pixels of a patch to another place, colour by colour: the fastest way that is installed, in one thread.

torch and NumPy copy interleaved colours byte by byte. OpenCV, which the extra `augment` installs, takes a tenth of
their time, and moves the same bytes.
"""

from __future__ import annotations

import numpy as np
import torch

from patchaug.core.arrays import Array

try:
    import cv2
except (ImportError, AttributeError):  # not installed, or built for another NumPy
    cv2 = None  # type: ignore[assignment, unused-ignore]

_NUMPY = {
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32,
    torch.float64,
}  # fmt: skip
_SPLIT = {np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.float32)}  # what OpenCV has vector code for


def copy_pixels(pixels: torch.Tensor, target: torch.Tensor) -> None:
    """Copy a tensor into another of the same shape and dtype, both plain tensors on the CPU.

    torch's own copy starts threads, which wait for cores that the workers use.

    Args:
        pixels: Of any strides; fastest for (channels, height, width) with interleaved channels.
        target: Contiguous.

    Examples:
        >>> import torch
        >>> from patchaug.data.channel_planes import copy_pixels
        >>> interleaved = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3)
        >>> planes = torch.empty((3, 2, 2), dtype=torch.uint8)
        >>> copy_pixels(interleaved.permute(2, 0, 1), planes)
        >>> planes[0].tolist()
        [[0, 3], [6, 9]]
    """
    if pixels.dtype not in _NUMPY:
        target.copy_(pixels)
        return
    source, planes = pixels.numpy(), target.numpy()
    if cv2 is None or not _interleaved(source):
        np.copyto(planes, source)
        return
    written = cv2.split(source.transpose(1, 2, 0), list(planes))
    if not np.shares_memory(written[0], planes[0]):  # another release of OpenCV may return planes of its own
        np.copyto(planes, source)


def planes_of(image: Array) -> torch.Tensor:
    """Return the channels of an image (height, width, channels) as a contiguous tensor (channels, height, width)."""
    interleaved = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    planes = torch.empty(interleaved.shape, dtype=interleaved.dtype)
    copy_pixels(interleaved, planes)
    return planes


def _interleaved(pixels: Array) -> bool:
    """Decide whether an array is (channels, height, width) of 2 to 4 channels that lie side by side."""
    return (
        pixels.ndim == 3
        and 2 <= len(pixels) <= 4
        and pixels.dtype in _SPLIT
        and pixels.transpose(1, 2, 0).flags.c_contiguous
    )

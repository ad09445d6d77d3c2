"""The eight symmetries of a square, of batches of windows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Symmetry(NamedTuple):
    """A symmetry of a rectangle: transposed first, then mirrored.

    Attributes:
        transposed: Rows become columns.
        upside_down: The first row becomes the last one.
        mirrored: The first column becomes the last one.
    """

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    def of(self, pixels: torch.Tensor) -> torch.Tensor:
        """Apply the symmetry to the last two axes of a tensor (..., height, width)."""
        pixels = pixels.transpose(-1, -2) if self.transposed else pixels
        axes = [axis for axis, flipped in ((-2, self.upside_down), (-1, self.mirrored)) if flipped]
        return pixels.flip(axes) if axes else pixels

    def undone(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the tensor whose image under the symmetry is `pixels`."""
        axes = [axis for axis, flipped in ((-2, self.upside_down), (-1, self.mirrored)) if flipped]
        pixels = pixels.flip(axes) if axes else pixels
        return pixels.transpose(-1, -2) if self.transposed else pixels

    def of_batch(self, batch: Any) -> Any:
        """Apply the symmetry to the images of a batch: its tensors (n, channels, height, width)."""
        if isinstance(batch, (tuple, list)):
            moved = [self.of_batch(one) for one in batch]
            return type(batch)(moved) if type(batch) in (tuple, list) else type(batch)(*moved)
        return self.of(batch) if isinstance(batch, torch.Tensor) and batch.ndim == 4 and any(self) else batch


IDENTITY = Symmetry()
SQUARE = tuple(Symmetry(bool(k & 4), bool(k & 2), bool(k & 1)) for k in range(8))
RECTANGLE = SQUARE[:4]


def symmetries(tta: str | None, height: int, width: int) -> tuple[Symmetry, ...]:
    """Return the symmetries to average over; the identity comes first.

    Args:
        tta: "d4", or None for the identity alone.
        height: Rows of a window.
        width: Columns of a window. Windows that are not square keep their shape under four symmetries only.
    """
    if tta is None:
        return (IDENTITY,)
    return SQUARE if height == width else RECTANGLE

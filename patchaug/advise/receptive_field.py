"""Receptive field of a model, measured by gradients: which input pixels change one output pixel, and how much.

A pixel belongs to the field of an output pixel if the gradient there is not zero. Rows and columns are measured apart,
on long strips, so that fields of more than a thousand pixels fit into memory. The result holds for the worst place of
an output pixel: in a network that halves the resolution, neighbours reach differently far to both sides.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from patchaug.errors import OptionError

_STRIP = 32  # pixels across a strip
_PLACES = 64  # neighbouring output pixels that are compared: twice the largest stride of common networks
_INPUTS = 3  # random images, whose fields are united: units that are off for one are on for another
_SHORTEST, _LONGEST = 256, 4096  # pixels along a strip
_SEED = 20190131
_SCALE = 1e18  # of gradients, so that the smallest of a deep network do not become 0 in float32


@dataclass(frozen=True)
class AxisField:
    """Reach of the field along one axis.

    Attributes:
        before: Pixels before the output pixel that the field reaches at most.
        after: Pixels after it.
        whole: Whether the field reached an end of the longest strip, so that the reach is a lower limit.
        places: Output pixels with these fields, on a strip of `length` pixels.
        length: Pixels along the strip.
    """

    before: int
    after: int
    whole: bool = False
    places: tuple[int, ...] = ()
    length: int = 0

    @property
    def width(self) -> int:
        """Pixels between both ends, those included."""
        return self.before + 1 + self.after


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of a model, for the worst place of an output pixel.

    Attributes:
        down, across: Reach along y and x.
        effective: Distance in pixels within which `share` of the gradient lies, by absolute value, along the wider
            axis; means over images and places.
        share: Part of the gradient that the effective field holds.
    """

    down: AxisField
    across: AxisField
    effective: int
    share: float

    @property
    def reach(self) -> int:
        """Distance from the border, in pixels, from which on a pixel has its whole field inside on all sides."""
        return max(self.down.before, self.down.after, self.across.before, self.across.after)

    @property
    def whole(self) -> bool:
        """Whether the field is larger than the longest strip, as of attention over the patch."""
        return self.down.whole or self.across.whole


def measure_receptive_field(model: nn.Module, n_in: int, *, share: float = 0.95) -> ReceptiveField:
    """Measure the receptive field of a model in evaluation mode; the model stays as it is.

    Args:
        model: Gives scores (n, classes, height, width) for images (n, n_in, height, width), also of other sizes.
        n_in: Channels of the images.
        share: Part of the gradient that the effective field holds, 0 to 1.

    Raises:
        OptionError: The model does not accept strips, or its answer does not depend on the image.

    Examples:
        >>> from torch import nn
        >>> from patchaug.advise.receptive_field import measure_receptive_field
        >>> field = measure_receptive_field(nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Conv2d(8, 2, 3)), 3)
        Traceback (most recent call last):
        ...
        patchaug.errors.OptionError: the model gives ... it must give scores of the image's size
        >>> measure_receptive_field(nn.Conv2d(3, 2, 5, padding=2), 3).reach
        2
    """
    probe = copy.deepcopy(model).cpu().float().eval()
    for one in probe.modules():
        if hasattr(one, "inplace"):
            one.inplace = False
    for parameter in probe.parameters():
        parameter.requires_grad_(False)
        if parameter.ndim == 1 and not parameter.any():  # a residual way that is off until the first step
            parameter.fill_(0.5)
    across, radius = _axis(probe, n_in, share, 1, _SHORTEST)
    down, other = _axis(probe, n_in, share, 0, _SHORTEST, across)
    return ReceptiveField(down, across, max(radius, other), share)


def full_context_share(height: int, width: int, reach: int) -> float:
    """Return the share of a patch's pixels that lie at least `reach` pixels from each border.

    Args:
        height: Pixels of the patch.
        width: Pixels of the patch.
        reach: Pixels that the field reaches to each side.

    Examples:
        >>> full_context_share(100, 100, 10)
        0.64
        >>> full_context_share(16, 100, 10)
        0.0
    """
    return max(height - 2 * reach, 0) * max(width - 2 * reach, 0) / (height * width)


def _axis(
    probe: nn.Module, n_in: int, share: float, along: int, length: int, like: AxisField | None = None
) -> tuple[AxisField, int]:
    """Measure one axis on strips that grow until the field fits.

    Where the widest fields of the other axis, `like`, are the same on this one, no other places are measured.
    """
    while True:
        strip = _Strip(probe, n_in, along, max(length, 0 if like is None else like.length))
        if like is not None:
            strip.measure(like.places)
        if like is None or (strip.before, strip.after) != (like.before, like.after):
            strip.scan(strip.middle, strip.middle + _PLACES - 1)
        places = strip.widest()
        if not strip.touched:
            strip.confirm(places)
        if not strip.touched or length >= _LONGEST:
            return AxisField(strip.before, strip.after, strip.touched, places, strip.length), strip.radius(share)
        length = 2 * strip.length


class _Strip:
    """Fields of neighbouring output pixels on a strip of one length.

    Attributes:
        before, after: Largest reach so far.
        touched: Whether a field reaches an end of the strip.
    """

    def __init__(self, probe: nn.Module, n_in: int, along: int, length: int) -> None:
        self.probe, self.n_in, self.along, self.length, self.middle = probe, n_in, along, length, length // 2
        self.before = self.after = 0
        self.touched = False
        self._masses = torch.zeros(length, dtype=torch.float64)
        self._ends: dict[int, tuple[int, int]] = {}
        self._image, self._line = self._forward(0)

    def _forward(self, number: int) -> tuple[Any, Any]:
        """Return a random image, and the sum of its scores, (length, strip)."""
        generator = torch.Generator().manual_seed(_SEED + number)
        shape = (1, self.n_in, *((self.length, _STRIP) if self.along == 0 else (_STRIP, self.length)))
        image = torch.rand(shape, generator=generator).requires_grad_()
        scores = _scores(self.probe, image)
        weights = _SCALE * (torch.rand(scores.shape[1], generator=generator) + 0.5)
        return image, (scores[0] * weights[:, None, None]).sum(0).movedim(self.along, 0)

    def scan(self, first: int, last: int) -> None:
        """Measure the places from first to last: ends never move back, so that equal ends need no look in between."""
        low, high = self._field(first), self._field(last)
        if low != high and last - first > 1 and not self.touched:
            middle = (first + last) // 2
            self.scan(first, middle)
            self.scan(middle, last)

    def widest(self) -> tuple[int, ...]:
        """Return the places with the largest reach before and after.

        Raises:
            OptionError: No field holds a pixel.
        """
        if not self._ends:
            raise OptionError("the model's answer does not depend on the image: all gradients are 0")
        return (
            max(self._ends, key=lambda place: place - self._ends[place][0]),
            max(self._ends, key=lambda place: self._ends[place][1] - place),
        )

    def measure(self, places: Iterable[int]) -> None:
        """Measure the fields of some places."""
        for place in places:
            self._field(place)

    def confirm(self, places: Iterable[int]) -> None:
        """Measure places again with other images: units that are off for one are on for another."""
        for number in range(1, _INPUTS):
            self._image, self._line = self._forward(number)
            self._ends.clear()
            self.measure(places)

    def radius(self, share: float) -> int:
        """Return the distance within which a share of the gradients lies."""
        held = (self._masses / self._masses.sum()).cumsum(0)
        return int(torch.searchsorted(held, share))

    def _field(self, place: int) -> tuple[int, int] | None:
        """Return the first and the last pixel of a field; None where all gradients are 0."""
        if place in self._ends:
            return self._ends[place]
        (gradient,) = torch.autograd.grad(self._line[place].sum(), self._image, retain_graph=True)
        mass = gradient[0].abs().sum(0, dtype=torch.float64).movedim(self.along, 0).sum(1)
        (reached,) = torch.nonzero(mass, as_tuple=True)
        if not len(reached):
            return None
        first, last = int(reached[0]), int(reached[-1])
        self.before, self.after = max(self.before, place - first), max(self.after, last - place)
        self.touched |= first == 0 or last == self.length - 1
        self._masses.index_add_(0, (torch.arange(self.length) - place).abs(), mass / mass.sum())
        self._ends[place] = first, last
        return first, last


def _scores(probe: nn.Module, image: Any) -> Any:
    """Run the model on a strip, and check the shape of its answer."""
    sides = f"{image.shape[2]} x {image.shape[3]} px"
    try:
        scores = probe(image)
    except Exception as error:  # whatever the foreign model raises
        line = str(error).strip().partition("\n")[0]
        raise OptionError(
            f"the model fails on an image of {sides}, on which its receptive field is measured: {line}"
        ) from error
    if not isinstance(scores, torch.Tensor) or scores.ndim != 4 or scores.shape[2:] != image.shape[2:]:
        found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise OptionError(f"the model gives {found} for an image of {sides}; it must give scores of the image's size")
    return scores

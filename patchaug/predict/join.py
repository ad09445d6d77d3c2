"""Turns the answers of models into probabilities, averages them, and joins windows to bands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.predict.accumulate import Band, RowSum
from patchaug.predict.layout import Layout
from patchaug.predict.options import PredictOptions
from patchaug.predict.region import Region
from patchaug.predict.symmetries import Symmetry

Places = Sequence[tuple[int, int]]


def probabilities_of(scores: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of a model's scores: the softmax, or for one channel those of no and yes.

    Args:
        scores: Float (n, classes, height, width).

    Returns:
        float32 of the same shape; (n, 2, height, width) for one channel, 1 - p and p of the sigmoid p.
    """
    scores = scores.float()
    if scores.shape[1] > 1:
        return torch.softmax(scores, dim=1)
    yes = torch.sigmoid(scores)
    return torch.cat([1 - yes, yes], dim=1)


def classes_of(scores: torch.Tensor) -> torch.Tensor:
    """Return the class of each pixel: the first of the highest scores.

    Args:
        scores: Float (n, classes, height, width); one channel is class 1 where it is above 0.

    Returns:
        int64 (n, height, width); bool for one channel.
    """
    if scores.shape[1] == 1:
        return scores[:, 0] > 0
    return scores.max(dim=1).indices  # argmax(dim=1) takes ten times as long on CPUs


def _require_numbers(values: torch.Tensor) -> None:
    """Raise OptionError where the answers to a batch, (n, height, width), hold NaN."""
    bad = values.isnan().flatten(1).any(dim=1)
    if bad.any():
        raise OptionError(
            f"the model gives NaN for {int(bad.sum())} of the {len(bad)} windows of a batch; has its training "
            f"diverged, or do its numbers leave the range of float16?"
        )


class Joiner:
    """Joins the answers to the windows of a grid, batch by batch in order; one thread uses it.

    Args:
        layout: The windows and the map.
        options: How to predict.
        region: The part of the slide that is predicted.
        classes: Number of the learner's classes, or None.
        rows: Rows of the grid that are predicted.
        chosen: Which of their windows are predicted, bool (len(rows), columns).
        first: Number of the first band.
        models: Number of models.
        strict: Whether the model must give that many classes.
    """

    def __init__(
        self, layout: Layout, options: PredictOptions, region: Region, classes: int | None, rows: range, chosen: Array,
        first: int, models: int, *, strict: bool = True,
    ) -> None:  # fmt: skip
        self.layout, self.options, self.region = layout, options, region
        self.rows, self.chosen, self.first = rows, chosen, first
        self._codes, self._classes, self._strict = classes, classes, strict
        blend = layout.rows.blend
        alone = models == 1 and options.tta is None and not options.spread
        self._keeps_scores = options.what == "classes" and blend == "crop" and alone
        self._sum: RowSum | None = None
        self._spread: RowSum | None = None
        self._row, self._left = rows.start - 1, 0  # the row of windows in progress, and those of it that are to come
        self._mean: torch.Tensor | None = None
        self._squares: torch.Tensor | None = None
        self._bands = {row: (number, top, bottom) for number, (top, bottom, row) in enumerate(layout.bands)}

    def checked(self, scores: Any, shape: Sequence[int]) -> torch.Tensor:
        """Return a model's answer as a tensor.

        Args:
            scores: The answer.
            shape: That of the windows, (n, channels, height, width).

        Raises:
            OptionError: It is not one tensor of scores of that size, or of other classes than the learner's.
        """
        if not isinstance(scores, torch.Tensor):
            raise OptionError(f"the model gives a {type(scores).__name__}, and a class map needs one tensor of scores")
        scores = scores.detach().as_subclass(torch.Tensor)
        given = scores.shape[1] if scores.ndim == 4 else 0
        single = given == 1 and self._codes in (None, 2)
        if not (given > 1 or single) or scores.shape[-2:] != tuple(shape[-2:]) or len(scores) != shape[0]:
            raise OptionError(
                f"for windows of shape {tuple(shape)} the model gives {tuple(scores.shape)}, and a class map "
                f"needs (n, classes, height, width), where one channel stands for two classes"
            )
        classes = max(given, 2)
        if self._strict and self._codes not in (None, classes):
            raise OptionError(
                f"the model gives {given} scores a pixel, and the learner has {self._codes} classes; make a model of "
                f"that many (n_out)"
            )
        self._classes = classes
        return scores

    def add(self, group: Places, scores: torch.Tensor, symmetry: Symmetry, member: int, last: bool) -> list[Band]:
        """Add the answer to a batch of windows.

        Args:
            group: Rows and columns of the windows.
            scores: Float (n, classes, height, width).
            symmetry: What the windows were turned by.
            member: Number of the answer to this batch.
            last: Whether it is the last one.

        Returns:
            The bands that are now complete.
        """
        values = self._averaged(scores, symmetry, member, last)
        if not last:
            return []
        assert values is not None
        spread: Iterable[Array | None] = repeat(None, len(group))
        if self._squares is not None:
            spread = (self._squares / (member + 1)).sqrt().cpu().numpy()
        ready: list[Band] = []
        for (row, column), value, deviation in zip(group, values.cpu().numpy(), spread, strict=True):
            ready += self._reach(row)
            assert self._sum is not None
            self._sum.add(row, column, value)
            if self._spread is not None:
                self._spread.add(row, column, deviation)
            self._left -= 1
            ready += self._complete() if not self._left else []
        return ready

    def end(self) -> list[Band]:
        """Return the bands below the last window that is predicted."""
        return self._reach(self.rows.stop)

    def _averaged(self, scores: torch.Tensor, symmetry: Symmetry, member: int, last: bool) -> torch.Tensor | None:
        """Return the mean of the answers to a batch once the last of them is there."""
        if self._keeps_scores:
            _require_numbers(scores.amax(dim=1))
            return classes_of(scores).to(torch.uint8 if (self._classes or 0) <= 256 else torch.int32)
        own = symmetry.undone(probabilities_of(scores))
        if not member:
            self._mean = own
            self._squares = torch.zeros_like(own) if self.options.spread else None
        else:
            assert self._mean is not None
            change = own - self._mean
            self._mean = self._mean + change / (member + 1)
            if self._squares is not None:
                self._squares += change * (own - self._mean)
        if not last:
            return None
        mean, self._mean = self._mean, None
        assert mean is not None
        _require_numbers(mean[:, 0])
        return mean

    def _reach(self, row: int) -> list[Band]:
        """Go on to a row; rows before it are complete."""
        ready: list[Band] = []
        while self._row < row:
            self._row += 1
            if self._row == self.rows.stop:
                break
            chosen = self.chosen[self._row - self.rows.start]
            self._left = int(chosen.sum())
            self._begin(~chosen)
            if not self._left:
                ready += self._complete()
        return ready

    def _begin(self, background: Array) -> None:
        """Begin a row of windows, some of which are background."""
        if self._sum is None:
            classes = self._classes or 2
            planes = 0 if self._keeps_scores else classes
            dtype = np.float32 if planes else np.uint8 if classes <= 256 else np.uint16
            self._sum = RowSum(self.layout, planes, dtype, self.first)
            if self.options.spread:
                self._spread = RowSum(self.layout, classes, np.float32, self.first)
        for one, value in ((self._sum, 1), (self._spread, 0)):
            if one is not None:
                one.begin(self._row)
                for column in np.flatnonzero(background):
                    one.add(self._row, self.layout.across.start + int(column), None, value)

    def _complete(self) -> list[Band]:
        """Return the band that a complete row of windows ends, unless it was not asked for."""
        number, top, bottom = self._bands.get(self._row, (-1, 0, 0))
        assert self._sum is not None
        if number < self.first:
            return []
        values = self._sum.end(bottom - top)
        spread = None if self._spread is None else self._spread.end(bottom - top)
        map_ = self.layout.rectangle
        inside = self.region.inside(Window(map_.x, map_.y + top, map_.width, bottom - top, map_.level))
        if inside is not None:
            values *= inside
            if not self._keeps_scores:
                values[0] += ~inside
            if spread is not None:
                spread *= inside
        if self._keeps_scores:
            return [Band(top, values, None, None)]
        classes = classes_of(torch.from_numpy(values)[None])[0].numpy()
        classes = classes.astype(np.uint8 if len(values) <= 256 else np.uint16)
        return [Band(top, classes, values if self.options.what == "probabilities" else None, spread)]

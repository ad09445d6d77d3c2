"""Joins the answers of models to bands of the map, window by window in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.predict.accumulate import Band, Block, WindowSum, grown
from patchaug.predict.layout import Layout
from patchaug.predict.options import PredictOptions
from patchaug.predict.probabilities import Average, classes_of, highest
from patchaug.predict.region import Region
from patchaug.predict.symmetries import Symmetry

Places = Sequence[tuple[int, int]]


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
        self._crops = layout.rows.blend == "crop"
        alone = models == 1 and options.tta is None and not options.spread
        self._takes_classes = options.what == "classes" and self._crops and alone
        self._average = Average(spread=options.spread)
        self._bands = {row: (number, top, bottom) for number, (top, bottom, row) in enumerate(layout.bands)}
        self._row, self._column = rows.start - 1, layout.across.stop  # the next window; before the first row
        self._band: Band | None = None  # the one in progress
        self._sums: list[WindowSum] = []  # of probabilities, and of their spread

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

    def add(self, group: Places, scores: torch.Tensor, symmetry: Symmetry, last: bool) -> list[Band]:
        """Add the answer to a batch of windows.

        Args:
            group: Rows and columns of the windows.
            scores: Float (n, classes, height, width).
            symmetry: What the windows were turned by.
            last: Whether it is the last answer to this batch.

        Returns:
            The bands that are now complete.
        """
        spread: Array | None = None
        if self._takes_classes:
            values = classes_of(scores)
        else:
            self._average.add(scores, symmetry)
            if not last:
                return []
            values, spread = self._average.taken()
        ready: list[Band] = []
        for k, (row, column) in enumerate(group):
            ready += self._reach(row, column)
            self._add(values[k], None if spread is None else spread[k])
            ready += self._next()
        return ready

    def end(self) -> list[Band]:
        """Return the bands that are complete when all windows to come are background."""
        return self._reach(self.rows.stop, self.layout.across.start)

    def _reach(self, row: int, column: int) -> list[Band]:
        """Go on to a window; those before it are background."""
        ready = self._next() if self._row < self.rows.start else []
        while (self._row, self._column) < (row, column):
            self._add(None, None)
            ready += self._next()
        return ready

    def _next(self) -> list[Band]:
        """Go on by one window; return the band that ends with a row."""
        self._column += 1
        if self._column < self.layout.across.stop:
            return []
        ready = self._ended() if self._row >= self.rows.start else []
        self._row, self._column = self._row + 1, self.layout.across.start
        if self._row < self.rows.stop:
            self._begin()
        return ready

    def _begin(self) -> None:
        """Begin a row of windows."""
        classes = self._classes or 2
        if not self._sums and not self._crops:
            top = self.layout.bands[self.first][0]
            self._sums = [WindowSum(self.layout, classes, top) for _ in range(1 + self.options.spread)]
        for one in self._sums:
            one.begin(self._row)
        number, top, bottom = self._bands.get(self._row, (-1, 0, 0))
        self._band = None
        if number >= self.first:
            shape = bottom - top, self.layout.rectangle.width
            planes = self.options.what == "probabilities"
            self._band = Band(
                top, np.zeros(shape, np.uint8 if classes <= 256 else np.uint16),
                np.zeros((classes, *shape), np.float32) if planes else None,
                np.zeros((classes, *shape), np.float32) if self.options.spread else None,
            )  # fmt: skip

    def _add(self, values: Array | None, spread: Array | None) -> None:
        """Add the window at hand; None for background."""
        column = self._column
        if self._crops:
            self._put(self._cut(values), self._cut(spread))
            return
        parts = zip(self._sums, (values, spread), (1, 0), strict=False)
        blocks = [one.add(column, part, background) for one, part, background in parts]
        self._put(*blocks, *[None] * (2 - len(blocks)))
        for one, block in zip(self._sums, blocks, strict=True):
            if block is not None:
                one.rest(column, block, 0 if self._band is None else len(self._band.classes))

    def _cut(self, values: Array | None) -> Block | None:
        """Return the part of a window that no other one has, within the map."""
        map_, window = self.layout.rectangle, self.layout.window(self._row, self._column)
        (top, bottom), (left, right) = self.layout.rows.spans[self._row], self.layout.columns.spans[self._column]
        top, bottom, left, right = max(top, map_.y), min(bottom, map_.bottom), max(left, map_.x), min(right, map_.right)
        if values is None or self._band is None:
            return None
        part = grown(values, window)[..., top - window.y : bottom - window.y, left - window.x : right - window.x]
        return Block(left - map_.x, right - map_.x, part)

    def _put(self, block: Block | None, spread: Block | None) -> None:
        """Write complete columns to the band; without a block they are background."""
        band, map_ = self._band, self.layout.rectangle
        if band is None:
            return
        rows = len(band.classes)
        if block is None:
            if self._crops and band.probabilities is not None:
                left, right = self.layout.columns.spans[self._column]
                band.probabilities[0, :, max(left - map_.x, 0) : max(right - map_.x, 0)] = 1
            return
        there = np.s_[..., block.left : block.right]
        values = block.values[..., :rows, :]
        band.classes[there] = values if self._takes_classes else highest(values)
        if band.probabilities is not None:
            band.probabilities[there] = values
        if band.spread is not None and spread is not None:
            band.spread[there] = spread.values[..., :rows, :]

    def _ended(self) -> list[Band]:
        """Return the band that a complete row of windows ends, unless it was not asked for."""
        band, map_ = self._band, self.layout.rectangle
        for one in self._sums:
            one.end(0 if band is None else len(band.classes))
        self._band = None
        if band is None:
            return []
        inside = self.region.inside(Window(map_.x, map_.y + band.top, map_.width, len(band.classes), map_.level))
        if inside is not None:
            for part in (band.classes, band.probabilities, band.spread):
                if part is not None:
                    part *= inside
            if band.probabilities is not None:
                band.probabilities[0] += ~inside
        return [band]

"""Joins the answers of models to pieces of the map, window by window in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from patchaug.core.arrays import Array
from patchaug.core.windows import Window
from patchaug.errors import OptionError
from patchaug.predict.accumulate import Piece, WindowSum, grown
from patchaug.predict.layout import Layout
from patchaug.predict.model_output import select_output
from patchaug.predict.options import PredictOptions
from patchaug.predict.probabilities import Average, classes_of, highest
from patchaug.predict.region import Region
from patchaug.predict.symmetries import Symmetry

Places = Sequence[tuple[int, int]]
T = TypeVar("T")


class Joiner(Generic[T]):
    """Joins the answers to the windows of a grid, batch by batch in order; one thread uses it.

    Args:
        take: Called with each piece of a band that is complete; what it returns, but None, is handed on.
        layout: The windows and the map.
        options: How to predict.
        region: The part of the slide that is predicted.
        classes: Number of the learner's classes, or None.
        rows: Rows of the grid that are predicted.
        first: Number of the first band.
        models: Number of models.
        strict: Whether the model must give that many classes.
    """

    def __init__(
        self, take: Callable[[Piece], T | None], layout: Layout, options: PredictOptions, region: Region,
        classes: int | None, rows: range, first: int, models: int, *, strict: bool = True,
    ) -> None:  # fmt: skip
        self.take, self.layout, self.options, self.region = take, layout, options, region
        self.rows, self.first = rows, first
        self._codes, self._classes, self._strict = classes, classes, strict
        self._crops = layout.rows.blend == "crop"
        alone = models == 1 and options.tta is None and not options.spread
        self._takes_classes = options.what == "classes" and self._crops and alone
        self._average = Average(spread=options.spread)
        self._bands = {row: (number, top, bottom) for number, (top, bottom, row) in enumerate(layout.bands)}
        self._row, self._column = rows.start - 1, layout.across.stop  # the next window; before the first row
        self._band: tuple[int, int, int] | None = None  # number, first row and end of the one in progress
        self._results: list[T] = []
        self._sums: list[WindowSum] = []  # of probabilities, and of their spread

    def checked(self, scores: Any, shape: Sequence[int]) -> torch.Tensor:
        """Return a model's answer as a tensor.

        Args:
            scores: The answer.
            shape: That of the windows, (n, channels, height, width).

        Raises:
            OptionError: It is no tensor of scores of that size, or of other classes than the learner's; or there are
                several, see `select_output`.
        """
        scores = select_output(scores, self.options.output).detach().as_subclass(torch.Tensor)
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

    def add(self, group: Places, scores: torch.Tensor, symmetry: Symmetry, last: bool) -> list[T]:
        """Add the answer to a batch of windows.

        Args:
            group: Rows and columns of the windows.
            scores: Float (n, classes, height, width).
            symmetry: What the windows were turned by.
            last: Whether it is the last answer to this batch.

        Returns:
            What `take` has made of the pieces that are now complete.
        """
        spread: Array | None = None
        if self._takes_classes:
            values = classes_of(scores)
        else:
            self._average.add(scores, symmetry)
            if not last:
                return []
            values, spread = self._average.taken()
        for k, (row, column) in enumerate(group):
            self._reach(row, column)
            self._add(values[k], None if spread is None else spread[k])
            self._next()
        return self._given()

    def reach(self, row: int) -> list[T]:
        """Go on to the first window of a row, or behind the last one; those before it are background."""
        self._reach(row, self.layout.across.start)
        return self._given()

    def _given(self) -> list[T]:
        given, self._results = self._results, []
        return given

    def _reach(self, row: int, column: int) -> None:
        """Go on to a window; those before it are background."""
        if self._row < self.rows.start:
            self._next()
        while (self._row, self._column) < (row, column):
            self._add(None, None)
            self._next()

    def _next(self) -> None:
        """Go on by one window."""
        self._column += 1
        if self._column < self.layout.across.stop:
            return
        if self._row >= self.rows.start:
            for one in self._sums:
                one.end(self._height)
        self._row, self._column = self._row + 1, self.layout.across.start
        if self._row < self.rows.stop:
            self._begin()

    def _begin(self) -> None:
        """Begin a row of windows."""
        if not self._sums and not self._crops:
            top = self.layout.bands[self.first][0]
            self._sums = [WindowSum(self.layout, self._planes, top) for _ in range(1 + self.options.spread)]
        for one in self._sums:
            one.begin(self._row)
        band = self._bands.get(self._row)
        self._band = band if band is not None and band[0] >= self.first else None

    @property
    def _planes(self) -> int:
        return self._classes or 2

    @property
    def _height(self) -> int:
        """Rows of the band in progress."""
        return 0 if self._band is None else self._band[2] - self._band[1]

    def _add(self, values: Array | None, spread: Array | None) -> None:
        """Add the window at hand; None for background."""
        column = self._column
        if self._crops:
            self._cut(values, spread)
            return
        parts = zip(self._sums, (values, spread), (1, 0), strict=False)
        blocks = [one.add(column, part, background) for one, part, background in parts]
        block, rows = blocks[0], self._height
        if block is not None and self._band is not None:
            self._put(block.left, *(one.values[:, :rows] for one in blocks if one is not None))
        for one, done in zip(self._sums, blocks, strict=True):
            if done is not None:
                one.rest(column, done, rows)

    def _cut(self, values: Array | None, spread: Array | None) -> None:
        """Put the part of a window that no other one has, within the map."""
        map_, window = self.layout.rectangle, self.layout.window(self._row, self._column)
        (top, bottom), (left, right) = self.layout.rows.spans[self._row], self.layout.columns.spans[self._column]
        top, bottom, left, right = max(top, map_.y), min(bottom, map_.bottom), max(left, map_.x), min(right, map_.right)
        if self._band is None:
            return
        if values is None:
            shape = self._planes, bottom - top, right - left
            values = np.zeros(shape[1:], self._dtype) if self._takes_classes else np.zeros(shape, np.float32)
            if not self._takes_classes:
                values[0] = 1
            spread = np.zeros(shape, np.float32) if self.options.spread else None
        else:
            there = np.s_[..., top - window.y : bottom - window.y, left - window.x : right - window.x]
            values = grown(values, window)[there]
            spread = None if spread is None else grown(spread, window)[there]
        self._put(left - map_.x, values, spread)

    @property
    def _dtype(self) -> Any:
        return np.uint8 if self._planes <= 256 else np.uint16

    def _put(self, left: int, values: Array, spread: Array | None = None) -> None:
        """Keep complete columns of the band, with background outside of the region."""
        assert self._band is not None
        number, top, _ = self._band
        map_ = self.layout.rectangle
        classes = (values if self._takes_classes else highest(values)).astype(self._dtype, copy=False)
        probabilities = values if self.options.what == "probabilities" else None
        height, width = classes.shape
        inside = self.region.inside(Window(map_.x + left, map_.y + top, width, height, map_.level))
        if inside is not None:
            for part in (classes, probabilities, spread):
                if part is not None:
                    part *= inside
            if probabilities is not None:
                probabilities[0] += ~inside
        last = left + width == map_.width
        result = self.take(Piece(number, top, left, classes, probabilities, spread, last))
        if result is not None:
            self._results.append(result)

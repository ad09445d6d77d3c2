"""Blocks of the validation slides that every candidate is scored on: the same pixels, each of them once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from patchaug.advise.candidate import Candidate
from patchaug.core.arrays import Array
from patchaug.core.resampling import nearest
from patchaug.core.windows import Window
from patchaug.predict.bands import open_prediction
from patchaug.predict.options import PredictOptions
from patchaug.predict.scores import ScoreCounts, count_pixels, scores_of
from patchaug.sampling.grid import Grid
from patchaug.sampling.plan import Plan
from patchaug.slides.resolution import region
from patchaug.slides.slide import Slide


class Block(NamedTuple):
    """A part of a slide, at the finest level of all candidates.

    Attributes:
        slide: Number of the slide.
        window: The part.
    """

    slide: int
    window: Window


def choose_blocks(slides: Sequence[Slide], level: int, side: int, pixels: float, seed: int) -> list[Block]:
    """Choose blocks of a grid at random, which share no pixel; one has foreground where there is any.

    Args:
        slides: The validation slides, with masks.
        level: Level of the blocks.
        side: Side of a block in pixels of the level, less on smaller slides.
        pixels: Number of pixels to choose; one block of each slide at least.
        seed: Seed of the choice.

    Examples:
        >>> import numpy as np
        >>> from patchaug import open_slide
        >>> from patchaug.advise.validation import choose_blocks
        >>> slide = open_slide(np.zeros((64, 100, 3), np.uint8), np.ones((64, 100), np.uint8))
        >>> len(choose_blocks([slide], 0, 32, 1e9, seed=1))
        6
    """
    blocks: list[Block] = []
    for number, slide in enumerate(slides):
        left_edge, top, right, bottom = slide.bounds(level)
        plan = Plan([slide], Grid((min(side, bottom - top), min(side, right - left_edge)), level=level), seed=seed)
        chosen, left, found = [], pixels / len(slides), False
        x0, y0 = (min(getattr(draw.window, axis) for draw in plan) for axis in "xy")
        for draw in plan:
            window = draw.window
            if (window.x - x0) % window.width or (window.y - y0) % window.height:
                continue  # flush with the border, so that it shares pixels with its neighbour
            foreground = _has_foreground(slide, window)
            if left > 0:
                chosen.append(Block(number, window))
            elif foreground and not found:
                chosen[-1] = Block(number, window)
            left -= window.width * window.height
            found |= foreground
            if left <= 0 and found:
                break
        blocks += chosen
    return blocks


def _has_foreground(slide: Slide, window: Window) -> bool:
    labels = slide.labels(window.level)
    where = window.x, window.y, window.width, window.height
    return any(labels.count(value, *where) for value in labels.runs if value not in (0, slide.ignore_index))


def predict_block(learn: Any, slide: Slide, block: Block, candidate: Candidate, **options: Any) -> Array:
    """Predict the classes of a block by the engine of whole slides, at the block's own pixels.

    Args:
        learn: A learner that was trained on the candidate's windows.
        slide: The slide of the block.
        block: The block.
        candidate: What the learner was trained on.
        **options: See `PredictOptions`.

    Returns:
        Class numbers, integer (height, width).
    """
    place = _place(slide, block.window, candidate)
    whole = Slide(slide.image, name=slide.name, path=slide.path, mpp=slide.mpp)  # also beyond a part or a region
    prediction = open_prediction(learn, whole, PredictOptions(region=place, workers=0, **options))
    classes = np.concatenate([band.classes for band in prediction.bands()])
    return _at(slide, classes, place, block.window)


def best_labels(slide: Slide, block: Block, candidate: Candidate) -> Array:
    """Return the labels of a block as a perfect model of the candidate's resolution would give them.

    Args:
        slide: The slide of the block.
        block: The block.
        candidate: Size and resolution.

    Returns:
        Class numbers, integer (height, width).
    """
    place = _place(slide, block.window, candidate)
    labels = slide.read_mask(place)
    if candidate.mpp is not None:
        _, width, height = region(slide, candidate.size, 0, candidate.mpp)
        rows, columns = (
            max(round(side * candidate.size / read), 1)
            for side, read in ((place.height, height), (place.width, width))
        )  # fmt: skip
        labels = nearest(nearest(labels, rows, columns), place.height, place.width)
    return _at(slide, labels, place, block.window)


def count_block(slide: Slide, block: Block, classes: Array, number: int) -> Array:
    """Count the pixels of each label and predicted class of a block, int64 (number, number).

    Args:
        slide: The slide of the block, with a mask.
        block: The block.
        classes: Predicted classes, integer (height, width).
        number: Number of classes.
    """
    truth = slide.read_mask(block.window)
    if slide.ignore_index is not None:
        classes = np.where(classes == slide.ignore_index, 0, classes)  # of `best_labels`; those pixels do not count
        if not (truth != slide.ignore_index).any():
            return np.zeros((number, number), np.int64)
    return count_pixels(truth, classes, number, slide.ignore_index)


def mean_dice(confusion: Array) -> float:
    """Return the mean Dice of all classes but the first, over those that the labels hold.

    Args:
        confusion: Pixels, (classes, classes), see `count_pixels`.

    Returns:
        Dice from 0 to 1; NaN where there is no such class.

    Examples:
        >>> from patchaug.advise.validation import mean_dice
        >>> mean_dice(np.array([[5, 1], [1, 2]]))
        0.6666666666666666
    """
    dice = scores_of(ScoreCounts(confusion))["dice"]
    known = dice[1:][confusion.sum(-1)[1:] > 0] if len(dice) > 1 else dice
    return float(known.mean()) if len(known) else math.nan


def _place(slide: Slide, window: Window, candidate: Candidate) -> Window:
    """Return the smallest window of the candidate's level that holds a block."""
    level = region(slide, candidate.size, candidate.level, candidate.mpp)[0]
    (left, right, width), (top, bottom, height) = (
        (int(low * new // old), -(-high * new // old), new)
        for low, high, old, new in zip(
            (window.x, window.y), (window.right, window.bottom), slide.level_size(window.level),
            slide.level_size(level), strict=True,
        )
    )  # fmt: skip
    right, bottom = min(max(right, left + 1), width), min(max(bottom, top + 1), height)
    return Window(left, top, right - left, bottom - top, level)


def _at(slide: Slide, classes: Array, place: Window, window: Window) -> Array:
    """Return the classes of a window's level under the centres of a block's pixels."""
    rows, columns = (
        np.clip(((2 * (first + np.arange(length)) + 1) * new) // (2 * old) - start, 0, held - 1)
        for first, length, old, new, start, held in zip(
            (window.y, window.x), (window.height, window.width), slide.level_size(window.level)[::-1],
            slide.level_size(place.level)[::-1], (place.y, place.x), classes.shape, strict=True,
        )
    )  # fmt: skip
    return np.asarray(classes[np.ix_(rows, columns)])

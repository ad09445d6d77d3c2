"""Cut one slide in a training and a validation part, with a guard band between them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from typing import Literal

from patchaug.core.arguments import names_arguments
from patchaug.core.validation import SEED, checked_integer
from patchaug.core.windows import Window
from patchaug.errors import OptionError, WindowError
from patchaug.slides.labels import Labels
from patchaug.slides.slide import Slide

Guard = int | Literal["auto"]
_SHARED = 16  # pixels of a file that belong together: a block of JPEG whose colours are stored at half the resolution
_MOST = 20  # the automatic guard is at most this part of the axis
_ENOUGH = 0.1  # of the share of a class that its part should have


@names_arguments
def split_region(slide: Slide, valid: float = 0.2, *, guard: Guard = "auto", seed: int = SEED) -> tuple[Slide, Slide]:
    """Cut a slide in two parts, of which plans read nothing but their own pixels: one to train on, one to validate.

    The validation part lies along one side of the slide: the first, in an order given by the seed, that leaves each
    class of the mask on both sides. Where none does, the cut moves inwards, so that the part holds the share of the
    pixels of all classes but 0 instead of all pixels; the one that comes closest is taken. Windows lie inside their
    part with their halo, whatever `inside` says; with edge="reflect" pixels are mirrored at its border. `read` and
    prediction see all of the slide.

    Args:
        slide: The slide, or a part of one.
        valid: Share of the pixels for validation, between 0 and 1; see above.
        guard: Pixels of level 0 between the parts. No window needs any; they keep apart what files store together, and
            what looks alike because it is near. "auto": 16 px of the coarsest level, so that no block of JPEG lies in
            both parts, but at most a twentieth of the axis.
        seed: 0 to 2^32 - 1; same seed, same cut.

    Returns:
        The training part and the validation part: slides with `frame`, of the same name.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
        WindowError: The guard leaves no pixel of a part.
        PatchaugError: The mask cannot be read.

    Examples:
        >>> import numpy as np
        >>> from patchaug import open_slide, split_region
        >>> slide = open_slide(np.zeros((1000, 800, 3), np.uint8), name="liver")
        >>> train, valid = split_region(slide, valid=0.25, guard=50, seed=1)
        >>> train.frame, valid.frame
        (Window(x=250, y=0, width=550, height=1000, level=0), Window(x=0, y=0, width=200, height=1000, level=0))
    """
    if not isinstance(slide, Slide):
        raise OptionError(f"split_region takes a slide, got a {type(slide).__name__}; open it first: open_slide(path)")
    if isinstance(valid, bool) or not isinstance(valid, (int, float)) or not 0 < valid < 1:
        raise OptionError(f"valid must lie between 0 and 1, got {valid!r}; 0.2 is usual")
    if isinstance(guard, str) and guard != "auto":
        raise OptionError(f'guard must be a number of pixels or "auto", got {guard!r}')
    guard = guard if guard == "auto" else checked_integer("guard", guard, 0)
    checked_integer("seed", seed, 0)
    whole = frame_of(slide)
    order = sorted(range(4), key=lambda side: blake2b(f"{seed}/{slide.id}/{side}".encode()).digest())
    lengths = {side: round(valid * (whole.width if side < 2 else whole.height)) for side in order}
    cuts = [cut for side in order if (cut := _cut(slide, whole, side, lengths[side], guard)) is not None]
    if not cuts:
        raise WindowError(
            f"{slide.name}: valid={valid} and a guard of {guard} px leave no pixels of {whole.width} x {whole.height}; "
            f"choose another share or a smaller guard"
        )
    train, held = cuts[0] if slide.mask is None else _best(slide, cuts, order, float(valid), guard)
    return part_of(slide, train), part_of(slide, held)


def frame_of(slide: Slide) -> Window:
    """Return the rectangle of level 0 that plans read."""
    return Window(0, 0, *slide.dimensions) if slide.frame is None else slide.frame


def part_of(slide: Slide, frame: Window) -> Slide:
    """Return the same slide, of which plans read a rectangle of level 0 only; it shares files and label indexes.

    Args:
        slide: The slide.
        frame: The rectangle.

    Raises:
        WindowError: It leaves level 0.
    """
    width, height = slide.dimensions
    if frame.level or not frame.inside(width, height):
        raise WindowError(f"{slide.name}: a part must lie in level 0, {width} x {height} px, got {frame}")
    part = object.__new__(type(slide))  # copy.copy would drop the label indexes, as a pickle does
    part.__dict__.update(slide.__dict__, frame=frame)
    return part


def _cut(slide: Slide, whole: Window, side: int, held: int, guard: Guard) -> tuple[Window, Window] | None:
    """Return training and validation part for one of so many pixels along a side; None where one has no pixel."""
    across = side < 2  # left and right; then above and below
    length = whole.width if across else whole.height
    band = min(round(_SHARED * slide.level_downsamples[-1]), length // _MOST) if guard == "auto" else guard
    rest = length - held - band
    if min(held, rest) < 1:
        return None
    spans = ((held + band, rest), (0, held)) if side % 2 == 0 else ((0, rest), (rest + band, held))
    windows = [
        Window(whole.x + start, whole.y, size, whole.height)
        if across
        else Window(whole.x, whole.y + start, whole.width, size)
        for start, size in spans
    ]
    return windows[0], windows[1]


def _best(
    slide: Slide, cuts: Sequence[tuple[Window, Window]], order: Sequence[int], valid: float, guard: Guard
) -> tuple[Window, Window]:
    """Return the first cut that leaves enough of each class on both sides, or the best one, with a warning."""
    labels, whole = slide.labels(), frame_of(slide)
    values = [value for value in labels.runs if value != slide.ignore_index and _count(labels, value, whole)]
    best, most = cuts[0], -1.0
    inner = (_inner_cut(slide, labels, values, side, valid, guard) for side in order)
    for cut in chain(cuts, inner):
        score = -1.0 if cut is None else _score(labels, values, whole, cut, valid)
        if cut is not None and score > most:
            best, most = cut, score
        if most >= _ENOUGH:
            return best
    names = dict(enumerate(slide.codes or ()))
    for part, one in zip(("training", "validation"), best, strict=True):
        if missing := [repr(names.get(value, value)) for value in values if not _count(labels, value, one)]:
            warnings.warn(
                f"{slide.name}: the {part} part has no pixel of class {', '.join(missing)}; choose another share or "
                f"seed, or more slides",
                stacklevel=5,
            )
    return best


def _count(labels: Labels, value: int, one: Window) -> int:
    return labels.count_within(value, (one.x, one.y, one.right, one.bottom))


def _score(labels: Labels, values: Sequence[int], whole: Window, cut: tuple[Window, Window], valid: float) -> float:
    """Return the least share of a class in a part, as a part of what the part should have: 1 at best, or more."""
    train, held = cut
    totals = [_count(labels, value, whole) for value in values]
    shares = [
        _count(labels, value, one) / total / wanted
        for one, wanted in ((train, 1 - valid), (held, valid))
        for value, total in zip(values, totals, strict=True)
    ]
    return min(shares, default=1.0)


def _inner_cut(
    slide: Slide, labels: Labels, values: Sequence[int], side: int, valid: float, guard: Guard
) -> tuple[Window, Window] | None:
    """Return the cut whose validation part holds the share of all pixels of the classes but 0: margins are glass."""
    whole = frame_of(slide)
    values = [value for value in values if value] or list(values)
    wanted = valid * sum(_count(labels, value, whole) for value in values)
    low, high = 1, whole.width if side < 2 else whole.height
    while low < high:
        middle = (low + high) // 2
        cut = _cut(slide, whole, side, middle, guard)
        if cut is None or sum(_count(labels, value, cut[1]) for value in values) >= wanted:
            high = middle
        else:
            low = middle + 1
    return _cut(slide, whole, side, low, guard)

"""Cut one slide in a training and a validation part, with a guard band between them."""

from __future__ import annotations

import warnings
from hashlib import blake2b
from typing import Literal

import numpy as np

from patchaug.core.arguments import names_arguments
from patchaug.core.validation import SEED, checked_integer
from patchaug.core.windows import Window
from patchaug.errors import OptionError, WindowError
from patchaug.slides.read_around import bounds_on
from patchaug.slides.slide import Slide

Guard = int | Literal["auto"]
_SHARED = 16  # pixels of a file that belong together: a block of JPEG whose colours are stored at half the resolution
_MOST = 20  # the automatic guard is at most this part of the axis
_ENOUGH = 0.1  # of the share of a class that its part should have


@names_arguments
def split_region(slide: Slide, valid: float = 0.2, *, guard: Guard = "auto", seed: int = SEED) -> tuple[Slide, Slide]:
    """Cut a slide in two parts, of which plans read nothing but their own pixels: one to train on, one to validate.

    The validation part lies along one side of the slide: the first, in an order given by the seed, that leaves each
    class of the mask on both sides, or the one that comes closest. Windows lie inside their part with their halo,
    whatever `inside` says; with edge="reflect" pixels are mirrored at its border. `read` and prediction see all of the
    slide.

    Args:
        slide: The slide, or a part of one.
        valid: Share of the pixels for validation, between 0 and 1.
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
    whole = frame_of(slide)
    cuts = [_cut(slide, whole, side, float(valid), guard) for side in range(4)]
    checked_integer("seed", seed, 0)
    order = sorted(range(4), key=lambda side: blake2b(f"{seed}/{slide.id}/{side}".encode()).digest())
    possible = [cuts[side] for side in order if cuts[side] is not None]
    if not possible:
        raise WindowError(
            f"{slide.name}: valid={valid} and a guard of {guard} px leave no pixels of {whole.width} x {whole.height}; "
            f"choose a smaller guard"
        )
    train, held = _best(slide, [one for one in possible if one is not None])
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


def _cut(slide: Slide, whole: Window, side: int, valid: float, guard: Guard) -> tuple[Window, Window] | None:
    """Return training and validation part for a validation part on a side; None where one has no pixel."""
    across = side < 2  # left and right; then above and below
    length = whole.width if across else whole.height
    coarsest = round(_SHARED * slide.level_downsamples[-1])
    band = min(coarsest, length // _MOST) if guard == "auto" else guard
    held = round(valid * length)
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


def _best(slide: Slide, cuts: list[tuple[Window, Window]]) -> tuple[Window, Window]:
    """Return the first cut that leaves enough of each class on both sides, or the best one, with a warning."""
    if slide.mask is None:
        return cuts[0]
    labels = slide.labels()
    here = bounds_on(frame_of(slide), slide.dimensions, slide.dimensions)
    totals = {value: labels.count_within(value, here) for value in labels.runs if value != slide.ignore_index}
    totals = {value: total for value, total in totals.items() if total}
    scores = []
    for cut in cuts:
        area = sum(one.width * one.height for one in cut)
        shares = [
            labels.count_within(value, (one.x, one.y, one.right, one.bottom)) / total / (one.width * one.height / area)
            for one in cut
            for value, total in totals.items()
        ]
        scores.append(min(shares, default=1.0))
        if scores[-1] >= _ENOUGH:
            return cut
    best = int(np.argmax(scores))
    if scores[best] == 0:
        train, held = cuts[best]
        missing = [
            (slide.codes[value] if slide.codes is not None and 0 <= value < len(slide.codes) else value, part)
            for value in totals
            for one, part in ((train, "training"), (held, "validation"))
            if not labels.count_within(value, (one.x, one.y, one.right, one.bottom))
        ]
        texts = ", ".join(f"the {part} part has no pixel of class {code!r}" for code, part in missing)
        warnings.warn(f"{slide.name}: {texts}; choose another share, or a part by hand: part_of", stacklevel=4)
    return cuts[best]

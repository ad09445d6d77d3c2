"""Legend and scale bar below a picture, drawn by Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from patchaug.core.arrays import Array

_LEAST_WIDTH = 480
_INK, _LINE = (33, 33, 33), (120, 120, 120)

Entry = tuple[str, tuple[int, int, int], bool, int]  # name, colour, whether it is clear, pixels


def with_legend(picture: Array, title: str, entries: Sequence[Entry], per_pixel: float, unit: str) -> Array:
    """Return a picture with a title, its classes and their shares, and a scale bar below it.

    Args:
        picture: uint8 (height, width, 3).
        title: Name of the slide.
        entries: Name, colour and pixels of each class; a clear one has an empty box.
        per_pixel: Units per pixel of the picture.
        unit: "um", or "px" for pixels of level 0.

    Returns:
        uint8 (more rows, width or 480, 3).

    Examples:
        >>> entries = [("nucleus", (0, 158, 115), False, 9)]
        >>> height, width, _ = with_legend(np.zeros((99, 600, 3), np.uint8), "liver", entries, 0.5, "um").shape
        >>> height > 99, width
        (True, 600)
    """
    height, width = picture.shape[:2]
    wide = max(width, _LEAST_WIDTH)
    size = min(max(round(wide / 60), 14), 32)
    font, gap = _font(size), size // 2
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    total = sum(count for *_, count in entries) or 1
    boxes = [
        (_shortened(draw, f"{_plain(name)}  {count / total:.1%}", font, wide - 4 * size), colour, clear)
        for name, colour, clear, count in entries
    ]
    places, x, line = [], gap, 0
    for text, _, _ in boxes:
        needed = round(draw.textlength(text, font=font)) + 3 * size
        if x > gap and x + needed > wide:
            x, line = gap, line + 1
        places.append((x, line))
        x += needed
    row = size + gap
    below = 2 * gap + (line + 2) * row + gap
    out = Image.new("RGB", (wide, height + below), (255, 255, 255))
    out.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(out)
    first = height + gap
    _draw_bar(draw, wide - gap, first, per_pixel, unit, width, font, size)
    name = _shortened(draw, _plain(title), font, wide // 2)
    draw.text((gap, first + size // 2), name, fill=_INK, font=font, anchor="lm")
    for (text, colour, clear), (x, line) in zip(boxes, places, strict=True):
        y = first + (line + 1) * row
        draw.rectangle((x, y, x + size, y + size), fill=(255, 255, 255) if clear else colour, outline=_LINE)
        draw.text((x + size + gap, y + size // 2), text, fill=_INK, font=font, anchor="lm")
    return np.asarray(out)


def bar_length(extent: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is at most a quarter of an extent.

    Examples:
        >>> bar_length(1000.0), bar_length(83.0)
        (200.0, 20.0)
    """
    power = 10.0 ** math.floor(math.log10(extent / 4))
    return max(step * power for step in (1, 2, 5) if step * power <= extent / 4 * (1 + 1e-9))


def _draw_bar(draw: Any, right: int, top: int, per_pixel: float, unit: str, width: int, font: Any, size: int) -> None:
    """Draw the scale bar with its label, its right end at a place."""
    length = bar_length(per_pixel * width)
    pixels = round(length / per_pixel)
    if unit == "px":
        text = f"{length:g} px of level 0"
    else:
        text = f"{length:g} µm" if length < 1000 else f"{length / 1000:g} mm"
    thick = max(size // 5, 2)
    middle = top + size // 2
    draw.rectangle((right - pixels, middle - thick // 2, right, middle + thick // 2), fill=_INK)
    draw.text((right - pixels - size // 2, top + size // 2), text, fill=_INK, font=font, anchor="rm")


def _font(size: int) -> Any:
    """Load DejaVu Sans, whose file matplotlib brings; Pillow's own font has neither µ nor accents."""
    matplotlib = find_spec("matplotlib")
    if matplotlib is None or matplotlib.origin is None:
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf", size)


def _shortened(draw: Any, text: str, font: Any, most: int) -> str:
    """Cut the middle of a text that is too long."""
    if draw.textlength(text, font=font) <= most:
        return text
    left = len(text)
    while left > 8 and draw.textlength(text[: left // 2] + "…" + text[-(left // 2) :], font=font) > most:
        left -= 2
    return text[: left // 2] + "…" + text[-(left // 2) :]


def _plain(text: str) -> str:
    """Replace line breaks and halves of surrogate pairs, which cannot be drawn."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else " " if c in "\r\n\t" else c for c in text)

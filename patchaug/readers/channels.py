"""Choose channels of an image by number or by name, and split a transparency channel off its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as as_int
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError, ReadError

Channels = int | str | Sequence[int | str]

WHITE = 255  # value of transparent pixels of 8 bits


def channel_numbers(name: str, count: int, names: Sequence[str] | None, channels: Channels) -> tuple[int, ...]:
    """Return the numbers of chosen channels, in the order in which they were asked for.

    Args:
        name: File or slide, for errors.
        count: Number of channels that there are.
        names: Their names; None where the file does not store any.
        channels: One number or name, or several.

    Raises:
        OptionError: A channel does not exist, or the choice is empty or of another type.

    Examples:
        >>> from patchaug.readers.channels import channel_numbers
        >>> channel_numbers("a.tiff", 3, ["red", "green", "blue"], ["blue", 0])
        (2, 0)
    """
    chosen = [channels] if isinstance(channels, (int, str, np.integer)) else list(channels)
    if not chosen:
        raise OptionError(f"{name}: channels must name at least one channel, got {channels!r}")
    known = f"it has channels 0 to {count - 1}" + ("" if names is None else f" ({', '.join(names)})")
    return tuple(_number(name, count, names, channel, known) for channel in chosen)


def _number(name: str, count: int, names: Sequence[str] | None, channel: Any, known: str) -> int:
    if isinstance(channel, str):
        found = [number for number, called in enumerate(names or ()) if called == channel]
        if len(found) == 1:
            return found[0]
        if found:
            raise OptionError(f"{name}: {len(found)} channels are named {channel!r}; choose by number, such as {found}")
        if channel.isdecimal():  # texts of files and flags
            return _number(name, count, names, int(channel), known)
        raise OptionError(f"{name}: there is no channel {channel!r}; {known}")
    try:
        number = as_int(channel)
    except (TypeError, ValueError):
        raise OptionError(f"{name}: a channel must be a number or a name, got {channel!r}; {known}") from None
    if not 0 <= number < count:
        raise OptionError(f"{name}: there is no channel {number}; {known}")
    return number


def split_alpha(name: str, stored: Array, *, strict: bool, place: str = "") -> tuple[Array, Array]:
    """Split pixels whose last channel is transparency.

    Args:
        name: File, for errors.
        stored: (height, width, channels + 1), any dtype of an image.
        strict: Raise for values between transparent and opaque; else such pixels are not valid.
        place: Where the pixels lie, for errors.

    Returns:
        The pixels, (height, width[, channels]), and whether each is valid, bool (height, width). Transparent pixels
        of 8 bits become white.

    Raises:
        ReadError: The channel has other values than 0 and full: it may hold data.
    """
    alpha = np.ascontiguousarray(stored[..., -1])
    full = 1 if stored.dtype.kind == "f" else np.iinfo(stored.dtype).max
    valid = alpha == full
    opaque = bool(valid.all())
    if strict and not opaque:
        other = ~valid & (alpha != 0)
        if other.any():
            y, x = (int(at[0]) for at in np.nonzero(other))
            colours = stored.shape[2] - 1
            raise ReadError(
                f"{name}: channel {colours} is tagged as alpha and holds {alpha[y, x]}{place}, where alpha is 0 or "
                f"{full}; open it with channels={list(range(colours))} to leave the channel out, or with "
                f"channels={list(range(colours + 1))} to keep it as data"
            )
    pixels = np.empty((*alpha.shape, stored.shape[2] - 1), stored.dtype)
    white = None if opaque or stored.dtype != np.uint8 else np.where(valid, np.uint8(0), np.uint8(WHITE))
    for channel in range(pixels.shape[2]):  # each by itself takes a quarter of the time of all in one copy
        if white is None:
            pixels[..., channel] = stored[..., channel]
        else:
            np.bitwise_or(stored[..., channel], white, out=pixels[..., channel])
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels, valid

"""Read every tile of a raster once, or a sample of them, and report those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice
from typing import Any

from patchaug.core.windows import Window
from patchaug.errors import PatchaugError
from patchaug.readers import Raster, path_of, tile_size
from patchaug.slides.mask_values import add_values

Values = dict[int, tuple[int, tuple[int, int]]]  # {class: (pixels, the place of one)}

SHOWN = 3  # damaged tiles of a file that are listed one by one
_AT_ONCE = 512  # tiles that are given to the threads at a time


def decode_tiles(
    raster: Raster,
    read: Callable[[Window], Any],
    sample: int | None = None,
    values: Values | None = None,
    coarse: Values | None = None,
) -> tuple[int, list[str]]:
    """Read every tile of every level, or some.

    Args:
        raster: What is read; it should not cache tiles, since each is read once.
        read: Reads a window of it.
        sample: Number of tiles; None for all.
        values: Receives the values of a mask's level 0, with their pixels and a place.
        coarse: Receives those of its other levels.

    Returns:
        Number of tiles, and one line for each of the first damaged ones.
    """
    damaged: list[str] = []
    done = 0
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as threads:
        windows = iter(tile_windows(raster, sample))
        while some := list(islice(windows, _AT_ONCE)):  # decoders release the interpreter, so threads are enough
            results = threads.map(lambda window: _try(raster, read, window), some)
            for window, result in zip(some, results, strict=True):
                done += 1
                count = values if window.level == 0 else coarse
                if isinstance(result, str):
                    damaged.append(result)
                elif count is not None:
                    add_values(count, result, window)
    problems = damaged[:SHOWN]
    if len(damaged) > SHOWN:
        problems.append(f"{len(damaged)} of {done} tiles cannot be read; the first {SHOWN} are listed")
    return done, problems


def _try(raster: Raster, read: Callable[[Window], Any], window: Window) -> Any:
    try:
        return read(window)
    except PatchaugError as error:
        return str(error).removeprefix(f"{path_of(raster) or raster.name}: ")


def tile_windows(raster: Raster, sample: int | None) -> Iterator[Window]:
    """Yield one window for each tile of each level; or `sample` of them, evenly spread over all."""
    sides = [tile_size(raster, level) for level in range(len(raster.level_dimensions))]
    across = [-(-w // tw) for (w, _), (tw, _) in zip(raster.level_dimensions, sides, strict=True)]
    down = [-(-h // th) for (_, h), (_, th) in zip(raster.level_dimensions, sides, strict=True)]
    firsts = list(accumulate((a * d for a, d in zip(across, down, strict=True)), initial=0))
    chosen: Iterable[int] = range(firsts[-1])
    if sample is not None and sample < firsts[-1]:
        chosen = sorted({(2 * k + 1) * firsts[-1] // (2 * sample) for k in range(sample)})
    level = 0
    for number in chosen:
        while number >= firsts[level + 1]:
            level += 1
        row, column = divmod(number - firsts[level], across[level])
        (width, height), (tw, th) = raster.level_dimensions[level], sides[level]
        x, y = column * tw, row * th
        yield Window(x, y, min(tw, width - x), min(th, height - y), level)

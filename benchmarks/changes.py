"""What it costs to look at each read whether a file has been rewritten.

    python benchmarks/changes.py [--size 512] [--windows 2000]

Reads windows whose tiles are all kept decoded (the warmest case), with the look and without it, in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from patchaug import Window
from patchaug.readers import FileRaster, open_raster
from patchaug.testing import coordinate_image, write_pyramid

SIDE = 4096


def seconds(raster: object, windows: list[Window]) -> float:
    """Return the seconds that a window takes."""
    read: Callable[[Window], object] = raster.read  # type: ignore[attr-defined]
    start = time.perf_counter()
    for window in windows:
        read(window)
    return (time.perf_counter() - start) / len(windows)


def main() -> None:
    """Print microseconds a window, and the share of the look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    places = np.random.default_rng(0).integers(0, SIDE - options.size, (options.windows, 2)).tolist()
    windows = [Window(x, y, options.size, options.size) for x, y in places]
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.tif")
        write_pyramid(path, [coordinate_image(SIDE, SIDE)], compression="deflate")
        raster = open_raster(path, ram=1 << 30)
        seconds(raster, windows)  # decodes all
        look = FileRaster.require_not_rewritten
        alone = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            for _ in windows:
                look(raster)  # type: ignore[arg-type]
            alone.append((time.perf_counter() - start) / len(windows))
        whole = statistics.median(seconds(raster, windows) for _ in range(options.rounds))
    cost = statistics.median(alone)
    print(f"window of {options.size} px, all tiles kept: {1e6 * whole:.1f} us, of which the look {1e6 * cost:.2f} us: "
          f"{cost / whole:.2%}")  # fmt: skip


if __name__ == "__main__":
    main()

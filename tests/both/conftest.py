"""Tests that run unchanged under fastai 1 and under fastai 2."""

from importlib.util import find_spec

import numpy as np
import pytest

# The environment without fastai passes this folder over.
collect_ignore_glob = ["test_*.py"] if find_spec("fastai") is None else []

CODES = list("abcde")


@pytest.fixture(autouse=True)
def no_progress_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor windows on a screen."""
    monkeypatch.setenv("MPLBACKEND", "Agg")


def part(number: int, width: int = 96, height: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Image and mask of slide `number`: its part of one great coordinate-coded picture, so that pixels name slides."""
    from patchaug.testing import mask_at

    x0, y0 = np.arange(width)[None, :] + 512 * (number % 8), np.arange(height)[:, None] + 512 * (number // 8)
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = x0 >> 4
    image[..., 1] = (x0 & 15) << 4 | y0 >> 8
    image[..., 2] = y0 & 255
    return image, mask_at(x0, y0)


def origin(pixels: np.ndarray) -> tuple[int, int, int]:
    """(slide, x, y) of the first pixel of a patch of `part`."""
    from patchaug.testing import places

    x0, y0 = (int(values[0, 0]) for values in places(pixels))
    return x0 // 512 + 8 * (y0 // 512), x0 % 512, y0 % 512


def pairs_of(batch) -> list[tuple[np.ndarray, np.ndarray]]:
    """A batch as (uint8 (height, width, 3), integers (height, width)) pairs; fastai 1's masks have a channel."""
    images, masks = batch
    pixels = (images.detach().cpu().numpy() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return list(zip(pixels, masks.cpu().numpy().reshape(len(pixels), *pixels.shape[1:3]), strict=True))

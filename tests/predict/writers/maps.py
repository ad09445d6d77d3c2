"""Random maps with nested, touching and tiny objects, and random ways to cut them into bands."""

from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import strategies as st

from patchaug.predict.map_frame import MapFrame
from patchaug.predict.writers.registry import open_writer

CODES = ("background", "nucleus", "stroma & <fat>", "œdème")


@st.composite
def class_maps(draw: st.DrawFn, most: int = 40) -> np.ndarray:
    """Class numbers (height, width) of 1 to 4 classes: noise, noise in blocks, or rectangles over each other."""
    height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(1, len(CODES)))
    kind = draw(st.sampled_from(["noise", "blocks", "rectangles", "sparse"]))
    if kind == "noise":
        return random.integers(0, classes, (height, width)).astype(np.uint8)
    if kind == "sparse":
        return (random.random((height, width)) < 0.15).astype(np.uint8) * np.uint8(classes - 1)
    if kind == "blocks":
        coarse = random.integers(0, classes, (height // 3 + 1, width // 3 + 1)).astype(np.uint8)
        return np.kron(coarse, np.ones((3, 3), np.uint8))[:height, :width]
    out = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 12))):
        x, y = random.integers(0, width), random.integers(0, height)
        out[y : y + random.integers(1, height + 1), x : x + random.integers(1, width + 1)] = random.integers(classes)
    return out


@st.composite
def cuts(draw: st.DrawFn, height: int) -> list[int]:
    """First rows of bands, and the height."""
    inner = draw(st.sets(st.integers(1, height - 1), max_size=6)) if height > 1 else set()
    return [0, *sorted(inner), height]


_FOLDER = TemporaryDirectory()
_NUMBERS = count()


def fresh_folder() -> Path:
    """Make a folder for one example of a property; all are removed at the end."""
    folder = Path(_FOLDER.name, str(next(_NUMBERS)))
    folder.mkdir()
    return folder


def frame_of(classes: np.ndarray, **fields) -> MapFrame:
    """Frame of a map of level 0."""
    height, width = classes.shape
    return MapFrame("case 7", width, height, CODES, **fields)


def write_map(suffix, path: Path, frame, classes, edges, probabilities=None, **options) -> Path:
    """Write a map band by band."""
    with open_writer(suffix, path, frame, **options) as writer:
        for top, bottom in pairwise(edges):
            part = None if probabilities is None else probabilities[:, top:bottom]
            writer.write(top, classes[top:bottom], part)
    return path


def random_probabilities(classes: np.ndarray, seed: int = 0) -> np.ndarray:
    """float32 (classes, height, width) with a sum of 1, largest for the class of the map."""
    random = np.random.default_rng(seed)
    found = random.random((len(CODES), *classes.shape), dtype=np.float32) * 0.1
    np.put_along_axis(found, classes[None].astype(int), 1, axis=0)
    return found / found.sum(axis=0)

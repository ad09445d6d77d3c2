"""Planted faults: each of those that other samplers have makes a test of ours fail.

The faults are planted in a copy of the tree. In the quick profile only their places are looked up, so that this table
cannot fall behind the code; the long profile (HYPOTHESIS_PROFILE=long) plants them. Golden windows are left out: they
see every change, and say of none that it is wrong.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# name: (file, what stands there, the fault, tests that must see it)
FAULTS = {
    "off by one at the last window": (
        "sampling/distributions.py",
        "return self.bottom - self.top - self.height + 1",
        "return max(self.bottom - self.top - self.height, 1)",
        "tests/sampling/test_samplers.py",
    ),
    "off by one at the last window that holds a label": (
        "sampling/class_component.py",
        "windows = np.minimum(at, (length if high is None else high) - size) - np.maximum(at - size + 1, low) + 1",
        "windows = np.minimum(at, (length if high is None else high) - size - 1) - np.maximum(at - size + 1, low) + 1",
        "tests/sampling/test_foreground.py tests/sampling/test_samplers.py",
    ),
    "centre clamped at the border": (
        "sampling/class_component.py",
        "return max(pixel - self.size + 1, self.low) + rank - below[pixel]",
        "return min(max(pixel - self.size // 2, 0), len(below) - 1 - self.size)",
        "tests/sampling/test_foreground.py tests/sampling/test_samplers.py",
    ),
    "float32 cumulative sum": (
        "sampling/class_component.py",
        "below = np.cumsum(block_weights(runs, across.mask_below, down.mask_below))",
        "below = np.cumsum(block_weights(runs, across.mask_below, down.mask_below), dtype='f4').astype(int)",
        "tests/sampling/test_foreground.py",
    ),
    "key by addition": (
        "sampling/plan.py",
        "words = np.array((self.seed, stream, epoch, self.slide_ids[slide], draw), np.uint32)",
        "words = np.array((stream, (self.seed + epoch + self.slide_ids[slide] + draw) % 2**32), np.uint32)",
        "tests/sampling/test_plan.py",
    ),
    "epoch left out of the key": (
        "sampling/plan.py",
        "words = np.array((self.seed, stream, epoch, self.slide_ids[slide], draw), np.uint32)",
        "words = np.array((self.seed, stream, 0, self.slide_ids[slide], draw), np.uint32)",
        "tests/sampling/test_plan.py",
    ),
    "mask read with a second draw": (
        "sampling/plan.py",
        "patch = slide.read(window, self._sides)",
        "patch = Patch(slide.read(window, self._sides).image, "
        "slide.read(self[draw.index + len(self)].window, self._sides).mask)",
        "tests/sampling/test_samplers.py",
    ),
    "generator kept between draws": (
        "sampling/plan.py",
        "return np.random.Generator(np.random.PCG64(words))",
        "self.kept = getattr(self, 'kept', None) or np.random.Generator(np.random.PCG64(words)); return self.kept",
        "tests/sampling/test_plan.py",
    ),
    "last column of a grid left out": (
        "core/windows.py",
        "return -(-(length - size) // stride) + 1",
        "return (length - size) // stride + 1",
        "tests/core/test_windows.py tests/sampling/test_samplers.py",
    ),
    "probability of the first class alone": (
        "sampling/distributions.py",
        "probability += self.foreground * weight * one.probability(x, y)",
        "probability += self.foreground * weight * one.probability(x, y) * (one is self.classes[0])",
        "tests/sampling/test_samplers.py",
    ),
    "slides balanced by their labelled pixels, without the windows around them": (
        "sampling/dataset_balance.py",
        "amounts = [one.total * factor for one, factor in zip(components, factors, strict=True)]",
        "amounts = [one.labels.pixels(one.value) for one in components]",
        "tests/sampling/test_dataset_balance.py",
    ),
    "slides of a class drawn alike": (
        "sampling/dataset_balance.py",
        "number = bisect_right(one.below, integer_below(generator, one.below[-1]))",
        "number = int(generator.integers(len(one.below)))",
        "tests/sampling/test_dataset_balance.py",
    ),
    "probability of the window alone, without its slide": (
        "sampling/dataset_balance.py",
        "return self.of_slides[slide] * _mixture(self.laws[slide]).probability(x, y)",
        "return _mixture(self.laws[slide]).probability(x, y)",
        "tests/sampling/test_dataset_balance.py",
    ),
    "windows of a region without their halo": (
        "sampling/min_valid.py",
        "return Limit(labels, value, most, what, domain.margin_x, domain.margin_y) if value in labels.runs else None",
        "return Limit(labels, value, most, what) if value in labels.runs else None",
        "tests/sampling/test_regions.py",
    ),
    "pixels of a coarser level that lie in the region in part": (
        "slides/read_around.py",
        "left, top = -(-window.x * across // width), -(-window.y * down // height)",
        "left, top = window.x * across // width, window.y * down // height",
        "tests/sampling/test_regions.py",
    ),
    "a halo that leaves its part": (
        "slides/read_around.py",
        "left, right = min(window.x - bounds[0], halo[1]), min(bounds[2] - window.right, halo[1])",
        "left, right = min(window.x, halo[1]), min(bounds[2] - window.right, halo[1])",
        "tests/sampling/test_regions.py",
    ),
    "only the first of two limits": (
        "sampling/min_fraction.py",
        "permitted = (holes <= most).all(axis=0) if len(limits) else np.ones(1, bool)",
        "permitted = (holes <= most)[0] if len(limits) else np.ones(1, bool)",
        "tests/sampling/test_regions.py",
    ),
    "tissue found with the pixels of the other part": (
        "slides/tissue.py",
        "found[here] = tissue_mask(image[here])",
        "found[here] = tissue_mask(image)[here]",
        "tests/sampling/test_regions.py",
    ),
    "floor of adaptive windows left out": (
        "sampling/adaptive.py",
        "whole, 1 - self.floor, (1.0,), (component,))",
        "whole, 1.0, (1.0,), (component,))",
        "tests/sampling/test_adaptive.py",
    ),
    "losses of the epoch in progress used at once": (
        "sampling/adaptation.py",
        "losses, counts = (int(one) for one in cells[:2].sum(axis=1))",
        "cells = cells + np.roll(cells, 2, axis=0); losses, counts = (int(one) for one in cells[:2].sum(axis=1))",
        "tests/sampling/test_adaptive.py",
    ),
    "weight by the foreground law": (
        "sampling/importance.py",
        "return uniform / draw.probability",
        "return uniform / law.classes[0].probability(draw.window.x, draw.window.y) if law.classes else 1.0",
        "tests/sampling/test_importance.py",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_seen(name: str, tmp_path: Path) -> None:
    """Planted, it makes the suite that names its law fail."""
    file, before, after, suites = FAULTS[name]
    text = (ROOT / "patchaug" / file).read_text()
    assert text.count(before) == 1
    if os.environ.get("HYPOTHESIS_PROFILE") != "long":
        return
    for folder in ("patchaug", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "patchaug" / file).write_text(text.replace(before, after))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-k", "not golden", *suites.split()],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280,
        env={**os.environ, "HYPOTHESIS_PROFILE": "quick", "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    print(done.stdout[-2000:])
    assert done.returncode == 1 and " failed" in done.stdout.splitlines()[-1]

"""One window under augmentation: what is shown is what the data set gives."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchaug import Augment, Foreground, Grid, OptionError, Patch, Plan, Slide, Uniform, WindowError, open_slide
from patchaug.readers import ArrayRaster
from patchaug.viz import show_augment
from patchaug.viz.layout import draw_patch

alb = pytest.importorskip("albumentations", reason="the extra `augment` is not installed")


def pipeline() -> object:
    """Places, scale and colours, all at random."""
    return alb.Compose([alb.Affine(rotate=(-180, 180), scale=(0.9, 1.1), p=1), alb.RandomBrightnessContrast(p=1)])


def noisy(width: int, height: int) -> Slide:
    """Noise of 0.5 micrometres, a third of it class 1 or 2."""
    rng = np.random.default_rng([width, height])
    image = ArrayRaster([rng.integers(0, 256, (height, width, 3), np.uint8)])
    image.mpp = (0.5, 0.5)
    mask = rng.choice([0, 0, 0, 0, 1, 2], (height, width)).astype(np.uint8)
    return Slide(image, ArrayRaster([mask]), name="s", codes=["ground", "one", "two"], ignore_index=9)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Patch]:
    """The patches that are drawn, in order."""
    patches: list[Patch] = []

    def noted(ax: object, patch: Patch, **words: object) -> None:
        patches.append(patch)
        draw_patch(ax, patch, **words)

    monkeypatch.setattr("patchaug.viz.augmentation.draw_patch", noted)
    return patches


def equal(one: Patch, other: Patch) -> bool:
    """Whether image and mask are the same, pixel by pixel."""
    return bool((one.image == other.image).all() and (one.mask == other.mask).all())


def test_cells_of_a_grid_are_the_patches_of_the_epochs(shown: list[Patch]) -> None:
    """Windows of a grid stay, so each cell is what the data set gives in that epoch; no two are alike."""
    pytest.importorskip("torch")
    from patchaug import PatchDataset

    slide, sampler = noisy(300, 260), Grid(48)
    patches = PatchDataset([slide], sampler, augment=pipeline(), seed=5, shuffle=False, edge="reflect")
    figure = show_augment(slide, sampler, pipeline(), draws=6, index=4, seed=5, edge="reflect")
    window = patches.plan[4].window
    assert equal(shown[0], slide.read(window))
    assert all(equal(shown[1 + epoch], patches[epoch * len(patches) + 4]) for epoch in range(6))
    assert len({patch.image.tobytes() for patch in shown}) == 7
    assert [ax.get_title() for ax in figure.axes] == ["without augmentation", *(f"epoch {k}" for k in range(6))]
    assert figure.get_suptitle().startswith(f"s: 48 x 48 px at x={window.x}, y={window.y} of level 0, read with a halo")


@settings(max_examples=15)
@given(st.integers(0, 40), st.integers(0, 9), st.sampled_from([Uniform(32, per_slide=9), Foreground(32, per_slide=9)]))
def test_the_cell_of_the_windows_own_epoch_is_its_patch(index: int, seed: int, sampler: Uniform | Foreground) -> None:
    """The others are the same window under the keys of the other epochs."""
    slide = noisy(200, 220)
    plan = Plan([slide], sampler, seed=seed, shuffle=False, augment=Augment(pipeline()))
    with pytest.MonkeyPatch.context() as patched:
        cells: list[Patch] = []
        patched.setattr("patchaug.viz.augmentation.draw_patch", lambda ax, patch, **words: cells.append(patch))
        show_augment(slide, sampler, pipeline(), draws=6, index=index, seed=seed)
    draw = plan[index]
    assert len(cells) == 7 and equal(cells[0], slide.read(draw.window))
    assert all(equal(cells[1 + k], plan.read(replace(draw, epoch=k))) for k in range(6))
    if draw.epoch < 6:
        assert equal(cells[1 + draw.epoch], plan.read(draw))


def test_it_looks_like_its_siblings(tmp_path: Path) -> None:
    """A legend from the codes, a scale bar of the window as it is below the first cell, and a file."""
    slide = noisy(300, 300)
    figure = show_augment(slide, Uniform(100), pipeline(), draws=2, out=tmp_path / "a.png")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one", "two"]
    assert [len(ax.lines) for ax in figure.axes] == [1, 0, 0]
    assert figure.axes[0].texts[0].get_text() == "10 µm"
    assert np.diff(figure.axes[0].lines[0].get_xdata())[0] == 20
    assert Image.open(tmp_path / "a.png").size == tuple((figure.get_size_inches() * 100).round())
    twice = show_augment(slide, Uniform(50, mpp=1.0), pipeline(), draws=1).axes[0]  # its pixels have a micrometre
    assert twice.texts[0].get_text() == "10 µm" and np.diff(twice.lines[0].get_xdata())[0] == 10
    bare = show_augment(open_slide(np.zeros((90, 90, 3), np.uint8)), Uniform(20), alb.HorizontalFlip(), draws=1)
    assert not bare.legends and not bare.axes[0].lines


def test_what_cannot_be_shown_is_said() -> None:
    """No augmentation, no draws, no room for window and halo."""
    slide = noisy(60, 60)
    for words, text in (({"draws": 0}, "draws must be"), ({"index": -1}, "index must be")):
        with pytest.raises(OptionError, match=text):
            show_augment(slide, Uniform(20), alb.HorizontalFlip(), **words)
    with pytest.raises(OptionError, match="augment must be a transform of albumentations"):
        show_augment(slide, Uniform(20), None)
    with pytest.raises(WindowError, match="s: a window of 50 x 50 px with a halo"):
        show_augment(slide, Uniform(50), pipeline())
    assert show_augment(slide, Uniform(50), pipeline(), edge="reflect") is not None

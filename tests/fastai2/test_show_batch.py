"""show_batch with the windows of its patches on their slides."""

from pathlib import Path

import numpy as np
import pytest
from fastai.vision.all import DataLoaders, PILImage, SkipItemException, Transform, aug_transforms, plt

from patchaug import OptionError
from patchaug.fastai import RandomPatch
from patchaug.testing import places

from .conftest import loaders


@pytest.fixture(autouse=True)
def closed():
    """No figure stays open."""
    yield
    plt.close("all")


def shown(dls: DataLoaders, **words) -> list:
    """The axes of the figure that `show_batch` makes."""
    plt.close("all")
    assert dls.show_batch(**words) is None
    assert len(plt.get_fignums()) == 1
    return plt.gcf().axes


def outlines(axes: list) -> dict[int, tuple]:
    """For each number its slide, and (x, y, width, height) at level 0, from what is drawn."""
    found = {}
    for ax in axes:
        per_pixel = 256 / (ax.get_xlim()[1] - ax.get_xlim()[0])
        numbers = [int(text.get_text()) for text in ax.texts if text.get_text().isdigit()]
        for number, box in zip(numbers, ax.patches, strict=True):
            x, y = ((at + 0.5) * per_pixel for at in box.get_xy())
            found[number] = ax.get_title(), x, y, box.get_width() * per_pixel, box.get_height() * per_pixel
    return found


def origin(patch) -> tuple:
    """(x, y) of the first pixel of a patch that is drawn: coordinate-coded pixels say it."""
    pixels = np.asarray(patch.images[0].get_array()).astype(np.uint8)
    return tuple(pytest.approx(axis.min()) for axis in places(pixels[None]))


@pytest.mark.parametrize("workers", [0, 2])
def test_outlines_are_those_of_the_patches(folder: Path, workers: int) -> None:
    """In every epoch: the pixels of patch number n say where they come from, and there is outline n, on its slide."""
    dls = loaders(folder, num_workers=workers, bs=6)
    for _ in range(2):
        axes = shown(dls, windows=True)
        patches, slides = axes[:6], axes[6:]
        numbers = [int(ax.texts[0].get_text()) for ax in patches]
        found = outlines(slides)
        assert numbers == sorted(found) == [1, 2, 3, 4, 5, 6]
        assert [ax.get_title() for ax in slides] == list(dict.fromkeys(found[n][0] for n in numbers))
        draws = [dls.train.plan[index] for index in dls.train.get_idxs()[:6]]
        for number, ax, draw in zip(numbers, patches, draws, strict=True):
            assert found[number][1:] == (*origin(ax), pytest.approx(32), pytest.approx(32))
            assert found[number][0] == dls.train.slides[draw.slide].name
        for _ in dls.train:  # the next epoch
            pass


def test_the_usual_show_batch_is_as_it_was(folder: Path) -> None:
    """The same picture with patchaug's method and with fastai's; and the state of the loader does not move."""
    dls = loaders(folder)
    state = dls.train.state_dict()
    pictures = []
    for show in (dls.show_batch, super(type(dls.train), dls.train).show_batch):
        show(max_n=3, nrows=1)
        plt.gcf().canvas.draw()
        pictures.append(np.asarray(plt.gcf().canvas.buffer_rgba()).copy())
        plt.close("all")
    assert (pictures[0] == pictures[1]).all()
    assert len(shown(dls, max_n=3)) == 3
    shown(dls, windows=True)
    assert dls.train.state_dict() == state


def test_patches_keep_their_size_and_nothing_overlaps(folder: Path) -> None:
    """Also with the batch's transforms, a figure of the user's size, on the validation slide."""
    dls = loaders(folder, RandomPatch(32, per_slide=8, seed=1), batch_tfms=aug_transforms(size=48), bs=8)
    for words, patches, slides in (
        ({}, 8, 3),
        ({"max_n": 2, "figsize": (5, 3)}, 2, None),
        ({"nrows": 1, "max_n": 4}, 4, None),
    ):
        axes = shown(dls, windows=True, **words)
        drawn = [ax for ax in axes if ax.axison or ax.images]
        assert len([ax for ax in drawn if not ax.axison]) == patches
        assert slides is None or len([ax for ax in drawn if ax.axison]) == slides
        boxes = [ax.get_window_extent() for ax in drawn]
        assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
        whole = plt.gcf().bbox
        assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= whole.x1 and b.y1 <= whole.y1 for b in boxes)
    axes = shown(dls.valid, windows=True, max_n=5)
    assert outlines(axes[-1:])[2][1:] == pytest.approx((32, 0, 32, 32))


class Skip(Transform):
    """An item transform that leaves out each second patch, once it is `on`."""

    order = 1  # before ToTensor

    def __init__(self) -> None:
        super().__init__()
        self.on, self.count = False, 0

    def encodes(self, x: PILImage):
        """Fastai takes the next one in its place."""
        self.count += self.on
        if self.count % 2:
            raise SkipItemException
        return x


def test_patches_that_are_left_out_do_not_count(folder: Path) -> None:
    """Outlines are still those of the patches that are shown."""
    skip = Skip()
    dls = loaders(folder, item_tfms=[skip])
    skip.on = True
    axes = shown(dls, windows=True)
    found = outlines(axes[4:])
    assert [found[n][1:3] for n in (1, 2, 3, 4)] == [origin(ax) for ax in axes[:4]]
    first = [dls.train.plan[index].window for index in range(4)]
    assert [found[n][1:3] for n in (1, 2, 3, 4)] != [(w.x, w.y) for w in first]


def test_windows_that_are_not_known_are_not_shown(folder: Path) -> None:
    """Of a batch that is given, of axes that are, of patches that a transform has removed."""
    dls = loaders(folder)
    for words in ({"b": dls.one_batch()}, {"ctxs": plt.subplots()[1:]}, {"unique": True}, {"show": False}):
        with pytest.raises(OptionError, match="windows=True shows the next batch of a loader on a figure of its own"):
            dls.show_batch(windows=True, **words)
    dls.train.before_batch.add(Transform(lambda samples: samples[1:]))
    with pytest.raises(OptionError, match="a transform has removed 1 of the batch's 4 patches"):
        dls.show_batch(windows=True)

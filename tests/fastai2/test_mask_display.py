"""Masks over their images: class 0 is clear, other classes have a colour each, pixels without a label are grey."""

import numpy as np
import pytest
from fastai.vision.all import DataLoaders, Learner, TensorMask, nn, plt

from patchaug.core.palette import class_colour
from patchaug.fastai import RandomPatch, SlideDataLoaders, SlideInterpretation

IMAGE = np.full((64, 64, 3), 99, np.uint8)
MASK = np.zeros((64, 64), np.uint8)
MASK[:, 16:32], MASK[:, 32:48], MASK[:, 48:] = 1, 2, 255


@pytest.fixture
def dls() -> DataLoaders:
    """A slide of four stripes: background, two classes, no label."""
    yield SlideDataLoaders.from_lists(
        [(IMAGE, MASK)], [(IMAGE.copy(), MASK)], codes=["background", "nucleus", "vessel"], ignore_index=255,
        item_tfms=RandomPatch(64), bs=1, num_workers=0,
    )  # fmt: skip
    plt.close("all")


def overlays() -> list[np.ndarray]:
    """The colours of the masks that were drawn over images, one (height, width, 4) for each axes."""
    return [ax.images[-1].get_array() for ax in plt.gcf().axes if len(ax.images) > 1]


def test_show_batch_leaves_the_background_clear(dls: DataLoaders) -> None:
    """The picture is seen there as it is; alpha is that of fastai, or the user's."""
    for words, alpha in (({}, 0.5), ({"alpha": 0.2}, 0.2)):
        dls.show_batch(**words)
        (colours,) = overlays()
        assert (colours[:, :16, 3] == 0).all() and (colours[:, 16:, 3] == 255).all()
        for start, value in ((16, 1), (32, 2), (48, 255)):
            assert (colours[:, start : start + 16, :3] == class_colour(value, 255)).all()
        assert plt.gcf().axes[0].images[-1].get_alpha() == alpha
        plt.close("all")


def test_results_and_losses_are_shown_alike(dls: DataLoaders) -> None:
    """Targets and predictions; and a batch keeps fastai's type."""
    assert type(dls.one_batch()[1]) is TensorMask
    learn = Learner(dls, nn.Conv2d(3, 3, 1))
    with learn.no_bar():
        learn.show_results()
        target, predicted = overlays()
        assert (target[:, :16, 3] == 0).all() and (predicted == predicted[0, 0]).all()
        plt.close("all")
        SlideInterpretation.from_learner(learn).plot_top_losses(1)
    assert [ax.images[0].get_array().shape[2] for ax in plt.gcf().axes] == [3, 4, 4]

"""SlideInterpretation: losses, draws, pictures and targets of the same windows; fastai's own are refused."""

from pathlib import Path

import pytest
import torch
from fastai.vision.all import (
    CategoryBlock,
    ClassificationInterpretation,
    DataBlock,
    FlipItem,
    ImageBlock,
    IndexSplitter,
    Interpretation,
    Learner,
    SegmentationInterpretation,
    aug_transforms,
)
from torch.nn.functional import cross_entropy

from patchaug import OptionError
from patchaug.fastai import RandomPatch, SlideInterpretation

from .conftest import loaders
from .test_predict import brightness


@pytest.fixture
def learn(folder: Path, tmp_path: Path) -> Learner:
    """A convolution on random windows with random transforms, after one epoch."""
    torch.manual_seed(1)
    patch = RandomPatch(24, per_slide=6, seed=3)
    dls = loaders(folder, patch, item_tfms=[FlipItem(1.0)], batch_tfms=aug_transforms(p_affine=1.0, p_lighting=1.0))
    learn = Learner(dls, torch.nn.Conv2d(3, 5, 3, padding=1), path=tmp_path)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 1e-3)
        yield learn


@pytest.mark.parametrize("given", ["ds_idx", "dl"])
def test_losses_and_pictures_are_of_one_epoch(learn: Learner, given: str) -> None:
    """Of training slides: the coming epoch, also when the loader has moved on; and the run stays where it was."""
    train = learn.dls.train
    interpretation = SlideInterpretation.from_learner(learn, **({"ds_idx": 0} if given == "ds_idx" else {"dl": train}))
    assert train.epoch == 1
    list(interpretation.dl)
    model, plan = learn.model.eval().requires_grad_(False), train.plan.ordered(False)
    losses, numbers, draws = interpretation.top_losses(items=True)
    assert draws == [plan[18 + number] for number in numbers.tolist()] and len(draws) == 18
    inputs, probabilities, targets, decoded, again = interpretation[numbers]
    for row, draw in enumerate(draws):
        assert draw.epoch == 1
        patch = plan.read(draw)
        assert ((inputs[row] * 255).round().byte().permute(1, 2, 0).numpy() == patch.image).all()
        assert (targets[row].numpy() == patch.mask).all()
        scores = model(inputs[row : row + 1].as_subclass(torch.Tensor))
        expected = cross_entropy(scores, torch.from_numpy(patch.mask.astype("int64"))[None])
        assert float(losses[row]) == pytest.approx(float(expected), rel=1e-4) and float(again[row]) == losses[row]
        assert torch.allclose(probabilities[row].as_subclass(torch.Tensor), scores[0].softmax(0), atol=1e-5)
        assert (decoded[row].as_subclass(torch.Tensor) == scores[0].argmax(0)).all()


def test_other_losses_are_means_of_their_windows(learn: Learner) -> None:
    """A loss of the user that gives one value a pixel, or one a window."""
    for by_window in (False, True):

        def loss(scores: torch.Tensor, labels: torch.Tensor, reduction: str = "mean", each: bool = by_window):
            found = cross_entropy(scores.as_subclass(torch.Tensor), labels.as_subclass(torch.Tensor), reduction="none")
            return found.mean() if reduction == "mean" else found.mean((1, 2)) if each else found

        expected = SlideInterpretation.from_learner(learn).losses
        before, learn.loss_func = learn.loss_func, loss
        assert torch.allclose(SlideInterpretation.from_learner(learn).losses, expected, atol=1e-5)
        learn.loss_func = before


@pytest.mark.parametrize("kind", [Interpretation, SegmentationInterpretation, ClassificationInterpretation])
def test_interpretations_of_fastai_name_ours(learn: Learner, kind: type) -> None:
    """They take a window's number for a slide's."""
    with pytest.raises(OptionError, match=r"take SlideInterpretation.from_learner\(learn\)"):
        kind.from_learner(learn)
    with pytest.raises(OptionError, match=f"^{kind.__name__} numbers slides"):
        kind(learn, learn.dls.valid, torch.zeros(3))


def test_other_data_is_interpreted_by_fastai(tmp_path: Path) -> None:
    """And SlideInterpretation needs slides."""
    pictures = [torch.full((8, 8, 3), value, dtype=torch.uint8).numpy() for value in (0, 50, 150, 200)]
    block = DataBlock((ImageBlock, CategoryBlock), get_y=brightness, splitter=IndexSplitter([3]))
    dls = block.dataloaders(pictures, bs=2, num_workers=0, path=tmp_path)
    learn = Learner(dls, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)))
    with learn.no_bar():
        assert len(ClassificationInterpretation.from_learner(learn).top_losses(1)[0]) == 1
        with pytest.raises(OptionError, match="SlideInterpretation needs a loader of slides, got a TfmdDL"):
            SlideInterpretation.from_learner(learn)

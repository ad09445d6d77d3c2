"""Everything that a fastai user does with a Learner, each looked at by its values."""

import subprocess
import sys
import zipfile
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from fastai.vision.all import DiceMulti, Learner, TensorMask, foreground_acc, load_learner, params

from patchaug import Window, open_slide
from patchaug.fastai import PatchDL, RandomPatch, SlideInterpretation, predict_slide
from patchaug.testing import coordinate_mask

from .conftest import CODES, Places, images_of, loaders, mask_of

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def quiet(learn: Learner):
    """No progress bars in the test log."""
    with learn.no_bar(), learn.no_logging():
        yield


def drawn_axes(call) -> list:
    """The axes with pictures that a call of fastai's leaves behind."""
    import matplotlib.pyplot as plt

    plt.close("all")
    call()
    return [axes for axes in plt.gcf().axes if axes.images]


def test_show_batch_shows_the_batch(learn: Learner) -> None:
    """Each axes has the patch, and its mask above it: class 0 is clear, each other class has one colour."""
    x, y = learn.dls.train.one_batch()
    axes = drawn_axes(lambda: learn.dls.train.show_batch(max_n=4))
    assert len(axes) == 4
    for number, ax in enumerate(axes):
        image, mask = (np.asarray(i.get_array()) for i in ax.images)
        expected = x[number].permute(1, 2, 0).cpu().numpy()
        assert np.allclose(image / (255 if image.max() > 1 else 1), expected, atol=1e-3)
        classes = y[number].cpu().numpy()
        assert ((mask[..., 3] > 0) == (classes != 0)).all()
        assert all(len(np.unique(mask[classes == k], axis=0)) == 1 for k in np.unique(classes))


def test_show_batch_unique_repeats_one_patch(learn: Learner) -> None:
    """unique=True shows one window, several times."""
    axes = drawn_axes(lambda: learn.dls.train.show_batch(max_n=4, unique=True))
    pictures = [np.asarray(ax.images[0].get_array()) for ax in axes]
    assert all(np.array_equal(pictures[0], p) for p in pictures)


def test_show_results_shows_truth_and_prediction(learn: Learner) -> None:
    """The predictions of a model that knows are the masks."""
    axes = drawn_axes(lambda: learn.show_results(max_n=2))
    assert len(axes) == 4
    for truth, guess in (axes[:2], axes[2:]):
        assert np.array_equal(np.asarray(truth.images[-1].get_array()), np.asarray(guess.images[-1].get_array()))


def test_lr_find_leaves_the_weights(learn: Learner) -> None:
    """It suggests a rate and puts the weights back."""
    before = [p.clone() for p in params(learn.model)]
    suggestion = learn.lr_find(num_it=8, show_plot=False)
    assert 0 < suggestion.valley < 10
    assert all(torch.equal(a, b) for a, b in zip(before, params(learn.model), strict=True))


def test_fit_one_cycle_learns(folder: Path, tmp_path: Path) -> None:
    """A convolution learns classes that are a function of the colour: the loss falls; the metric is of the grid."""
    dls = loaders(folder, RandomPatch(32, per_slide=16, seed=1))
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 1))
    learn = Learner(dls, model, metrics=foreground_acc)
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(4, 5e-2)
    losses = [row[0] for row in learn.recorder.values]
    assert losses[-1] < losses[0] and len(learn.recorder.losses) == 4 * len(dls.train)
    assert dls.train.epoch == 4


def test_fine_tune_and_schedules_count_their_epochs(learn: Learner) -> None:
    """One frozen epoch and two more are three epochs of windows, and three rows of the recorder."""
    learn.fine_tune(2, base_lr=1e-3)
    assert learn.dls.train.epoch == 3
    assert len(learn.recorder.values) == 2 and learn.recorder.values[-1][0] < 0.02


def test_validate_and_metrics_see_each_window(learn: Learner) -> None:
    """A perfect model has a perfect Dice on the validation grid."""
    learn.add_cb(Seen := SeenWindows())
    loss, dice = Learner(learn.dls, Places(), metrics=DiceMulti(), cbs=Seen).validate()
    assert dice == pytest.approx(1) and loss < 0.01
    assert Seen.windows == len(learn.dls.valid.plan)


class SeenWindows(__import__("fastai.callback.core", fromlist=["Callback"]).Callback):
    """Counts the samples of a validation."""

    windows = 0

    def after_batch(self) -> None:
        """Add those of the batch."""
        self.windows += len(self.learn.xb[0])


@pytest.mark.parametrize("ds_idx", [0, 1])
def test_get_preds_are_in_the_order_of_the_plan(learn: Learner, ds_idx: int) -> None:
    """Prediction and target k belong to window k of the unshuffled plan."""
    probabilities, targets = learn.get_preds(ds_idx=ds_idx)
    plan = learn.dls[ds_idx].plan.ordered(False)
    assert len(probabilities) == len(targets) == len(plan)
    assert torch.allclose(probabilities.as_subclass(torch.Tensor).sum(dim=1), torch.ones(1))
    for k in range(len(plan)):
        mask = plan.read(plan[k]).mask
        assert (targets[k].numpy() == mask).all() and (probabilities[k].argmax(dim=0).numpy() == mask).all()


def test_interpretation_finds_the_worst_windows(learn: Learner) -> None:
    """fastai's own fails, since it takes a window for an item; ours names, shows and re-reads the right windows."""
    interp = SlideInterpretation.from_learner(learn)
    wrong = 5
    interp.losses[wrong] = 99.0
    losses, idx, draws = interp.top_losses(3, items=True)
    assert int(idx[0]) == wrong and float(losses[0]) == 99
    assert draws[0] == learn.dls.valid.plan[wrong]
    inputs, predicted, targets, decoded, loss = interp[[wrong, 2]]
    for row, number in enumerate((wrong, 2)):
        patch = learn.dls.valid.plan.read(learn.dls.valid.plan[number])
        assert (targets[row].numpy() == patch.mask).all() and (decoded[row].numpy() == patch.mask).all()
        assert ((inputs[row] * 255).round().byte().permute(1, 2, 0).numpy() == patch.image).all()
    assert len(drawn_axes(lambda: interp.plot_top_losses(2))) >= 4


def test_to_fp16_trains_on_the_cpu(folder: Path) -> None:
    """Mixed precision runs and lowers the loss; back to fp32 the model predicts."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 5, 1))
    learn = Learner(loaders(folder, RandomPatch(32, per_slide=16)), model).to_fp16()
    with learn.no_bar(), learn.no_logging():
        learn.fit(3, 5e-2)
    values = [row[0] for row in learn.recorder.values]
    assert values[-1] < values[0]
    probabilities, _ = learn.to_fp32().get_preds()
    assert torch.isfinite(probabilities).all()


def test_predict_slide_is_the_whole_slide(learn: Learner, folder: Path) -> None:
    """Every pixel, once, also where the patch does not divide the slide, and for slides without mask."""
    path = images_of(folder)[0]
    assert (predict_slide(learn, open_slide(path)) == coordinate_mask(256, 256)).all()
    odd = Learner(loaders(folder, RandomPatch((40, 56), overlap=7, level=0), bs=2), Places())
    assert (predict_slide(odd, open_slide(path)) == coordinate_mask(256, 256)).all()
    coarse = Learner(loaders(folder, RandomPatch(24, level=1), bs=2), Places())
    assert (predict_slide(coarse, open_slide(path)) == coordinate_mask(64, 64, 4)).all()


LOAD = """
import sys
from fastai.vision.all import load_learner
from patchaug import open_slide
from patchaug.fastai import predict_slide
from patchaug.testing import coordinate_mask
learn = load_learner(sys.argv[1])
assert (predict_slide(learn, open_slide(sys.argv[2])) == coordinate_mask(64, 64, 4)).all()
loader = learn.dls.test_dl([__import__("pathlib").Path(sys.argv[2])], with_labels=True)
loader.show_batch(show=False)
with learn.no_bar():
    probabilities, targets = learn.get_preds(dl=loader)
assert len(targets) == 9 and (probabilities.argmax(dim=1) == targets).all()
print("same")
"""


def test_export_and_load_in_a_new_process(folder: Path, tmp_path: Path) -> None:
    """Level 1, by a process that never saw the slides: image, mask and prediction agree in each window."""
    learn = Learner(loaders(folder, RandomPatch(24, level=1, per_slide=4)), Places(), path=tmp_path)
    learn.export("model.pkl")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "model.pkl"), str(images_of(folder)[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("same"), done.stderr
    assert (tmp_path / "model.pkl").stat().st_size < 100_000
    with zipfile.ZipFile(tmp_path / "model.pkl") as archive:
        held = b"".join(archive.read(name) for name in archive.namelist())
    assert str(folder).encode() not in held


def test_test_dl_is_a_grid_in_order(learn: Learner, folder: Path) -> None:
    """Paths, arrays and several slides; without labels the batch holds images only."""
    paths = images_of(folder)[:2]
    loader = learn.dls.test_dl(paths)
    assert isinstance(loader, PatchDL) and not loader.shuffle
    assert [draw.slide for draw in loader.plan] == [0] * 64 + [1] * 64
    assert len(next(iter(loader))) == 1
    array = open_slide(paths[0]).read(Window(0, 0, 256, 256)).image
    assert torch.equal(next(iter(learn.dls.test_dl([array])))[0], next(iter(loader))[0])


def test_save_and_load_weights(learn: Learner) -> None:
    """The usual round trip."""
    with torch.no_grad():
        learn.model.scale.fill_(3.0)
    learn.save("kept")
    with torch.no_grad():
        learn.model.scale.fill_(0.0)
    assert float(learn.load("kept").model.scale) == 3


def test_summary_of_the_data_block_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DataBlock.summary names the transforms and ends."""
    from fastai.vision.all import DataBlock, IndexSplitter

    from patchaug.fastai import SlideBlock, SlideMaskBlock

    DataBlock(
        (SlideBlock, SlideMaskBlock(CODES)), get_items=images_of, get_y=mask_of, splitter=IndexSplitter([3]),
        item_tfms=RandomPatch(32, per_slide=4),
    ).summary(folder, bs=2)  # fmt: skip
    text = capsys.readouterr().out
    assert "RandomPatch" in text and "SlideImage" in text
    assert issubclass(TensorMask, torch.Tensor) and callable(load_learner)

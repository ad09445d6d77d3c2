"""albumentations behind fastai 1's list: in the plan, for training windows alone, padding-free."""

import albumentations as alb
import numpy as np
import pytest
from fastai.basic_data import DatasetType
from fastai.vision.transform import crop_pad

from patchaug import Augment, FrameError, OptionError, PatchOptions, Plan, Uniform, open_slide
from patchaug.fastai import SlideItemList

from .test_transforms import CODES, MASK, RAMP, SIDE, SIZE, bunch, class_at, items

TURN = alb.Compose([alb.Rotate((-180, 180), p=1.0), alb.D4(p=1.0)])


def test_augment_is_that_of_the_plan() -> None:
    """The same patches as a plan with the same Augment; validation and the test set are read as they are."""
    data = bunch([], augment=TURN)
    plan = Plan([open_slide(RAMP, MASK, name="t")], Uniform(SIZE, per_slide=12), seed=3, augment=Augment(TURN))
    for index, (image, mask) in enumerate(items(data)):
        patch = plan.read(plan[index])
        assert (image == patch.image.transpose(2, 0, 1)).all() and (mask == patch.mask).all()
        assert image[2].min() == 128, "an invented pixel is not 128 in blue"
        places = np.rint(image[:2]).astype(int)
        assert (mask == class_at(*places)).mean() > 0.5  # rounded to uint8, so a place is known to a pixel
    assert data.valid_ds.x.plan.augment is None and data.valid_ds.x.plan.halo == (0, 0)
    data.add_test([RAMP])
    for dataset in (data.valid_ds, data.test_ds):
        image, _ = dataset[5]
        window = dataset.x.plan[5].window
        assert (image.data.numpy()[0] * 255 == np.arange(window.x, window.right)[None]).all()


@pytest.mark.parametrize("options", [{"augment": TURN}, {"halo": 12}, {}], ids=["augment", "halo", "plain"])
def test_the_fixed_loader_shows_training_windows_without_transforms(options: dict) -> None:
    """fastai's DatasetType.Fix: the windows of epoch 0 as they are, once each."""
    data = bunch([crop_pad()], **options)
    train, fixed = data.train_ds.x.plan, data.fix_ds.x
    assert {d.window for d in fixed.plan} == {train[i].window for i in range(12)} and len(data.fix_ds) == 12
    for index in range(12):
        window, (image, mask) = fixed.draw_at(index).window, data.fix_ds[index]
        assert image.shape == (3, SIZE, SIZE)
        assert (image.data.numpy()[0] * 255 == np.arange(window.x, window.right)[None]).all()
        assert (image.data.numpy()[1] * 255 == np.arange(window.y, window.bottom)[:, None]).all()
        assert (mask.data.numpy()[0] == MASK[window.y : window.bottom, window.x : window.right]).all()
    assert sum(len(x) for x, _ in data.dl(DatasetType.Fix)) == 12
    assert data.train_ds.x.plan.augment is train.augment


def test_mirrored_pixels_have_no_label() -> None:
    """edge="reflect": windows at the border too; beyond it the mask holds ignore_index."""
    patch = PatchOptions(SIDE - 8, per_slide=8, halo=12, edge="reflect", seed=3)
    lists = SlideItemList.from_arrays([RAMP, RAMP], names=["t", "v"], patch=patch).split_by_idx([1])
    from fastai.vision.transform import rotate

    labelled = lists.label_from_lists([MASK], [MASK], classes=CODES, ignore_index=255)
    labelled = labelled.transform(([rotate(degrees=(5.0, 5.0), p=1.0)], []), tfm_y=True)
    seen = 0
    for index in range(8):
        image, mask = labelled.train[index]
        columns, rows = image.data.numpy()[:2] * 255
        known = mask.data.numpy()[0] != 255
        between = (np.abs(np.stack([columns, rows]) % 1 - 0.5) < 0.02).any(axis=0)
        right = mask.data.numpy()[0] == class_at(np.rint(columns).astype(int), np.rint(rows).astype(int))
        assert (right | between)[known].all() and known.mean() > 0.8
        seen += np.count_nonzero(~known)
    assert seen > 0
    lists = SlideItemList.from_arrays([RAMP, RAMP], names=["t", "v"], patch=patch).split_by_idx([1])
    with pytest.raises(FrameError, match="mirrored pixels need an ignore_index"):
        lists.label_from_lists([MASK], [MASK], classes=CODES).transform(([rotate(degrees=5)], []), tfm_y=True)


def test_wrong_augmentations_are_one_clear_line() -> None:
    """Another library's transform, and a halo set twice."""
    with pytest.raises(OptionError, match="Augment takes a transform or Compose of albumentations, got str"):
        SlideItemList.from_arrays([RAMP], patch=PatchOptions(SIZE), augment="flip")
    with pytest.raises(OptionError, match="give the halo once"):
        SlideItemList.from_arrays([RAMP], patch=PatchOptions(SIZE, halo=3), augment=Augment(TURN, halo=40))

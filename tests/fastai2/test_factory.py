"""SlideDataLoaders: four ways to the same loaders."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.vision.all import DataLoaders

from patchaug import MissingError, OptionError, PatchOptions
from patchaug.data.item_list import validation_count
from patchaug.fastai import RandomPatch, SlideBlock, SlideDataLoaders
from patchaug.fastai2.dataloaders import _random_split
from patchaug.testing import coordinate_image, coordinate_mask

from .conftest import CODES, images_of, mask_of

OPTIONS = PatchOptions(32, per_slide=6, foreground=0.5, seed=3)
COMMON = {"codes": CODES, "options": OPTIONS, "bs": 4, "num_workers": 0}


def slides_of(dls: DataLoaders) -> tuple[list[str], list[str]]:
    """Names of the slides of both splits."""
    return tuple([slide.name for slide in dl.slides] for dl in dls.loaders)  # type: ignore[return-value]


def batch(dls: DataLoaders) -> torch.Tensor:
    """The first training batch."""
    return dls.train.one_batch()[0]


def test_all_factories_give_the_same_windows(folder: Path) -> None:
    """Lists, label function, folder and data frame, with one split: equal batches."""
    files = images_of(folder)
    pairs = [(f, mask_of(f)) for f in files]
    by_folder = SlideDataLoaders.from_folder(folder, valid_pct=0.25, seed=1, **COMMON)
    train, valid = slides_of(by_folder)
    assert len(train) == 3 and len(valid) == 1
    by_function = SlideDataLoaders.from_label_func(folder, files, mask_of, valid_pct=0.25, seed=1, **COMMON)
    by_lists = SlideDataLoaders.from_lists(
        [pairs[files.index(folder / "images" / n)] for n in train],
        [pairs[files.index(folder / "images" / n)] for n in valid],
        **COMMON,
    )
    frame = pd.DataFrame(
        {"slide": [f"images/{f.name}" for f in files], "mask": [f"masks/{f.name}" for f in files],
         "held": [f.name in valid for f in files]}
    )  # fmt: skip
    by_frame = SlideDataLoaders.from_df(frame, folder, fn_col="slide", label_col="mask", valid_col="held", **COMMON)
    by_chance = SlideDataLoaders.from_df(frame, folder, valid_pct=0.25, seed=1, **COMMON)
    expected = dict.fromkeys(train)
    for dls in (by_function, by_lists, by_frame, by_chance):
        assert set(slides_of(dls)[0]) == set(expected) and slides_of(dls)[1] == valid
    reference = SlideDataLoaders.from_lists(
        [(f, mask_of(f)) for f in files if f.name in train],
        [(f, mask_of(f)) for f in files if f.name in valid],
        **COMMON,
    )
    assert torch.equal(batch(by_frame), batch(reference))
    assert torch.equal(batch(by_folder), batch(by_lists)) and torch.equal(batch(by_folder), batch(by_function))


def test_options_and_random_patch_are_one_thing_said_twice(folder: Path) -> None:
    """Equal batches; both at once are refused."""
    files = images_of(folder)
    kwargs = {"codes": CODES, "bs": 4, "num_workers": 0, "valid_pct": 0.25, "seed": 1}
    said = SlideDataLoaders.from_label_func(folder, files, mask_of, options=OPTIONS, **kwargs)
    again = SlideDataLoaders.from_label_func(
        folder, files, mask_of, item_tfms=RandomPatch(32, per_slide=6, foreground=0.5, seed=3), **kwargs
    )
    assert torch.equal(batch(said), batch(again))
    with pytest.raises(OptionError, match="described twice"):
        SlideDataLoaders.from_label_func(folder, files, mask_of, options=OPTIONS, item_tfms=RandomPatch(32), **kwargs)


def test_random_patch_and_options_have_the_same_fields() -> None:
    """Names and defaults; a new one must join both. `augment` is not an option; how pixels are read is the blocks'."""
    import inspect

    parameters = {n: p.default for n, p in inspect.signature(RandomPatch.__init__).parameters.items() if n != "self"}
    fields = {
        n: inspect.Parameter.empty if f.is_required() else f.default for n, f in PatchOptions.model_fields.items()
    }
    of_blocks = {name: fields.pop(name) for name in ("ram", "channels", "series", "scale")}
    assert parameters.pop("augment") is None
    block = inspect.signature(SlideBlock).parameters
    assert of_blocks == {name: block[name].default for name in of_blocks}
    assert parameters == fields


def test_arrays_in_memory(folder: Path) -> None:
    """The asker's case: slides already in RAM, beside paths."""
    arrays = [(coordinate_image(90, 70), coordinate_mask(90, 70)) for _ in range(2)]
    path = images_of(folder)[0]
    dls = SlideDataLoaders.from_lists([*arrays, (path, mask_of(path))], [arrays[0]], **COMMON)
    assert len(dls.train.plan) == 18
    seen = {draw.slide for draw in dls.train.plan}
    assert seen == {0, 1, 2}


def test_mistakes_in_the_split_are_refused(folder: Path) -> None:
    """Empty sides, and a slide on both."""
    files = images_of(folder)
    pairs = [(f, mask_of(f)) for f in files]
    with pytest.raises(OptionError, match="valid must hold at least one"):
        SlideDataLoaders.from_lists(pairs, [], **COMMON)
    with pytest.raises(OptionError, match="slides stand in both train and valid: .*s3.tiff"):
        SlideDataLoaders.from_lists(pairs, pairs[3:], **COMMON)
    for count in (2, 3, 49, 98, 107):  # of 49, a 49th is 0 by floats
        for share in (1 / count, 0.2, 0.999):
            train, valid = _random_split(count, share, 1)(list(range(count)))
            assert len(valid) == validation_count(count, share) and sorted([*train, *valid]) == list(range(count))
    with pytest.raises(OptionError, match="one slide cannot be split: .* two are the least; add a slide, or cut"):
        SlideDataLoaders.from_label_func(folder, files[:1], mask_of, **COMMON)
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(MissingError, match="no slides in"):
        SlideDataLoaders.from_folder(folder, images="empty", **COMMON)


def test_the_door_does_not_hide_names_of_fastai() -> None:
    """`from fastai.vision.all import *` and then ours: nothing of fastai's is replaced."""
    import fastai.vision.all as theirs

    import patchaug.fastai as ours

    assert not [name for name in ours.__all__ if hasattr(theirs, name)]
    assert np.all([hasattr(ours, name) for name in ours.__all__])

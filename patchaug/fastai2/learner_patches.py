"""Replace methods of fastai that would be wrong on slides; on other data they stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fastai.vision.learner
from fastai.data.block import DataBlock
from fastai.learner import Learner
from fastcore.foundation import L

from patchaug.core.atomic import atomic_write
from patchaug.data.export import drop_activations, without_paths
from patchaug.data.slide_items import SlideImage, SlideMask
from patchaug.errors import OptionError
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import RandomPatch, random_patch
from patchaug.fastai2.transform_geometry import moves_pixels

_add_norm = fastai.vision.learner._add_norm
_predict, _export, _new, _tta = Learner.predict, Learner.export, DataBlock.new, Learner.tta


def predict_one_sample(self: Learner, item: Any, rm_type_tfms: Any = None, with_input: bool = False) -> Any:
    """Call fastai's `predict`, which returns only the first window of a slide.

    Raises:
        OptionError: The learner was trained on slides.
    """
    if isinstance(self.dls.valid, PatchDL):
        raise OptionError(
            "learn.predict returns one sample, and a slide has many; take learn.predict_slide(slide) for the whole "
            "class map"
        )
    return _predict(self, item, rm_type_tfms, with_input)


def export_without_pixels(self: Learner, fname: Any = "export.pkl", **kwargs: Any) -> None:
    """Call fastai's `export`; a learner on slides is written atomically, without activations and its own `path`."""
    if not isinstance(self.dls.valid, PatchDL):
        _export(self, fname, **kwargs)
        return
    drop_activations(self.model)
    file = Path(self.path, fname).absolute()
    with atomic_write(file, "learner") as temporary, without_paths(self, self.dls):
        _export(self, temporary, **kwargs)


def new_with_one_random_patch(self: DataBlock, item_tfms: Any = None, batch_tfms: Any = None) -> DataBlock:
    """Call fastai's `new`, which keeps only the last transform of each class.

    Raises:
        OptionError: There are several `RandomPatch`.
    """
    found = [transform for transform in L(item_tfms) if isinstance(transform, RandomPatch)]
    if len(found) > 1:
        raise OptionError(
            f"item_tfms must hold one RandomPatch, for training and validation, and hold {len(found)}; keep one of "
            f"{', '.join(map(str, found))}"
        )
    return _new(self, item_tfms, batch_tfms)


def tta_in_place(
    self: Learner, ds_idx: int = 1, dl: Any = None, n: int = 4, item_tfms: Any = None, batch_tfms: Any = None,
    beta: float | None = 0.25, use_max: bool = False,
) -> Any:  # fmt: skip
    """Call fastai's `tta`, which averages the predictions of transformed windows as they come.

    Raises:
        OptionError: On slides, `augment=` is set, which it would not run; or the transforms move pixels, and the
            targets are masks or images.
    """
    dl = self.dls[ds_idx].new(shuffled=False, drop_last=False) if dl is None else dl
    if item_tfms is not None or batch_tfms is not None:
        items = dl.after_item if item_tfms is None and isinstance(dl, PatchDL) else item_tfms  # RandomPatch is in it
        dl = dl.new(after_item=items, after_batch=batch_tfms)
    if isinstance(dl, PatchDL) and dl.plan is not None:
        if random_patch(dl.after_item).samplers.augment is not None:
            raise OptionError(
                "tta runs the transforms of items and batches, and would leave out augment= of RandomPatch; take "
                "learn.get_preds() for windows, or learn.predict_slide(slide) for a slide"
            )
        targets = set(dl.layout[dl.n_inp :])
        if targets & {SlideImage, SlideMask} and moves_pixels(dl, dl.plan.read(dl.plan[0]).image):
            raise OptionError(
                "tta would average predictions of moved windows without moving them back; leave out transforms that "
                "move pixels, or take learn.predict_slide(slide)"
            )
    return _tta(self, dl=dl, n=n, beta=beta, use_max=use_max)


def add_norm_for_channels(dls: Any, meta: Any, pretrained: bool, n_in: int = 3) -> None:
    """Call fastai's `_add_norm`, with which `unet_learner` begins.

    Raises:
        OptionError: The slides have another number of channels than the model would be made for.
    """
    slides = getattr(dls.train, "slides", None) if isinstance(dls.train, PatchDL) else None
    if slides and len(slides[0].members) == 1 and slides[0].channels != n_in:
        channels = slides[0].channels
        raise OptionError(
            f"the slides have {channels} channels, and the model would be made for {n_in}; pass n_in={channels} to "
            f"unet_learner"
        )
    _add_norm(dls, meta, pretrained, n_in)


fastai.vision.learner._add_norm = add_norm_for_channels
Learner.predict, Learner.export, Learner.tta = predict_one_sample, export_without_pixels, tta_in_place
DataBlock.new = new_with_one_random_patch

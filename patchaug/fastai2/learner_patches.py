"""Replace three methods of fastai that would silently be wrong on slides; on other data they stay the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastai.data.block import DataBlock
from fastai.learner import Learner
from fastcore.foundation import L

from patchaug.core.atomic import atomic_write
from patchaug.data.export import drop_activations, without_paths
from patchaug.errors import OptionError
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import RandomPatch

_predict, _export, _new = Learner.predict, Learner.export, DataBlock.new


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


Learner.predict, Learner.export, DataBlock.new = predict_one_sample, export_without_pixels, new_with_one_random_patch

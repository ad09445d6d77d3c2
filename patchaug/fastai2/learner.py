"""Give fastai's `Learner` a method for whole slides."""

from __future__ import annotations

from fastai.learner import Learner

from patchaug.data.image_pixels import ImagePixels
from patchaug.errors import OptionError
from patchaug.fastai2.blocks import OpenSlideImage
from patchaug.fastai2.lazy_items import prediction_item
from patchaug.fastai2.patch_dl import PatchDL
from patchaug.fastai2.random_patch import random_patch
from patchaug.fastai2.transform_geometry import require_whole_windows
from patchaug.predict.predict_slide import GridBatches, grid_batches, image_pixels, predict_slide
from patchaug.sampling.plan import Plan
from patchaug.slides.slide import Slide


@grid_batches.register
def _grid_batches(learn: Learner, slide: Slide) -> GridBatches:
    valid = learn.dls.valid
    if not isinstance(valid, PatchDL):
        raise OptionError(f"predict_slide needs a learner trained on slides; its loader is a {type(valid).__name__}")
    item = prediction_item(valid.layout, valid.n_inp, slide, _image_pixels(learn))
    options = random_patch(valid.after_item)
    for pixels, member in zip(_image_pixels(learn), slide.members, strict=False):
        pixels.require_format([member])
    plan = Plan([slide], options.samplers.test, seed=options.seed, shuffle=False)
    require_whole_windows(valid, plan.read(plan[0]).image)
    loader = learn.dls.test_dl([slide], plan=plan, lazy_items=[item])
    return GridBatches(plan, (tuple(batch)[: len(item)] for batch in loader))


@image_pixels.register
def _image_pixels(learn: Learner) -> list[ImagePixels]:
    lists = getattr(learn.dls.valid.dataset, "tls", ())
    return [t.pixels for one in lists for t in one.tfms.fs if isinstance(t, OpenSlideImage)]


Learner.predict_slide = predict_slide

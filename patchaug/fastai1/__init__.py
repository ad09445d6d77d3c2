"""patchaug for fastai 1.0.61: slides behind its data block."""

from fastai.vision.transform import get_transforms

import patchaug.fastai1.repairs  # noqa: F401 - importing it makes them
from patchaug.fastai1.evaluate import SlideInterpretation, predict_slide
from patchaug.fastai1.items import SlideItemList
from patchaug.fastai1.loader import SlideDataBunch
from patchaug.files import get_slide_files

__all__ = [
    "SlideDataBunch",
    "SlideInterpretation",
    "SlideItemList",
    "get_slide_files",
    "get_transforms",
    "predict_slide",
]

"""patchaug for fastai 1.0.61: slides behind its data block."""

from fastai.vision.transform import get_transforms

import patchaug.fastai1.compat  # noqa: F401 - importing it makes them
from patchaug.fastai1.databunch import SlideDataBunch
from patchaug.fastai1.learner import SlideInterpretation
from patchaug.fastai1.slide_list import SlideItemList
from patchaug.predict.predict_slide import predict_slide
from patchaug.slides.discovery import get_slide_files

__all__ = [
    "SlideDataBunch",
    "SlideInterpretation",
    "SlideItemList",
    "get_slide_files",
    "get_transforms",
    "predict_slide",
]

"""patchaug for fastai 1.0.61: slides behind its data block."""

from fastai.vision.transform import get_transforms

import patchaug.fastai1.compat
import patchaug.fastai1.learner
import patchaug.fastai1.learner_epochs  # noqa: F401 - importing it puts them in their places
from patchaug.data.segmentation_losses import SlideCombinedLoss, SlideDiceLoss, SlideFocalLoss
from patchaug.data.weighted_loss import WeightedLoss
from patchaug.fastai1.databunch import SlideDataBunch
from patchaug.fastai1.interpretation import SlideInterpretation
from patchaug.fastai1.losses import SlideCrossEntropy
from patchaug.fastai1.metrics import SlideAccuracy, SlideDice, SlideJaccard, SlidePrecision, SlideRecall
from patchaug.fastai1.slide_list import SlideItemList
from patchaug.predict.predict_slide import predict_slide
from patchaug.predict.predict_slides import predict_slides
from patchaug.slides.discovery import get_slide_files

__all__ = [
    "SlideAccuracy",
    "SlideCombinedLoss",
    "SlideCrossEntropy",
    "SlideDataBunch",
    "SlideDice",
    "SlideDiceLoss",
    "SlideFocalLoss",
    "SlideInterpretation",
    "SlideItemList",
    "SlideJaccard",
    "SlidePrecision",
    "SlideRecall",
    "WeightedLoss",
    "get_slide_files",
    "get_transforms",
    "predict_slide",
    "predict_slides",
]

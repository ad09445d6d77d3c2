"""Figures: windows on a slide, sampling density and coverage, patches, augmentation, truth and prediction."""

from patchaug.viz.augmentation import show_augment
from patchaug.viz.density import show_coverage, show_density
from patchaug.viz.patches import show_patches
from patchaug.viz.prediction import show_prediction
from patchaug.viz.windows import show_windows

__all__ = ["show_augment", "show_coverage", "show_density", "show_patches", "show_prediction", "show_windows"]

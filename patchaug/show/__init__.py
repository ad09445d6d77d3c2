"""Pictures: windows on a slide, how often places are drawn and seen, patches, augmentation, truth and prediction."""

from patchaug.show.augment import show_augment
from patchaug.show.density import show_coverage, show_density
from patchaug.show.patches import show_patches
from patchaug.show.prediction import show_prediction
from patchaug.show.windows import show_windows

__all__ = ["show_augment", "show_coverage", "show_density", "show_patches", "show_prediction", "show_windows"]

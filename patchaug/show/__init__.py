"""Pictures: windows over a slide, how often each place is drawn and seen, patches, truth beside prediction."""

from patchaug.show.density import show_coverage, show_density
from patchaug.show.patches import show_patches
from patchaug.show.prediction import show_prediction
from patchaug.show.windows import show_windows

__all__ = ["show_coverage", "show_density", "show_patches", "show_prediction", "show_windows"]

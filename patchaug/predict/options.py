"""`PredictOptions`: how a whole slide is predicted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from patchaug.core.validation import checked_integer, checked_positive, sides
from patchaug.errors import OptionError
from patchaug.sampling import Grid

Blend = Literal["hann", "gaussian", "crop"]
What = Literal["classes", "probabilities"]


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of the prediction of whole slides.

    Attributes:
        overlap: Part that neighbouring windows share at least: pixels of the patches as an integer, or a share of the
            shorter side, 0.0 to below 1.0. None: as the learner was trained.
        blend: How windows are joined: "hann" and "gaussian" weigh their probabilities, "crop" cuts overlaps in half.
            None: "hann" where windows overlap, else "crop".
        tta: "d4" averages the probabilities of the eight rotations and mirror images of each window; four of windows
            that are not square.
        spread: Whether to predict the standard deviation of the probabilities over models and symmetries too.
        region: "all"; "tissue"; a `Window`, whose rectangle is the map; or a mask or polygons, as `open_slide` takes
            them, outside of which the map is background.
        level: Pyramid level to read. None: as the learner was trained.
        mpp: Micrometres per pixel of the patches, in place of a level. None: as the learner was trained.
        batch_size: Windows in a batch. None: that of the learner.
        workers: Processes that read. None: those of the learner.
        what: "classes", or "probabilities" for both.
        output: Number or name of the scores among the tensors that a model of several outputs gives. None: it gives
            one.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.

    Examples:
        >>> from patchaug.predict.options import PredictOptions
        >>> PredictOptions(overlap=0.25, tta="d4", what="probabilities").overlap
        0.25
    """

    overlap: float | int | None = None
    blend: Blend | None = None
    tta: Literal["d4"] | None = None
    spread: bool = False
    region: Any = "all"
    level: int | None = None
    mpp: float | None = None
    batch_size: int | None = None
    workers: int | None = None
    what: What = "classes"
    output: int | str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("blend", get_args(Blend)), ("tta", ("d4",)), ("what", get_args(What))):
            value = getattr(self, name)
            if not (value is None and name != "what") and value not in allowed:
                choices = ", ".join(map(repr, allowed))
                raise OptionError(
                    f"{name} must be one of {choices}{'' if name == 'what' else ' or None'}, got {value!r}"
                )
        if not isinstance(self.spread, bool):
            raise OptionError(f"spread must be True or False, got {self.spread!r}")
        if self.level is not None:
            checked_integer("level", self.level, 0)
        if self.mpp is not None:
            checked_positive("mpp", self.mpp, "micrometres per pixel")
            if self.level is not None:
                raise OptionError(f"level={self.level} and mpp={self.mpp} both say what to read; keep one")
        if self.batch_size is not None:
            checked_integer("batch_size", self.batch_size, 1)
        if self.workers is not None:
            checked_integer("workers", self.workers, 0)
        if self.output is not None and not isinstance(self.output, str):
            checked_integer("output", self.output, 0)

    def grid(self, trained: Grid) -> Grid:
        """Return the grid of these options, where they say nothing that of the training.

        Args:
            trained: Fixed grid of the learner's options.

        Raises:
            OptionError: The overlap is negative, or leaves no step between windows.
        """
        level, mpp = trained.level, trained.mpp
        if self.level is not None or self.mpp is not None:
            level, mpp = self.level or 0, self.mpp
        return Grid(trained.size, overlap=self._pixels(trained), level=level, mpp=mpp)

    def _pixels(self, trained: Grid) -> int:
        side, overlap = min(sides(trained.size)), self.overlap
        if overlap is None:
            return trained.overlap
        if isinstance(overlap, float):
            if not 0 <= overlap < 1:
                raise OptionError(
                    f"overlap must be a share of the window, 0.0 to below 1.0, or an integer of pixels, got {overlap}"
                )
            return min(round(overlap * side), side - 1)
        return checked_integer("overlap", overlap, 0, side - 1)

    def blend_of(self, grid: Grid) -> Blend:
        """Return how the windows of a grid are joined."""
        return self.blend or ("hann" if grid.overlap else "crop")

"""Which windows are wanted: frozen values, checked at birth, that know nothing of any slide.

sampler = Foreground(512, per_slide=64, share=0.5)
law = sampler.law(slide)     # what that means on one slide (`patchaug.laws`): sizes and labels are checked here
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from patchaug.checks import Classes, Size, checked_fraction, checked_integer, checked_size, checked_weights, sides
from patchaug.errors import ForegroundError, OptionError, WindowError
from patchaug.foreground import ClassLaw, Labels
from patchaug.laws import AllWindows, Frame, GridLaw, Law, MixtureLaw, Part
from patchaug.restricted import Restricted, least_pixels
from patchaug.slide import Slide
from patchaug.tissue import TISSUE, tissue_labels

PerSlide = int | Literal["area", "tissue"]
Empty = Literal["raise", "uniform", "skip"]


class Sampler(Protocol):
    """What every sampler has."""

    @property
    def level(self) -> int:
        """Pyramid level that the windows are counted in."""

    def law(self, slide: Slide) -> Law:
        """What the sampler means on one slide; checked against it."""


@dataclass(frozen=True)
class Uniform:
    """Every window that lies inside the slide is equally likely.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch; or "area" or "tissue", to share out `windows` among the
            slides by their pixels, or by those that are tissue (`patchaug.tissue`).
        windows: Windows of all slides in an epoch, with per_slide "area" or "tissue"; each slide gets one at least.
        level: Pyramid level to read.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    size: Size
    per_slide: PerSlide = field(default=1, kw_only=True)
    windows: int | None = field(default=None, kw_only=True)
    level: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)

    def law(self, slide: Slide) -> MixtureLaw:
        """The law on one slide, as if it were the only one.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
        """
        frame = _frame(self.size, self.level, slide)
        return MixtureLaw(frame, count_alone(self), AllWindows(frame))


@dataclass(frozen=True)
class Grid:
    """Windows that cover every pixel of the slide, in reading order, none of them leaving it.

    The fixed grid starts at the corner and steps by size - overlap; the last column and row lie flush with the border,
    so they may overlap more. The random grid has one more column and row and slides them by an offset that is new in
    each epoch, between windows that stay flush with the borders.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        overlap: Pixels that neighbours share at least, 0 to size - 1.
        offset: "fixed" or "random".
        level: Pyramid level to read.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    size: Size
    overlap: int = field(default=0, kw_only=True)
    offset: Literal["fixed", "random"] = field(default="fixed", kw_only=True)
    level: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)
        _set(self, "overlap", checked_integer("overlap", self.overlap, 0, min(sides(self.size)) - 1))
        if self.offset not in ("fixed", "random"):
            raise OptionError(f'offset must be "fixed" or "random", got {self.offset!r}')

    def law(self, slide: Slide) -> GridLaw:
        """The law on one slide.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
        """
        return GridLaw(_frame(self.size, self.level, slide), self.overlap, self.offset == "random")


@dataclass(frozen=True)
class Foreground:
    """Windows drawn in proportion to the labelled pixels that they hold, mixed with uniform ones.

    With probability 1 - share every valid window is equally likely. With probability share a class is drawn by the
    weights in `classes`, then a window with probability proportional to the number of that class's pixels in it. On a
    slide without a mask the tissue is the one class (`patchaug.tissue`).

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch; or "area" or "tissue", see `Uniform`.
        windows: Windows of all slides in an epoch, with per_slide "area" or "tissue".
        share: Probability that a draw is a foreground draw, 0 to 1.
        classes: Classes that count as foreground: numbers or names of `codes`, or a mapping of them to weights. On a
            slide that lacks some, the weights of those present count. Default: all but 0 and the void, equally.
        min_fraction: Draw, in both parts, only windows of whose pixels at least this share, 0 to 1, belongs to the
            classes. A class that has no pixel in any such window counts as absent.
        empty: What to do with a slide that has none of the classes: "raise" an error, draw "uniform" windows from it,
            or "skip" it.
        level: Pyramid level to read.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    size: Size
    per_slide: PerSlide = field(default=1, kw_only=True)
    windows: int | None = field(default=None, kw_only=True)
    share: float = field(default=0.5, kw_only=True)
    classes: Classes | None = field(default=None, kw_only=True)
    min_fraction: float = field(default=0.0, kw_only=True)
    empty: Empty = field(default="raise", kw_only=True)
    level: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)
        checked_fraction("share", self.share, "a probability")
        checked_fraction("min_fraction", self.min_fraction, "a share of the window's pixels")
        if self.empty not in ("raise", "uniform", "skip"):
            raise OptionError(f'empty must be "raise", "uniform" or "skip", got {self.empty!r}')
        checked_weights(self.classes)

    def law(self, slide: Slide) -> MixtureLaw:
        """The law on one slide, as if it were the only one; reads its mask once, to know where the labels are.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
            ForegroundError: The slide has none of the classes and `empty` is "raise", or none of its windows holds
                `min_fraction` of them.
        """
        frame = _frame(self.size, self.level, slide)
        count, every = count_alone(self), AllWindows(frame)
        if self.share == 0 and self.min_fraction == 0:
            return MixtureLaw(frame, count, every)
        labels, weights = self._wanted(slide)
        if not weights:
            return MixtureLaw(frame, 0 if self.empty == "skip" else count, every)
        parts: dict[int, Part]
        if self.min_fraction == 0:
            uniform: Part = every
            parts = {value: ClassLaw.of(labels, value, frame.width, frame.height) for value in weights}
        else:
            least = least_pixels(self.min_fraction, frame.width * frame.height)
            some = Restricted.of(labels, list(weights), frame.width, frame.height, least, slide.name)
            if not some.windows:
                raise ForegroundError(
                    f"{slide.name}: no window of {frame.width} x {frame.height} px at level {self.level} has "
                    f"min_fraction {self.min_fraction} of its pixels in the classes {sorted(weights)}; the largest "
                    f"fraction is {some.largest / (frame.width * frame.height)}; ask for less, or leave it out"
                )
            uniform = some.uniform()
            parts = {value: part for value in weights if (part := some.of_class(value)).total}
        total = sum(weights[value] for value in parts)
        shares = tuple(weights[value] / total for value in parts)
        return MixtureLaw(frame, count, uniform, float(self.share), shares, tuple(parts.values()))

    def _wanted(self, slide: Slide) -> tuple[Labels, dict[int, float]]:
        """The slide's labels, and the weights of those of the classes asked for that it has."""
        if slide.mask is None:
            if self.classes is not None:
                raise ForegroundError(
                    f"{slide.name}: it has no mask, so it has no classes {list(self.classes)}; give it a mask, or "
                    f"leave classes out to draw windows of tissue"
                )
            labels, weights, what = tissue_labels(slide, self.level), {TISSUE: 1.0}, "no mask, and no tissue"
        else:
            labels = slide.labels(self.level)
            weights = {slide.number_of(key): weight for key, weight in checked_weights(self.classes).items()}
            if self.classes is None:
                weights = {value: 1.0 for value in labels.runs if value not in (0, slide.void)}
            asked = "all but 0" if self.classes is None else sorted(weights)
            what = f"no pixel of the classes asked for ({asked})"
        present = {value: weight for value, weight in weights.items() if value in labels.runs and weight > 0}
        if not present and self.empty == "raise":
            raise ForegroundError(
                f"{slide.name}: {what} at level {self.level}, where it has the classes {sorted(labels.runs)}; leave "
                f'the slide out, or set empty to "uniform" or "skip"'
            )
        return labels, present


def sampler_for(
    *,
    mode: str,
    size: Size,
    per_slide: PerSlide,
    windows: int | None,
    share: float,
    classes: Classes | None,
    min_fraction: float,
    empty: Empty,
    overlap: int,
    level: int,
) -> Sampler:
    """The sampler that a set of options asks for.

    Raises:
        OptionError: The mode is none of "random", "grid", "random-grid", or a value is out of its limits.
    """
    if mode == "random":
        if share == 0 and min_fraction == 0:
            return Uniform(size, per_slide=per_slide, windows=windows, level=level)
        return Foreground(
            size, per_slide=per_slide, windows=windows, share=share, classes=classes, min_fraction=min_fraction,
            empty=empty, level=level,
        )  # fmt: skip
    if mode in ("grid", "random-grid"):
        return Grid(size, overlap=overlap, offset="fixed" if mode == "grid" else "random", level=level)
    raise OptionError(f'mode must be "random", "grid" or "random-grid", got {mode!r}')


def _frame(size: Size, level: int, slide: Slide) -> Frame:
    """The windows that a size means on a level of the slide, checked against it."""
    height, width = sides(size)
    length_x, length_y = slide.level_size(level)
    if width > length_x or height > length_y:
        raise WindowError(
            f"{slide.name}: a window of {width} x {height} px does not fit into level {level}, which has "
            f"{length_x} x {length_y} px; ask for a smaller size or a finer level"
        )
    return Frame(level, width, height, length_x, length_y)


def count_alone(sampler: Uniform | Foreground) -> int:
    """Windows of a slide that is the only one."""
    if isinstance(sampler.per_slide, int):
        return sampler.per_slide
    assert sampler.windows is not None  # checked at birth
    return sampler.windows


def _check(sampler: Uniform | Foreground | Grid) -> None:
    _set(sampler, "size", checked_size(sampler.size))
    _set(sampler, "level", checked_integer("level", sampler.level, 0))
    if isinstance(sampler, Grid):
        return
    if isinstance(sampler.per_slide, str):
        if sampler.per_slide not in ("area", "tissue"):
            raise OptionError(f'per_slide must be a number, "area" or "tissue", got {sampler.per_slide!r}')
        if sampler.windows is None:
            raise OptionError(
                f'per_slide="{sampler.per_slide}" shares out a total: say how many windows, as windows=1000'
            )
        _set(sampler, "windows", checked_integer("windows", sampler.windows, 1))
    else:
        _set(sampler, "per_slide", checked_integer("per_slide", sampler.per_slide, 1))
        if sampler.windows is not None:
            raise OptionError(
                f'windows={sampler.windows} is shared out with per_slide="area" or "tissue"; got per_slide '
                f"{sampler.per_slide}"
            )


def _set(sampler: Uniform | Foreground | Grid, name: str, value: object) -> None:
    object.__setattr__(sampler, name, value)

"""Which windows are wanted: frozen values, checked at birth, that know nothing of any slide.

sampler = Foreground(512, per_slide=64, share=0.5)
law = sampler.law(slide)     # what that means on one slide (`patchaug.laws`): sizes and labels are checked here
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import index as as_int
from typing import Literal, Protocol

from patchaug.errors import ForegroundError, OptionError, WindowError
from patchaug.foreground import ClassLaw
from patchaug.laws import ForegroundLaw, Frame, GridLaw, Law, UniformLaw
from patchaug.slide import Slide

Size = int | tuple[int, int]


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
        per_slide: Windows drawn from each slide in an epoch.
        level: Pyramid level to read.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    size: Size
    per_slide: int = field(default=1, kw_only=True)
    level: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        _check_size(self)
        _check_integer(self, "per_slide", 1)
        _check_integer(self, "level", 0)

    def law(self, slide: Slide) -> UniformLaw:
        """The law on one slide.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
        """
        return UniformLaw(_frame(self.size, self.level, slide), self.per_slide)


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
        _check_size(self)
        _check_integer(self, "overlap", 0, min(sides(self.size)) - 1)
        _check_integer(self, "level", 0)
        if self.offset not in ("fixed", "random"):
            raise OptionError(f'offset must be "fixed" or "random", got {self.offset!r}')

    def law(self, slide: Slide) -> GridLaw:
        """The law on one slide.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
        """
        return GridLaw(_frame(self.size, self.level, slide), self.overlap, self.offset == "random")


Classes = Mapping[int | str, float] | Sequence[int | str]


@dataclass(frozen=True)
class Foreground:
    """Windows drawn in proportion to the labelled pixels that they hold, mixed with uniform ones.

    With probability 1 - share every valid window is equally likely. With probability share a class is drawn by the
    weights in `classes`, then a window with probability proportional to the number of that class's pixels in it.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch.
        share: Probability that a draw is a foreground draw, 0 to 1.
        classes: Classes that count as foreground: numbers or names of `codes`, or a mapping of them to weights. On a
            slide that lacks some, the weights of those present count. Default: all but 0 and the void, equally.
        empty: What to do with a slide that has none of the classes: "raise" an error, draw "uniform" windows from it,
            or "skip" it.
        level: Pyramid level to read.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    size: Size
    per_slide: int = field(default=1, kw_only=True)
    share: float = field(default=0.5, kw_only=True)
    classes: Classes | None = field(default=None, kw_only=True)
    empty: Literal["raise", "uniform", "skip"] = field(default="raise", kw_only=True)
    level: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        _check_size(self)
        _check_integer(self, "per_slide", 1)
        _check_integer(self, "level", 0)
        if not isinstance(self.share, (int, float)) or not 0 <= self.share <= 1:
            raise OptionError(f"share must be a probability, 0 to 1, got {self.share!r}")
        if self.empty not in ("raise", "uniform", "skip"):
            raise OptionError(f'empty must be "raise", "uniform" or "skip", got {self.empty!r}')
        _weights(self.classes)

    def law(self, slide: Slide) -> ForegroundLaw:
        """The law on one slide; reads its mask once, to know where the labels are.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
            ForegroundError: The slide has no mask, or none of the classes and `empty` is "raise".
        """
        frame = _frame(self.size, self.level, slide)
        uniform = UniformLaw(frame, self.per_slide)
        if self.share == 0:
            return ForegroundLaw(uniform, 0.0, (), ())
        if slide.mask is None:
            raise ForegroundError(f"{slide.name}: foreground windows need a mask; give one, or set share to 0")
        labels = slide.labels(self.level)
        weights = {slide.number_of(key): weight for key, weight in _weights(self.classes).items()}
        if self.classes is None:
            weights = {value: 1.0 for value in labels.runs if value not in (0, slide.void)}
        present = {value: weight for value, weight in weights.items() if value in labels.runs and weight > 0}
        if present:
            total = sum(present.values())
            laws = tuple(ClassLaw.of(labels, value, frame.width, frame.height) for value in present)
            return ForegroundLaw(uniform, float(self.share), tuple(w / total for w in present.values()), laws)
        if self.empty == "raise":
            asked = "all but 0" if self.classes is None else sorted(weights)
            raise ForegroundError(
                f"{slide.name}: no pixel of the classes asked for ({asked}) at level {self.level}, where its mask has "
                f'the classes {sorted(labels.runs)}; leave the slide out, or set empty to "uniform" or "skip"'
            )
        if self.empty == "skip":
            uniform = UniformLaw(frame, 0)
        return ForegroundLaw(uniform, 0.0, (), ())


def sampler_for(
    *,
    mode: str,
    size: Size,
    per_slide: int,
    share: float,
    classes: Classes | None,
    empty: Literal["raise", "uniform", "skip"],
    overlap: int,
    level: int,
) -> Sampler:
    """The sampler that a set of options asks for.

    Raises:
        OptionError: The mode is none of "random", "grid", "random-grid", or a value is out of its limits.
    """
    if mode == "random":
        if share == 0:
            return Uniform(size, per_slide=per_slide, level=level)
        return Foreground(size, per_slide=per_slide, share=share, classes=classes, empty=empty, level=level)
    if mode in ("grid", "random-grid"):
        return Grid(size, overlap=overlap, offset="fixed" if mode == "grid" else "random", level=level)
    raise OptionError(f'mode must be "random", "grid" or "random-grid", got {mode!r}')


def sides(size: Size) -> tuple[int, int]:
    """(height, width) of a size."""
    return (size, size) if isinstance(size, int) else size


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


def _check_size(sampler: Uniform | Foreground | Grid) -> None:
    size = sampler.size
    both = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else (size, size)
    try:
        height, width = (as_int(side) for side in both)
    except (TypeError, ValueError):
        raise OptionError(f"size must be an integer or (height, width), got {size!r}") from None
    if height < 1 or width < 1:
        raise OptionError(f"size must be at least 1 px, got {size!r}")
    object.__setattr__(sampler, "size", (height, width) if isinstance(size, Sequence) else height)


def _check_integer(sampler: Uniform | Foreground | Grid, name: str, least: int, most: int = 2**32 - 1) -> None:
    value = getattr(sampler, name)
    try:
        number = as_int(value)
    except TypeError:
        raise OptionError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool) or not least <= number <= most:
        raise OptionError(f"{name} must be in {least}..{most}, got {value!r}")
    object.__setattr__(sampler, name, number)


def _weights(classes: Classes | None) -> dict[int | str, float]:
    """{class: weight} of what `classes` may be; checked."""
    if classes is None:
        return {}
    if isinstance(classes, str) or not isinstance(classes, (Mapping, Sequence)):
        raise OptionError(f"classes must be a list of class numbers or names, or a mapping to weights, got {classes!r}")
    weights = dict(classes) if isinstance(classes, Mapping) else dict.fromkeys(classes, 1.0)
    for key, weight in weights.items():
        if not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
            raise OptionError(f"the weight of class {key!r} must be a number, 0 or more, got {weight!r}")
    if not any(weights.values()):
        raise OptionError(f"classes must give at least one class a weight above 0, got {classes!r}")
    return weights

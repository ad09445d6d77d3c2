"""`Uniform` and `Foreground`: windows drawn at random, as many of a slide as asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from patchaug.core.validation import (
    Classes,
    Size,
    checked_fraction,
    checked_integer,
    checked_weights,
    refuses_old_names,
)
from patchaug.errors import ForegroundError, OptionError
from patchaug.sampling.base import NO_HALO, Halo, check_place, domain_of, put
from patchaug.sampling.distributions import MixtureComponent, MixtureDistribution, UniformComponent
from patchaug.sampling.foreground import ClassComponent
from patchaug.sampling.min_fraction import QualifyingWindows, least_pixels
from patchaug.slides.labels import Labels
from patchaug.slides.slide import Slide
from patchaug.slides.tissue import TISSUE, tissue_labels

PerSlide = int | Literal["area", "tissue"]
Empty = Literal["raise", "uniform", "skip"]


@dataclass(frozen=True)
class Uniform:
    """Every window that lies inside the slide is equally likely.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch; or "area" or "tissue", to share out `windows` among the
            slides by their pixels, or by those that are tissue (`patchaug.slides.tissue`).
        windows: Windows of all slides in an epoch, with per_slide "area" or "tissue"; each slide gets one at least.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level. The coarsest level that is no coarser is read,
            in a window that covers size * mpp micrometres, and resampled to `size`: the image by its area mean, the
            mask by the nearest pixel. Windows are counted in pixels of the level that is read.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    size: Size
    per_slide: PerSlide = field(default=1, kw_only=True)
    windows: int | None = field(default=None, kw_only=True)
    level: int = field(default=0, kw_only=True)
    mpp: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_place(self)
        _check_number(self)

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> MixtureDistribution:
        """The law on one slide, as if it were the only one.

        Args:
            slide: The slide.
            halo: Pixels (y, x) of the patches, in which no window may come nearer to the border of the slide.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
            OptionError: `mpp` is asked for, and the slide does not say its own, or is coarser.
        """
        domain = domain_of(self, slide, halo)
        return MixtureDistribution(domain, count_alone(self), UniformComponent(domain))


@dataclass(frozen=True)
class Foreground:
    """Windows drawn in proportion to the labelled pixels that they hold, mixed with uniform ones.

    With probability 1 - foreground every valid window is equally likely. With probability foreground a class is drawn
    by the weights in `classes`, then a window with probability proportional to the number of that class's pixels in
    it. On a slide without a mask the tissue is the one class (`patchaug.slides.tissue`).

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch; or "area" or "tissue", see `Uniform`.
        windows: Windows of all slides in an epoch, with per_slide "area" or "tissue".
        foreground: Probability that a draw is a foreground draw, 0 to 1.
        classes: Classes that count as foreground: numbers or names of `codes`, or a mapping of them to weights. On a
            slide that lacks some, the weights of those present count. Default: all but 0 and `ignore_index`, equally.
        min_fraction: Draw, in both parts, only windows of whose pixels at least this share, 0 to 1, belongs to the
            classes. A class that has no pixel in any such window counts as absent.
        empty: What to do with a slide that has none of the classes: "raise" an error, draw "uniform" windows from it,
            or "skip" it.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level; see `Uniform`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.
    """

    size: Size
    per_slide: PerSlide = field(default=1, kw_only=True)
    windows: int | None = field(default=None, kw_only=True)
    foreground: float = field(default=0.5, kw_only=True)
    classes: Classes | None = field(default=None, kw_only=True)
    min_fraction: float = field(default=0.0, kw_only=True)
    empty: Empty = field(default="raise", kw_only=True)
    level: int = field(default=0, kw_only=True)
    mpp: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_place(self)
        _check_number(self)
        checked_fraction("foreground", self.foreground, "a probability")
        checked_fraction("min_fraction", self.min_fraction, "a share of the window's pixels")
        if self.empty not in ("raise", "uniform", "skip"):
            raise OptionError(f'empty must be "raise", "uniform" or "skip", got {self.empty!r}')
        checked_weights(self.classes)

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> MixtureDistribution:
        """The law on one slide, as if it were the only one; reads its mask once, to know where the labels are.

        Args:
            slide: The slide.
            halo: Pixels (y, x) of the patches, in which no window may come nearer to the border of the slide.

        Raises:
            WindowError: The slide has no such level, or it is smaller than the window.
            OptionError: `mpp` is asked for, and the slide does not say its own, or is coarser.
            ForegroundError: The slide has none of the classes and `empty` is "raise", or none of its windows holds
                `min_fraction` of them.
        """
        domain = domain_of(self, slide, halo)
        count, every = count_alone(self), UniformComponent(domain)
        if self.foreground == 0 and self.min_fraction == 0:
            return MixtureDistribution(domain, count, every)
        labels, weights = self._wanted(slide, domain.level)
        if not weights:
            return MixtureDistribution(domain, 0 if self.empty == "skip" else count, every)
        area = domain.width * domain.height
        if self.min_fraction == 0:
            uniform: MixtureComponent = every
            laws = {
                value: ClassComponent.of(labels, value, domain.width, domain.height, domain.margin_x, domain.margin_y)
                for value in weights
            }
            parts: dict[int, MixtureComponent] = {value: law for value, law in laws.items() if law.total}
            if not parts:
                raise ForegroundError(
                    f"{slide.name}: the classes {sorted(weights)} lie within {domain.margin_x} x {domain.margin_y} px "
                    f"of its border, where a halo of that size leaves no window; transform by less, leave the slide "
                    f"out, or set edge to 'reflect'"
                )
        else:
            some = QualifyingWindows.of(
                labels, list(weights), domain, least_pixels(self.min_fraction, area), slide.name
            )
            if not some.windows:
                raise ForegroundError(
                    f"{slide.name}: no window of {domain.width} x {domain.height} px at level {domain.level} has "
                    f"min_fraction {self.min_fraction} of its pixels in the classes {sorted(weights)}; the largest "
                    f"fraction is {some.largest / area}; ask for less, or leave it out"
                )
            uniform = some.uniform()
            parts = {value: part for value in weights if (part := some.of_class(value)).total}
        total = sum(weights[value] for value in parts)
        shares = tuple(weights[value] / total for value in parts)
        return MixtureDistribution(domain, count, uniform, float(self.foreground), shares, tuple(parts.values()))

    def _wanted(self, slide: Slide, level: int) -> tuple[Labels, dict[int, float]]:
        """The slide's labels, and the weights of those of the classes asked for that it has."""
        if slide.mask is None:
            if self.classes is not None:
                raise ForegroundError(
                    f"{slide.name}: it has no mask, so it has no classes {list(self.classes)}; give it a mask, or "
                    f"leave classes out to draw windows of tissue"
                )
            labels, weights, what = tissue_labels(slide, level), {TISSUE: 1.0}, "no mask, and no tissue"
        else:
            labels = slide.labels(level)
            weights = {slide.class_number(key): weight for key, weight in checked_weights(self.classes).items()}
            if self.classes is None:
                weights = {value: 1.0 for value in labels.runs if value not in (0, slide.ignore_index)}
            asked = "all but 0" if self.classes is None else sorted(weights)
            what = f"no pixel of the classes asked for ({asked})"
        present = {value: weight for value, weight in weights.items() if value in labels.runs and weight > 0}
        if not present and self.empty == "raise":
            raise ForegroundError(
                f"{slide.name}: {what} at level {level}, where it has the classes {sorted(labels.runs)}; leave "
                f'the slide out, or set empty to "uniform" or "skip"'
            )
        return labels, present


Foreground.__init__ = refuses_old_names(Foreground.__init__)  # type: ignore[method-assign]


def count_alone(sampler: Uniform | Foreground) -> int:
    """Windows of a slide that is the only one."""
    if isinstance(sampler.per_slide, int):
        return sampler.per_slide
    assert sampler.windows is not None  # checked at birth
    return sampler.windows


def _check_number(sampler: Uniform | Foreground) -> None:
    if isinstance(sampler.per_slide, str):
        if sampler.per_slide not in ("area", "tissue"):
            raise OptionError(f'per_slide must be a number, "area" or "tissue", got {sampler.per_slide!r}')
        if sampler.windows is None:
            raise OptionError(
                f'per_slide="{sampler.per_slide}" shares out a total: say how many windows, as windows=1000'
            )
        put(sampler, "windows", checked_integer("windows", sampler.windows, 1))
    else:
        put(sampler, "per_slide", checked_integer("per_slide", sampler.per_slide, 1))
        if sampler.windows is not None:
            raise OptionError(
                f'windows={sampler.windows} is shared out with per_slide="area" or "tissue"; got per_slide '
                f"{sampler.per_slide}"
            )

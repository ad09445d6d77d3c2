"""`Foreground`: windows drawn in proportion to the labelled pixels in them, mixed with uniform ones."""

from __future__ import annotations

from dataclasses import dataclass, field

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.validation import Classes, Size, checked_fraction, checked_weights, refuses_old_names
from patchaug.errors import ForegroundError, OptionError
from patchaug.sampling.base import NO_HALO, Halo, check_place, domain_of
from patchaug.sampling.class_component import ClassComponent
from patchaug.sampling.distributions import MixtureComponent, MixtureDistribution, UniformComponent, WindowDomain
from patchaug.sampling.min_fraction import QualifyingWindows, least_pixels
from patchaug.sampling.min_valid import limited_windows, limits_of, require_windows
from patchaug.sampling.option_table import Balance, Empty, PerSlide, check_choice
from patchaug.sampling.uniform import check_count, count_alone
from patchaug.sampling.window_counts import Limit
from patchaug.slides.labels import Labels
from patchaug.slides.slide import Slide
from patchaug.slides.tissue import TISSUE, tissue_labels

_TISSUE_CLASS = "tissue"  # class of slides without a mask, in a balance over several slides
NO_FOREGROUND_DRAWS = (
    'balance="dataset" says where foreground draws go, and foreground=0 asks for none; set foreground=0.5, or leave '
    "balance out"
)


@names_arguments_of_init
@dataclass(frozen=True)
class Foreground:
    """Windows drawn in proportion to the labelled pixels that they hold, mixed with uniform ones.

    With probability 1 - foreground every valid window is equally likely. With probability foreground a class is drawn
    by the weights in `classes`, then a window with probability proportional to the number of that class's pixels in
    it. On a slide without a mask the tissue is the one class (`patchaug.slides.tissue`).

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        per_slide: Windows drawn from each slide in an epoch; or "area" or "tissue", see `Uniform`; or "foreground", to
            share out `windows` by the pixels of the classes.
        windows: Windows of all slides in an epoch, with per_slide "area", "tissue" or "foreground".
        foreground: Probability that a draw is a foreground draw, 0 to 1.
        classes: Classes that count as foreground: numbers or names of `codes`, or a mapping of them to weights. On a
            slide that lacks some, the weights of those present count. Default: all but 0 and `ignore_index`, equally.
        min_fraction: Draw, in both parts, only windows of whose pixels at least this share, 0 to 1, belongs to the
            classes. A class that has no pixel in any such window counts as absent.
        min_valid: Draw, in both parts, only windows of whose pixels at least this share, 0 to 1, holds data; see
            `Uniform`.
        inside: Draw, in both parts, only windows of whose pixels at least this share, 0 to 1, lies in the region of the
            slide; see `Uniform`.
        empty: What to do with a slide that has none of the classes: "raise" an error, draw "uniform" windows from it,
            or "skip" it.
        balance: "slide": each slide gets its number of foreground draws, whatever it holds. "dataset": a foreground
            draw takes a class, then a window of any slide with probability proportional to its pixels of the class;
            the slides' numbers of windows are shares of the other draws only. A slide without the classes then draws
            uniform windows; it is an error if no slide has any.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level; see `Uniform`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Foreground, Plan, open_slide
        >>> mask = np.zeros((100, 200), np.uint8)
        >>> mask[40, 50] = 1
        >>> slide = open_slide(np.zeros((100, 200, 3), np.uint8), mask)
        >>> plan = Plan([slide], Foreground(64, per_slide=5, foreground=1.0))
        >>> all(plan.read(draw).mask.any() for draw in plan)
        True
    """

    size: Size
    per_slide: PerSlide = field(default=1, kw_only=True)
    windows: int | None = field(default=None, kw_only=True)
    foreground: float = field(default=0.5, kw_only=True)
    classes: Classes | None = field(default=None, kw_only=True)
    min_fraction: float = field(default=0.0, kw_only=True)
    min_valid: float = field(default=0.0, kw_only=True)
    inside: float = field(default=1.0, kw_only=True)
    empty: Empty = field(default="raise", kw_only=True)
    balance: Balance = field(default="slide", kw_only=True)
    level: int = field(default=0, kw_only=True)
    mpp: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_place(self)
        check_count(self)
        checked_fraction("foreground", self.foreground, "a probability")
        checked_fraction("min_fraction", self.min_fraction, "a share of the window's pixels")
        checked_fraction("min_valid", self.min_valid, "a share of the window's pixels")
        checked_fraction("inside", self.inside, "a share of the window's pixels")
        check_choice("empty", self.empty, Empty)
        checked_weights(self.classes)
        check_choice("balance", self.balance, Balance)
        if self.balance == "dataset" and self.foreground == 0:
            raise OptionError(NO_FOREGROUND_DRAWS)

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> MixtureDistribution:
        """Return the distribution of windows on one slide, as if it were the only one; reads its mask once.

        Args:
            slide: The slide.
            halo: Pixels (y, x) of the patches, in which no window may come nearer to the border of the slide.

        Raises:
            WindowError: The slide has no such level, it is smaller than the window, or no window has `min_valid`.
            OptionError: `mpp` is asked for, and the slide does not say its own, or is coarser.
            ForegroundError: The slide has none of the classes and `empty` is "raise", or none of its windows holds
                `min_fraction` of them.
        """
        domain = domain_of(self, slide, halo)
        count = count_alone(self)
        if self.foreground == 0 and self.min_fraction == 0:
            return MixtureDistribution(domain, count, limited_windows(slide, domain, self))
        labels, weights = self._present_classes(slide, domain.level)
        if not weights and self.empty == "skip":
            return MixtureDistribution(domain, 0, UniformComponent(domain))
        if not weights:
            return MixtureDistribution(domain, count, limited_windows(slide, domain, self))
        limits = limits_of(slide, domain, self)
        uniform, components = (
            self._weighted(slide, labels, weights, domain)
            if self.min_fraction == 0 and not limits
            else self._qualifying(slide, labels, weights, domain, limits)
        )
        if not components:
            return MixtureDistribution(domain, 0 if self.empty == "skip" else count, uniform)
        total = sum(weights[value] for value in components)
        normalized = tuple(weights[value] / total for value in components)
        return MixtureDistribution(
            domain, count, uniform, float(self.foreground), normalized, tuple(components.values()),
            tuple((_TISSUE_CLASS if slide.mask is None else value, weights[value]) for value in components),
        )  # fmt: skip

    def _weighted(
        self, slide: Slide, labels: Labels, weights: dict[int, float], domain: WindowDomain
    ) -> tuple[MixtureComponent, dict[int, MixtureComponent]]:
        """Return the components of all windows: uniform, and by class."""
        by_class = {value: ClassComponent.of(labels, value, domain.width, domain.height, domain) for value in weights}
        components: dict[int, MixtureComponent] = {value: one for value, one in by_class.items() if one.total}
        if not components and self.balance == "slide" and (self.empty == "raise" or domain.bounds is None):
            if domain.bounds is not None:
                raise ForegroundError(
                    f"{slide.name}: none of the classes {sorted(weights)} lies in windows of columns {domain.left} to "
                    f"{domain.right - 1} and rows {domain.top} to {domain.bottom - 1}, where windows are drawn; choose "
                    f'another region, leave the slide out, or set empty to "uniform" or "skip"'
                )
            raise ForegroundError(
                f"{slide.name}: the classes {sorted(weights)} lie within {domain.margin_x} x {domain.margin_y} px "
                f"of its border, where a halo of that size leaves no window; transform by less, leave the slide "
                f"out, or set edge to 'reflect'"
            )
        return UniformComponent(domain), components

    def _qualifying(
        self, slide: Slide, labels: Labels, weights: dict[int, float], domain: WindowDomain, limits: list[Limit]
    ) -> tuple[MixtureComponent, dict[int, MixtureComponent]]:
        """Return the components of the windows with `min_fraction`, within limits: uniform, and by class."""
        area = domain.width * domain.height
        least = least_pixels(self.min_fraction, area)
        windows = QualifyingWindows.of(labels, list(weights), domain, least, slide.name, limits=limits)
        require_windows(slide, windows)
        by_class = {value: windows.of_class(value) for value in weights}
        components: dict[int, MixtureComponent] = {value: one for value, one in by_class.items() if one.total}
        in_part = self.empty != "raise" and (slide.region is not None or domain.bounds is not None)
        if not components and self.min_fraction == 0 and (self.balance == "dataset" or in_part):
            return windows.uniform(), {}
        if not components:  # also where no window holds enough
            of_those = f" with min_valid {self.min_valid}" if self.min_valid else ""
            of_those += " in the region" if slide.region is not None else ""
            wanted = f"min_fraction {self.min_fraction} of its pixels" if self.min_fraction else "a pixel"
            raise ForegroundError(
                f"{slide.name}: no window of {domain.width} x {domain.height} px at level {domain.level}{of_those} has "
                f"{wanted} in the classes {sorted(weights)}; the largest fraction is {windows.largest / area}; ask for "
                f"less, or leave it out"
            )
        return windows.uniform(), components

    def foreground_pixels(self, slide: Slide, level: int) -> int:
        """Count the pixels of the classes that plans read on a level, or of the tissue where there is no mask.

        Raises:
            ForegroundError: The slide has no mask, and `classes` names some; or it has none of them, and `empty` is
                "raise".
        """
        labels, weights = self._present_classes(slide, level)
        return sum(labels.count_within(value, slide.bounds(level)) for value in weights)

    def _present_classes(self, slide: Slide, level: int) -> tuple[Labels, dict[int, float]]:
        """Return the slide's labels, and the weights of the requested classes that it has."""
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
        if not present and self.empty == "raise" and self.balance == "slide":
            raise ForegroundError(
                f"{slide.name}: {what} at level {level}, where it has the classes {sorted(labels.runs)}; leave "
                f'the slide out, or set empty to "uniform" or "skip"'
            )
        return labels, present


Foreground.__init__ = refuses_old_names(Foreground.__init__)  # type: ignore[method-assign]

"""`Points`: windows around the points of a table, each once in an epoch, with their labels."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any, Literal, cast

import numpy as np

from patchaug.core.arguments import names_arguments_of_init
from patchaug.core.validation import Size, checked_fraction
from patchaug.core.windows import Window
from patchaug.errors import WindowError
from patchaug.sampling.base import NO_HALO, Halo, check_place, domain_of, put
from patchaug.sampling.distributions import Random, WindowDomain
from patchaug.sampling.draw import Draw
from patchaug.sampling.min_valid import region_limit
from patchaug.sampling.option_table import check_choice
from patchaug.sampling.plan import Plan
from patchaug.sampling.point_table import Point, points_from
from patchaug.slides.slide import Slide

Beyond = Literal["raise", "shift", "skip"]


@names_arguments_of_init
@dataclass(frozen=True)
class Points:
    """A window around each point of a table, once in an epoch; of a slide, the points that name it.

    The point is the centre of its window, to the nearest pixel of the level.

    Args:
        size: Side of the window in pixels of `level`, or (height, width).
        points: A CSV file with columns x and y and, where wanted, label and slide; a GeoJSON file, or parsed GeoJSON,
            of points; or a list of (x, y) or (x, y, label). Coordinates are pixels of level 0, x right and y down.
            Without a column slide, or property "slide", the points are those of every slide.
        beyond: What to do with a window that leaves the slide, its part or its region, with its halo: "raise" an error,
            "shift" it inside (not into regions that are no rectangles), or "skip" it.
        label: Property of GeoJSON points that holds the label, such as "class".
        inside: Least share of a window's pixels in the region of the slide, see `Uniform`.
        level: Pyramid level to read.
        mpp: Micrometres per pixel of the patches, in place of a level; see `Uniform`.

    Raises:
        OptionError: A value is of a wrong type or out of its limits, or the table has no point.
        MissingError, ReadError: The file does not exist, or cannot be read as a table of points.

    Examples:
        >>> import numpy as np
        >>> from patchaug import Plan, open_slide
        >>> from patchaug.sampling.points import Points
        >>> slide = open_slide(np.zeros((200, 300, 3), np.uint8))
        >>> sampler = Points(64, [(50, 60, "mitosis"), (200, 100, "other")])
        >>> plan = Plan([slide], sampler, shuffle=False)
        >>> plan[0].window, sampler.label_of(plan, plan[0])
        (Window(x=18, y=28, width=64, height=64, level=0), 'mitosis')
    """

    size: Size
    points: Any
    beyond: Beyond = field(default="raise", kw_only=True)
    label: str = field(default="classification", kw_only=True)
    inside: float = field(default=1.0, kw_only=True)
    level: int = field(default=0, kw_only=True)
    mpp: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_place(self)
        check_choice("beyond", self.beyond, Beyond)
        checked_fraction("inside", self.inside, "a share of the window's pixels")
        put(self, "points", points_from(self.points, self.label))

    def __repr__(self) -> str:
        return f"Points(size={self.size}, {len(self.points)} points, beyond={self.beyond!r}, level={self.level})"

    def distribution(self, slide: Slide, halo: Halo = NO_HALO) -> PointsDistribution:
        """Return the windows of one slide.

        Args:
            slide: The slide.
            halo: Pixels (y, x) of the patches, in which no window may come nearer to the border of the slide.

        Raises:
            WindowError: The slide is smaller than the window; a window leaves it, and `beyond` is "raise"; or no window
                is left.
            OptionError: `mpp` is asked for, and the slide does not say its own, or is coarser.
        """
        domain = domain_of(self, slide, halo)
        limit = region_limit(slide, domain, self.inside)
        points = [
            one for one in cast("tuple[Point, ...]", self.points) if one.slide is None or _named(slide, one.slide)
        ]
        if not points:
            names = ", ".join(sorted({str(one.slide) for one in self.points})[:10])
            raise WindowError(f"{slide.name}: the table has no point of this slide; it names {names}")
        taken: list[tuple[Window, str | None]] = []
        left: list[Point] = []
        for one in points:
            window = _around(one, slide, domain)
            moved = _moved(window, domain)
            outside = moved != window and self.beyond != "shift"
            if outside or (limit is not None and limit.count(moved.x, moved.y, moved.width, moved.height) > limit.most):
                left.append(one)
            else:
                taken.append((moved, one.label))
        if left and self.beyond != "skip":
            first = left[0]
            cure = 'beyond="skip" leaves them out'
            raise WindowError(
                f"{slide.name}: windows of {domain.width} x {domain.height} px around {len(left)} of {len(points)} "
                f"points leave what may be read, the first around x={first.x:g} y={first.y:g}; {cure}"
                + (', "shift" moves them inside' if self.beyond == "raise" and limit is None else "")
            )
        if not taken:
            raise WindowError(
                f"{slide.name}: the windows around all {len(points)} points leave it; choose a smaller size"
            )
        return PointsDistribution(domain, tuple(one for one, _ in taken), tuple(label for _, label in taken))

    def label_of(self, plan: Plan, draw: Draw) -> str | None:
        """Return the label of a draw's point; None where the table has none."""
        return cast("PointsDistribution", plan.distributions[draw.slide]).labels[draw.draw]


@dataclass(frozen=True)
class PointsDistribution:
    """Windows around points, each once in an epoch.

    Attributes:
        domain: Size of the windows and of the level.
        windows: The windows.
        labels: Their labels.
    """

    domain: WindowDomain
    windows: tuple[Window, ...]
    labels: tuple[str | None, ...]

    @property
    def count(self) -> int:
        """Windows in an epoch."""
        return len(self.windows)

    def draw(self, number: int, random: Random) -> tuple[Window, float]:
        """Return window `number`; its probability is 1, since every epoch holds it."""
        return self.windows[number], 1.0

    def redraw(self, generator: np.random.Generator, random: Random) -> Window:
        """Draw another of the windows."""
        return self.windows[int(generator.integers(len(self.windows)))]


def _named(slide: Slide, name: str) -> bool:
    """Return whether a table means a slide: by its name, or its file's, with or without the suffix."""
    names = {slide.name, os.path.splitext(slide.name)[0]}
    if slide.path is not None:
        file = os.path.basename(slide.path)
        names |= {slide.path, file, os.path.splitext(file)[0]}
    return name in names


def _around(point: Point, slide: Slide, domain: WindowDomain) -> Window:
    """Return the window whose centre is nearest to a point; it may leave the slide."""
    l0_width, l0_height = slide.dimensions
    x = Fraction(point.x) * domain.length_x / l0_width - Fraction(domain.width, 2)
    y = Fraction(point.y) * domain.length_y / l0_height - Fraction(domain.height, 2)
    return domain.at(floor(x + Fraction(1, 2)), floor(y + Fraction(1, 2)))


def _moved(window: Window, domain: WindowDomain) -> Window:
    """Return the nearest window of the domain."""
    x = min(max(window.x, domain.left), domain.right - domain.width)
    y = min(max(window.y, domain.top), domain.bottom - domain.height)
    return domain.at(x, y)

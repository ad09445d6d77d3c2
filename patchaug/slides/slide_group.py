"""`SlideGroup`: several slides of one frame, all read through the same window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from patchaug.core.validation import Size
from patchaug.core.windows import Window
from patchaug.errors import FrameError, OptionError
from patchaug.slides.patch import Patch
from patchaug.slides.slide import Slide


class PatchGroup(Patch):
    """The patches of a group in one window: image and mask of the first slide, and the patches of the others.

    Attributes:
        others: Patches of the other slides.
    """

    others: tuple[Patch, ...] = ()

    @classmethod
    def of(cls, patches: Sequence[Patch]) -> PatchGroup:
        """Group the patches of one window."""
        group = cls(*patches[0])
        group.others = tuple(patches[1:])
        return group

    @property
    def parts(self) -> tuple[Patch, ...]:
        """The patch of each slide."""
        return Patch(*self), *self.others

    def each(self, change: Callable[[Patch], Patch]) -> Patch:
        """Return the group with each patch changed."""
        return PatchGroup.of([change(part) for part in self.parts])


class SlideGroup(Slide):
    """The first slide of a group, which reads the others through its windows.

    Windows, foreground and the name are those of the first slide.

    Args:
        slides: At least one slide; all of one size at level 0.

    Raises:
        FrameError: The sizes differ.
        OptionError: A slide is a group itself.
    """

    def __init__(self, slides: Sequence[Slide]) -> None:
        first, *others = slides
        if any(isinstance(slide, SlideGroup) for slide in slides):
            raise OptionError(f"{first.name}: a group holds slides, and one of these is a group itself")
        self.__dict__.update(first.__dict__)
        self.others = tuple(others)
        self.require_level(0)

    def first(self) -> Slide:
        """Return the first slide alone."""
        slide = object.__new__(Slide)
        slide.__dict__.update(self.__dict__)
        return slide

    def require_level(self, level: int) -> None:
        """Verify that all slides of the group have a level, and the same pixels there.

        Raises:
            FrameError: They do not.
        """
        width, height = self.level_size(level)
        for other in self.others:
            if len(other.level_dimensions) <= level:
                raise FrameError(
                    f"{self.name}: windows are read at level {level}, and {other.name} beside it has levels 0 to "
                    f"{len(other.level_dimensions) - 1}; take a level that both have"
                )
            if other.level_dimensions[level] != (width, height):
                there = other.level_dimensions[level]
                raise FrameError(
                    f"{self.name}: level {level} has {width} x {height} px, and {other.name} beside it "
                    f"{there[0]} x {there[1]} px; the images of an item must have one frame"
                )

    @property
    def members(self) -> tuple[Slide, ...]:
        """All slides of the group."""
        return self.first(), *self.others

    def __repr__(self) -> str:
        return f"SlideGroup({super().__repr__()} and {len(self.others)} more)"

    def without_mask(self) -> Slide:
        """Return the same images alone."""
        return SlideGroup([self.first().without_mask(), *(other.without_mask() for other in self.others)])

    def read(self, window: Window, size: Size | None = None) -> Patch:
        """Read the window of all slides, see `Slide.read`."""
        return PatchGroup.of([one.read(window, size) for one in (self.first(), *self.others)])

    def read_around(self, window: Window, halo: tuple[int, int], size: Size) -> Patch:
        """Read a window and a halo around it of all slides, see `Slide.read_around`."""
        own = self.first()
        return PatchGroup.of([one.read_around(window, halo, size) for one in (own, *self.others)])

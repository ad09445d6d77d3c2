"""`MapFrame`: where a prediction lies on its slide, and what its numbers mean; writers and scores need no more."""

from __future__ import annotations

from dataclasses import dataclass

from patchaug.readers.georeference import Georeference, georeference_of
from patchaug.slides.mask_alignment import whole_factors
from patchaug.slides.slide import Slide


@dataclass(frozen=True)
class MapFrame:
    """Frame of the map of one slide.

    A pixel of the map has its outer corner at level-0 place (l0_x + column * l0_per_pixel[0], l0_y + row *
    l0_per_pixel[1]).

    Attributes:
        slide: Name of the slide.
        width: Columns of the map.
        height: Rows of the map.
        codes: Class names, in the order of the class numbers.
        level: Level of the slide that the windows were read from.
        l0_per_pixel: Level-0 pixels for each pixel of the map, (x, y).
        l0_x: Column of level 0 at the map's left edge.
        l0_y: Row of level 0 at the map's upper edge.
        mpp: Micrometres per pixel of the map, (x, y); None where the slide does not state it.
        georeference: Place of the map's pixels on the map or stage; None where the slide does not state it.
        whole: (width, height) of the whole slide in pixels of the map, where the map is a part of it; None where it is
            the whole.

    Examples:
        >>> from patchaug.predict.map_frame import MapFrame
        >>> frame = MapFrame("liver", 400, 300, ("background", "nucleus"), level=1, l0_per_pixel=(4.0, 4.0))
        >>> frame.codes[1]
        'nucleus'
    """

    slide: str
    width: int
    height: int
    codes: tuple[str, ...]
    level: int = 0
    l0_per_pixel: tuple[float, float] = (1.0, 1.0)
    l0_x: float = 0.0
    l0_y: float = 0.0
    mpp: tuple[float, float] | None = None
    georeference: Georeference | None = None
    whole: tuple[int, int] | None = None

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Pixels of the map between it and the slide's borders: left, top, right, bottom."""
        if self.whole is None:
            return 0, 0, 0, 0
        left, top = round(self.l0_x / self.l0_per_pixel[0]), round(self.l0_y / self.l0_per_pixel[1])
        return left, top, self.whole[0] - self.width - left, self.whole[1] - self.height - top

    @classmethod
    def of_level(cls, slide: Slide, codes: tuple[str, ...], level: int = 0) -> MapFrame:
        """Return the frame of a map of a whole level of a slide; the level and level 0 show the same extent.

        Args:
            slide: The slide.
            codes: Class names, in the order of the class numbers.
            level: Level of the slide.

        Raises:
            WindowError: There is no such level.

        Examples:
            >>> MapFrame.of_level(slide, ("background", "nucleus")).l0_per_pixel
            (1.0, 1.0)
        """
        width, height = slide.level_size(level)
        return cls.of_size(slide, codes, width, height, level)

    @classmethod
    def of_size(cls, slide: Slide, codes: tuple[str, ...], width: int, height: int, level: int = 0) -> MapFrame:
        """Return the frame of a map of a whole slide, of any size.

        A map of another size than the slide's levels, smaller by a whole factor, has pixels that are squares of so many
        level-0 pixels: a mask of that size is laid under the slide in the same way, see
        `patchaug.slides.mask_alignment`.

        Args:
            slide: The slide.
            codes: Class names, in the order of the class numbers.
            width: Columns of the map.
            height: Rows of the map.
            level: Level that the windows were read from.
        """
        l0_width, l0_height = slide.dimensions
        factors = [] if (width, height) in slide.level_dimensions else whole_factors(slide.dimensions, (width, height))
        factor = next(iter(factors), None)
        per_pixel = (l0_width / width, l0_height / height) if factor is None else (float(factor), float(factor))
        mpp = None if slide.mpp is None else (slide.mpp[0] * per_pixel[0], slide.mpp[1] * per_pixel[1])
        place = georeference_of(slide.image)
        return cls(
            slide.name, width, height, tuple(codes), level, per_pixel, mpp=mpp,
            georeference=None if place is None else place.of_part(0.0, 0.0, *per_pixel),
        )  # fmt: skip

"""Result of the check of one slide."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Report:
    """What a check found of one slide.

    Attributes:
        path: The image.
        mask: Its mask, None where there is none.
        size: (width, height) of level 0 in pixels, None for a file that does not open.
        levels: Number of levels.
        mpp: Micrometres per pixel at level 0, None where the file does not say.
        codec: How its tiles are coded, or which library reads it.
        tiles: Tiles of image and mask that were decoded.
        missing: Tiles of image and mask that are not stored: chunks of zarr hold the fill value, tiles of a TIFF are
            invalid.
        invalid: Share of the image's pixels at level 0, or of the sample, that hold no data.
        dtype: Type of the image's pixels, "" for a file that does not open.
        channels: Number of channels.
        channel_names: Their names, None where the file does not store them.
        pixels: {class: pixels of the mask at its level 0, or of the sample}.
        problems: One line each; empty for a slide that is as it should be.
        notes: One line each, of what does no harm but costs time.
    """

    path: str
    mask: str | None = None
    size: tuple[int, int] | None = None
    levels: int = 0
    mpp: tuple[float, float] | None = None
    codec: str = ""
    tiles: int = 0
    missing: int = 0
    invalid: float = 0.0
    dtype: str = ""
    channels: int = 0
    channel_names: tuple[str, ...] | None = None
    pixels: dict[int, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def format(self) -> tuple[str, int] | None:
        """Type and number of channels; None for a file that does not open."""
        return (self.dtype, self.channels) if self.dtype else None

    def with_problem(self, text: str) -> Report:
        """Return the report with one problem more."""
        return replace(self, problems=(*self.problems, text))

    def with_note(self, text: str) -> Report:
        """Return the report with one note more."""
        return replace(self, notes=(*self.notes, text))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Report:
        """Return a report from its JSON."""
        lists = ("size", "mpp", "channel_names", "problems", "notes")
        pairs = {name: tuple(fields[name]) for name in lists if fields.get(name) is not None}
        pixels = {int(value): count for value, count in fields.get("pixels", {}).items()}
        return cls(**{**fields, **pairs, "pixels": pixels})

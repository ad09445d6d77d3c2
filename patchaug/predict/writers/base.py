"""`BandWriter`: what all writers share. Bands are checked; a file is written beside its name, renamed when whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from patchaug.core.arrays import Array
from patchaug.core.atomic import atomic_write, write_error
from patchaug.errors import LabelError, OptionError, PatchaugError
from patchaug.predict.map_frame import MapFrame

What = Literal["classes", "probabilities"]


class BandWriter(ABC):
    """Takes the bands of a map from the top down, and writes one file, whole or not at all.

    Used as a context manager: an exception inside removes what was written; otherwise the end of the block completes
    the file and renames it to its final name. `open_writer` of the registry makes them.

    A subclass defines `begin` (open what it writes to, below `self.temporary`), `write_band` and `finish`.

    Args:
        path: The file or folder; its suffix does not matter.
        frame: Frame of the map.
        what: Whether class numbers or probabilities are written.
        ignore: Number in the map that means "not predicted".

    Attributes:
        margins: Pixels of the slide around the map that the file covers: left, top, right, bottom.
        fill: Number of pixels that are not predicted; None where there are none.

    Raises:
        OptionError: The frame has no class or no pixel.
    """

    content = "class map"

    def __init__(self, path: str | Path, frame: MapFrame, *, what: What = "classes", ignore: int | None = None) -> None:
        if frame.width < 1 or frame.height < 1 or not frame.codes:
            raise OptionError(
                f"{frame.slide}: a map has at least 1 x 1 px and one class, got {frame.width} x {frame.height} px and "
                f"{len(frame.codes)} classes"
            )
        if ignore is not None and not (isinstance(ignore, int) and 0 <= ignore <= 65535):
            raise OptionError(f"ignore is stored with the class numbers and must be in 0..65535, got {ignore!r}")
        self.path, self.frame, self.what, self.ignore = Path(path), frame, what, ignore
        self.margins = frame.margins
        self.fill = ignore
        self._written, self._open = 0, False
        self._stack = ExitStack()
        self.temporary = self.path

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of stored class numbers: uint8, or uint16 for more than 256 numbers."""
        return np.dtype(np.uint8 if max(len(self.frame.codes) - 1, self.fill or 0) < 256 else np.uint16)

    @property
    def scratch(self) -> Path:
        """Hidden folder beside the target, for files that are removed at the end."""
        return self.temporary.parent

    @abstractmethod
    def begin(self) -> None:
        """Open what is written to."""

    @abstractmethod
    def write_band(self, top: int, classes: Array, probabilities: Array | None) -> None:
        """Write a checked band; see `write`. `classes` is of `self.dtype`."""

    @abstractmethod
    def finish(self) -> None:
        """Complete `self.temporary`."""

    def close(self) -> None:  # noqa: B027 - optional
        """Close what `begin` opened; called at the end, also after an error."""

    def __enter__(self) -> Self:
        """Open the temporary file.

        Raises:
            MissingError: The folder does not exist.
            WriteError: The target exists and is not to be replaced, or the disk is full or read-only.
        """
        with ExitStack() as stack:
            self.temporary = stack.enter_context(atomic_write(self.path, self.content))
            stack.callback(self.close)
            self.begin()
            self._stack = stack.pop_all()
        self._written, self._open = 0, True
        return self

    def write(self, top: int, classes: Array, probabilities: Array | None = None) -> None:
        """Write the next band.

        Args:
            top: Row of the band's first row; bands come in order and without gaps.
            classes: Class numbers, uint8 or uint16 (rows, width).
            probabilities: float32 (classes, rows, width), or None if only classes are predicted.

        Raises:
            OptionError: The band is not the next one, or is not of the map's size.
            LabelError: A number is no class.
            WriteError: The disk is full.
        """
        if not self._open:
            raise OptionError(f"{self.path}: bands are written within a block: with open_writer(...) as writer")
        if not isinstance(classes, np.ndarray) or not isinstance(probabilities, (np.ndarray, type(None))):
            raise OptionError(f"{self.path}: bands must be arrays of numpy, got a {type(classes).__name__}")
        self._require_next(top, classes, probabilities)
        self._require_classes(top, classes)
        try:
            self.write_band(top, classes.astype(self.dtype, copy=False), probabilities)
        except OSError as error:
            if isinstance(error, PatchaugError):
                raise
            raise write_error(self.path, error) from None
        self._written += len(classes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Complete and rename the file; after an error remove it."""
        self._open = False
        if error is not None:
            self._stack.__exit__(kind, error, traceback)
            return
        with self._stack:
            if self._written < self.frame.height:
                raise OptionError(
                    f"{self.path}: the map has {self.frame.height} rows, and {self._written} of them were written"
                )
            self.finish()
            self.close()

    def cover_slide(self) -> None:
        """Let the file cover the whole slide where the map is a part of it, so that it opens as a mask."""
        if any(self.margins) and self.fill is None:
            self.fill = 255 if len(self.frame.codes) < 256 else 65535

    def cover_map(self) -> None:
        """Let the file cover the map alone, because the file states its place."""
        self.margins = (0, 0, 0, 0)

    def _require_next(self, top: int, classes: Array, probabilities: Array | None) -> None:
        rows, frame = len(classes), self.frame
        if top != self._written or classes.shape[1:] != (frame.width,) or rows < 1 or top + rows > frame.height:
            raise OptionError(
                f"{self.path}: got a band of shape {classes.shape} at row {top}; the next band begins at row "
                f"{self._written} of the map of {frame.height} rows and is {frame.width} wide"
            )
        shape = (len(frame.codes), rows, frame.width)
        if self.what == "probabilities" and probabilities is None:
            raise OptionError(f"{self.path}: probabilities are to be written, and the band at row {top} has none")
        if probabilities is not None and probabilities.shape != shape:
            raise OptionError(f"{self.path}: probabilities must be of shape {shape}, got {probabilities.shape}")

    def _require_classes(self, top: int, classes: Array) -> None:
        count = len(self.frame.codes)
        if classes.dtype.kind not in "ui":
            raise LabelError(f"{self.path}: class numbers must be integers, got {classes.dtype}")
        if int(classes.max()) < count and (classes.dtype.kind == "u" or int(classes.min()) >= 0):
            return
        wrong = (classes < 0) | (classes >= count)
        if self.ignore is not None:
            wrong &= classes != self.ignore
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise LabelError(
                f"{self.path}: the map holds {classes[row, column]} at row {top + row}, column {column}; its classes "
                f"are 0 to {count - 1}" + (f" and {self.ignore}" if self.ignore is not None else "")
            )


def checked_background(frame: MapFrame, background: int | str | None) -> set[int]:
    """Return the number of the class without objects, as a set; empty for None.

    Raises:
        OptionError: There is no such class.
    """
    if background is None:
        return set()
    if isinstance(background, str) and background in frame.codes:
        return {frame.codes.index(background)}
    if isinstance(background, int) and not isinstance(background, bool) and 0 <= background < len(frame.codes):
        return {background}
    raise OptionError(
        f"background must be one of the classes ({', '.join(frame.codes)}), its number, or None, got {background!r}"
    )

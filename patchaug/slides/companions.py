"""Files that belong to a slide without being one: other files of a DICOM series, pictures that a .vms file names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from patchaug.readers.dicom_series import series_of

_INDEXES = (".vms", ".vmu")  # Hamamatsu: a text that names the pictures of the slide
_FILES = re.compile(r"^\s*(?:ImageFile|MapFile|MacroImage|OptimisationFile)[^=]*=\s*(.+?)\s*$", re.MULTILINE)
_INDEX_BYTES = 1 << 20


def without_companions(files: Iterable[Path]) -> list[Path]:
    """Return the files that are slides: one for each DICOM series, and no picture of another slide.

    Of a series the first file by name is kept; OpenSlide finds the others beside it.
    """
    files = sorted(files)
    taken = {file.parent / name for file in files if file.suffix.lower() in _INDEXES for name in _named_by(file)}
    series: set[tuple[Path, str]] = set()
    slides = []
    for file in files:
        if file in taken:
            continue
        if file.suffix.lower() == ".dcm" and (number := series_of(file)) is not None:
            if (file.parent, number) in series:
                continue
            series.add((file.parent, number))
        slides.append(file)
    return slides


def _named_by(index: Path) -> list[str]:
    try:
        with open(index, "rb") as file:
            text = file.read(_INDEX_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return []  # opening the slide reports it
    return _FILES.findall(text)

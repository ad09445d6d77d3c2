"""Slides and masks from a CSV: columns image, mask, and, where wanted, split, group and mpp."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from patchaug.errors import MissingError, OptionError, PatchaugError, ReadError
from patchaug.readers.file import open_file
from patchaug.readers.urls import as_url, is_url, resolved
from patchaug.slides.discovery import missing_files

COLUMNS = ("image", "mask", "split", "group", "mpp")
LARGEST = 64 << 20  # bytes; a million slides take less
_SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}


@dataclass(frozen=True)
class Example:
    """A slide and its mask, as a data set lists them.

    Attributes:
        image: Path of the slide, or of its URL.
        mask: Path of the mask, or of its URL.
        split: Side of the split, or None for a slide that the run assigns.
        group: Slides of one group, such as a patient, stay on one side of the split.
        mpp: Micrometres per pixel, or None for those of the file.
    """

    image: Path
    mask: Path
    split: Literal["train", "valid", "test"] | None = None
    group: str | None = None
    mpp: float | None = None


def read_table(path: str | os.PathLike[str]) -> list[Example]:
    r"""Read the slides of a CSV. Relative paths start from the folder of the CSV.

    The first row names the columns, in any order. `image` and `mask` are required. `split` is train, valid or test;
    slides of `test` are left out of a run. Fields are separated by commas, semicolons or tabs.

    Raises:
        MissingError: The file does not exist, or files that it lists; all of them are listed.
        OptionError: A column is missing or misspelt, a value is wrong, or a slide or mask is listed twice.
        ReadError: The file is not a table in UTF-8.

    Examples:
        >>> from patchaug.slides.pair_table import read_table
        >>> rows = ["image,mask,group", "slides/slide0.tiff,slides/slide0_mask.tiff,patient 7"]
        >>> _ = Path("pairs.csv").write_text("\n".join(rows))
        >>> read_table("pairs.csv")[0].group
        'patient 7'
    """
    file = Path(path)
    url = as_url(path)
    if url is None and not os.path.isfile(path):
        raise MissingError(f"there is no file {file}; slides are listed in a CSV with columns {', '.join(COLUMNS)}")
    try:
        with open_file(url or str(file)) as stream:
            content = stream.read(LARGEST + 1)
        text = content.decode("utf-8-sig")  # Excel writes a mark before the first column
    except PatchaugError:
        raise
    except OSError as error:
        raise ReadError(f"{file} cannot be read ({error.strerror or error}); check its permissions") from None
    except UnicodeDecodeError as error:
        raise ReadError(f"{file} is not text in UTF-8 ({error}); save it as CSV UTF-8") from None
    if len(content) > LARGEST:
        raise ReadError(f"{file}: a table of slides has at most {LARGEST >> 20} MiB; split it")
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True)
    try:
        columns = _columns(rows.fieldnames or [], file)
        found = [_example(row, columns, file, rows.line_num) for row in rows if any(row.values())]
    except csv.Error as error:
        raise ReadError(f"{file}, near line {rows.line_num}: {error}") from None
    if not found:
        raise OptionError(f"{file} lists no slide; it needs a row for each, below {', '.join(columns)}")
    _require_files(found, file)
    return found


def _columns(names: Iterable[str], file: Path) -> dict[str, str]:
    """Return the name in the file of each column."""
    columns: dict[str, str] = {}
    for name in names:
        plain = name.strip().lower()
        near = get_close_matches(plain, COLUMNS, n=1, cutoff=0.75)
        if plain in columns:
            raise OptionError(f"{file}: column {plain!r} is given twice; keep one")
        if plain in COLUMNS:
            columns[plain] = name
        elif near:
            raise OptionError(f"{file}: did column {name!r} mean {near[0]!r}? Columns are {', '.join(COLUMNS)}")
    missing = [name for name in ("image", "mask") if name not in columns]
    if missing:
        raise OptionError(
            f"{file}: column {missing[0]!r} is missing; the first row has {', '.join(names) or 'no name'}, and "
            f"the columns of a table of slides are {', '.join(COLUMNS)}"
        )
    return columns


def _example(row: Mapping[str, str | None], columns: Mapping[str, str], file: Path, line: int) -> Example:
    if None in row:
        raise OptionError(f"{file}, line {line}: more fields than columns; put a path that holds a comma in quotes")
    values = {name: (row[column] or "").strip() for name, column in columns.items()}
    for name in ("image", "mask"):
        if not values[name]:
            raise OptionError(f"{file}, line {line}: {name} is empty; each row names a slide and its mask")
    split = values.get("split")
    if split is not None and split.lower() not in _SPLITS:
        raise OptionError(f"{file}, line {line}: split must be train, valid or test, got {split!r}")
    try:
        mpp = float(values["mpp"].replace(",", ".")) if values.get("mpp") else None
    except ValueError:
        mpp = -1.0
    if mpp is not None and not 0 < mpp < float("inf"):
        raise OptionError(f"{file}, line {line}: mpp must be micrometres per pixel above 0, got {values['mpp']!r}")
    try:
        image, mask = (
            Path(values[name]) if is_url(values[name]) else file.parent / values[name] for name in ("image", "mask")
        )
    except OptionError as error:
        raise OptionError(f"{file}, line {line}: {error}") from None
    side = None if split is None else _SPLITS[split.lower()]
    return Example(image, mask, side, values.get("group") or None, mpp)  # type: ignore[arg-type]


def _require_files(found: list[Example], file: Path) -> None:
    missing = missing_files(path for one in found for path in (one.image, one.mask))
    if missing:
        raise MissingError(
            f"{file} lists {len(missing)} files that do not exist: {', '.join(missing[:20])}"
            + (f" and {len(missing) - 20} more" if len(missing) > 20 else "")
            + f"; relative paths start from {resolved(file.parent)}"
        )
    for what in ("image", "mask"):
        counts = Counter(resolved(getattr(one, what)) for one in found)
        double = sorted(str(path) for path, count in counts.items() if count > 1)
        if double:
            raise OptionError(
                f"{file} lists {len(double)} {what}s twice: {', '.join(double[:20])}; keep one row of each"
            )

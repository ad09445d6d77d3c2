"""Every tile of every slide decoded once, and each mask laid against its image and the codes: `patchaug check`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from patchaug.core.memory.room import room_for
from patchaug.core.outputs import checked_output
from patchaug.core.validation import Size, checked_integer
from patchaug.errors import PatchaugError
from patchaug.readers import (
    is_zarr,
)
from patchaug.readers.channels import Channels
from patchaug.readers.urls import resolved
from patchaug.slides.audit_report import Report as Report
from patchaug.slides.check_all import check_all
from patchaug.slides.check_slide import check_slide as check_slide
from patchaug.slides.checksums import compare_manifest, write_manifest
from patchaug.slides.decode_tiles import SHOWN
from patchaug.slides.discovery import get_slide_files, is_folder_of_slides
from patchaug.slides.one_format import describe_difference
from patchaug.slides.pairing import find_masks
from patchaug.slides.slide import Codes

_INCH, _DOTS = 25400, (72, 96, 100, 150, 300, 600)


def audit_slides(
    paths: Iterable[str | os.PathLike[str]],
    *,
    masks: str | os.PathLike[str] | None = None,
    codes: Codes | None = None,
    ignore_index: int | None = None,
    outside: str | int | None = None,
    label: str = "classification",
    invalid: str = "raise",
    channels: Channels | None = None,
    series: int | str | None = None,
    size: Size | None = None,
    level: int = 0,
    mpp: float | None = None,
    mpp_of_slides: float | None = None,
    sample: int | None = None,
    manifest: str | os.PathLike[str] | None = None,
    new_manifest: str | os.PathLike[str] | None = None,
    ram: int | str = "auto",
    isolated: bool = False,
    workers: int = 1,
) -> list[Report]:
    """Check slides: header, tiles, mask, codes, and what a manifest says of the files. Nothing is changed.

    Args:
        paths: Slides, and folders of slides.
        masks: Folder of masks, named like their images.
        codes: Class names, in the order of the masks' integers, or a mapping from name to what they hold.
        ignore_index: Integer of the masks that means "no label".
        outside: What no polygon covers, see `open_slide`.
        label: Property of polygons that holds the class.
        invalid: "raise", "skip" or "repair" bad polygons.
        channels, series: Channels and picture of each image, see `open_slide`.
        size, level, mpp: Windows that must fit into each slide, as for a sampler; by default none.
        mpp_of_slides: Micrometres per pixel of all slides, in place of what the files store.
        sample: Decode so many tiles of each file, evenly spread, instead of all.
        manifest: Compare size and CRC-32 of all files with this manifest.
        new_manifest: Write a manifest, if there is no problem.
        ram: Budget for files that are decoded whole, see `open_slide`.
        isolated: Check each slide in a process of its own, with limits on memory and time.
        workers: Number of slides that are checked at a time, each in another process; 1 for this process. Readers
            that this program has registered are known to this process alone.

    Raises:
        MissingError: A folder does not exist, or holds no slide.
        ReadError: The manifest is none.
        OptionError: An option is out of its limits.
        WriteError: The new manifest is an input, or a file that patchaug did not write as a manifest.
    """
    if sample is not None:
        checked_integer("sample", sample, 1)
    room = room_for(ram)
    images = list(_images(paths))
    if new_manifest is not None:  # before the hours that tiles may take
        checked_output(new_manifest, "manifest", [".json"], inputs=[*(image for _, image in images), manifest])
    options: dict[str, Any] = {
        "masks": masks, "codes": codes, "ignore_index": ignore_index, "sample": sample, "room": room,
        "polygons": {"outside": outside, "label": label, "invalid": invalid},
        "pixels": {"channels": channels, "series": series},
        "windows": {"size": size, "level": level, "mpp": mpp}, "mpp_of_slides": mpp_of_slides,
    }  # fmt: skip
    reports = check_all(images, options, isolated=isolated, workers=checked_integer("workers", workers, 1))
    reports = _compared(reports, images, masks)
    files = [file for one in reports for file in (one.path, one.mask) if file is not None]
    if manifest is not None:
        changes = compare_manifest(manifest, files)
        for number, one in enumerate(reports):
            told = [line for file in _files_of(one) for line in _changes_of(file, changes, one)]
            reports[number] = replace(one, problems=(*told, *one.problems))
        reports += [Report(path, problems=(change,)) for path, change in changes.items()]
    if new_manifest is not None and not any(one.problems for one in reports):
        write_manifest(new_manifest, files)
    return reports


def _files_of(report: Report) -> list[str]:
    return [file for file in (report.path, report.mask) if file is not None]


def _changes_of(file: str, changes: dict[str, str], report: Report) -> list[str]:
    """What a manifest says of a file, or of the files of a folder of zarr; taken out of `changes`."""
    path = str(resolved(Path(file)))
    of = "" if file == report.path else f"mask {Path(file).name}: "
    found = [key for key in changes if key == path or (key.startswith(path + os.sep) and is_zarr(path))]
    told = [f"{of}{key[len(path) + 1 :]}{': ' if key != path else ''}{changes.pop(key)}" for key in found]
    more = [] if len(told) <= SHOWN else [f"{of}{len(told)} of its files are told by the manifest; 3 are listed"]
    return [*told[:SHOWN], *more]


def _images(paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, Path]]:
    """Yield each slide after the folder that it was found in."""
    for path in map(Path, paths):
        if is_folder_of_slides(path):
            yield from ((path, file) for file in get_slide_files(path))
        else:
            yield path.parent, path


def _compared(reports: list[Report], images: list[tuple[Path, Path]], masks: Any) -> list[Report]:
    """Add what is wrong between slides: pixels of several formats, and one mask of several slides."""
    formats = [one.format for one in reports if one.format is not None]
    usual = max(dict.fromkeys(formats), key=formats.count, default=None)
    first = next((Path(one.path).name for one in reports if one.format == usual), "")
    slides_of: dict[str, list[int]] = {}
    for number, one in enumerate(reports):
        if one.mask is not None:
            slides_of.setdefault(one.mask, []).append(number)
        if one.format is None or usual is None or one.format == usual:
            continue
        text = describe_difference(first, usual, Path(one.path).name, one.format)
        reports[number] = one.with_note(text) if masks is None else one.with_problem(text)
    for numbers in slides_of.values():
        if len(numbers) > 1:
            try:
                find_masks([images[number][1] for number in numbers], masks, root=images[numbers[0]][0])
            except PatchaugError as error:
                for number in numbers:
                    reports[number] = reports[number].with_problem(str(error))
    return reports

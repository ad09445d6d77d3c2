"""Every tile of every slide decoded once, and each mask laid against its image and the codes: `patchaug check`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.class_codes import ClassCodes
from patchaug.core.memory.room import room_for
from patchaug.core.outputs import checked_output
from patchaug.core.progress import progress
from patchaug.core.validation import Size, checked_integer
from patchaug.errors import MissingError, PatchaugError
from patchaug.readers import (
    codec_of,
    is_zarr,
    missing_tiles,
    open_mask,
    open_raster,
    uncached,
)
from patchaug.readers.channels import Channels
from patchaug.readers.georeference import georeference_of
from patchaug.readers.hooks import channel_count, channel_names, dtype_of
from patchaug.readers.urls import absolute_path, as_url, resolved
from patchaug.slides.audit_report import Report as Report
from patchaug.slides.audit_valid import ValidityCount, notes_of_mask
from patchaug.slides.checksums import compare_manifest, write_manifest
from patchaug.slides.class_numbers import unknown_of, unknown_values
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.decode_tiles import SHOWN, Values, decode_tiles
from patchaug.slides.discovery import get_slide_files, is_folder_of_slides
from patchaug.slides.isolated import check_isolated
from patchaug.slides.one_format import describe_difference
from patchaug.slides.pairing import find_masks
from patchaug.slides.pixel_format import CheckedRaster
from patchaug.slides.resolution import MPP_CURE, region
from patchaug.slides.slide import Codes, Slide

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
    reports = [
        Report.from_dict(check_isolated(image, root=root, **options))
        if isolated
        else check_slide(image, root, **options)
        for root, image in progress(images, len(images), "checking slides")
    ]
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


def check_slide(
    image: Path, root: Path, *, masks: Any = None, codes: Codes | None = None, ignore_index: int | None = None,
    polygons: dict[str, Any] | None = None, pixels: dict[str, Any] | None = None,
    windows: dict[str, Any] | None = None, mpp_of_slides: float | None = None, sample: int | None = None, room: int = 0,
) -> Report:  # fmt: skip
    """Check one slide: see `audit_slides` for the arguments; `root` is the folder that its mask's path follows from."""
    report = Report(as_url(image) or str(image))
    try:
        opened = open_raster(image, ram=room, **(pixels or {}))
        alone = Slide(opened, name=image.name, mpp=mpp_of_slides)
        report = replace(
            report, size=alone.dimensions, levels=len(alone.level_dimensions), mpp=alone.mpp, codec=codec_of(opened),
            dtype=str(dtype_of(opened)), channels=channel_count(opened), channel_names=channel_names(opened),
        )  # fmt: skip
        if windows is not None and windows["size"] is not None:
            region(alone, **windows)
    except PatchaugError as error:
        return replace(report, problems=(_short(error, image),))
    bare = uncached(opened)
    counted = ValidityCount(CheckedRaster(bare, "image", image.name))
    tiles, problems = decode_tiles(bare, counted.read, sample)
    report = replace(
        report, tiles=tiles, missing=missing_tiles(opened)[0], invalid=counted.share, problems=tuple(problems),
        notes=(*_screen_size(alone), *counted.notes()),
    )  # fmt: skip
    if masks is None:
        return report
    try:
        (found,) = find_masks([image], masks, root=root)
        report = replace(report, mask=str(found))
        mask = open_mask(
            found, opened.level_dimensions, codes=codes, ignore_index=ignore_index, ram=room, **(polygons or {}),
            place=georeference_of(opened),
        )  # fmt: skip
        Slide(opened, mask, name=image.name, codes=codes, ignore_index=ignore_index)  # do they show one frame?
    except MissingError as error:
        return replace(report, problems=(*report.problems, str(error).split(": ")[0]))
    except PatchaugError as error:
        return replace(report, problems=(*report.problems, _short(error, image)))
    report = replace(
        report, problems=(*report.problems, *counted.problems(image.name, ignore_index)),
        notes=(*report.notes, *notes_of_mask(mask)),
    )  # fmt: skip
    labels = ClassRaster(uncached(mask), ClassCodes.of(codes), ignore_index, image.name)
    values: Values = {}
    invented: Values = {}
    tiles, problems = decode_tiles(labels.raster, labels.stored, sample, values, invented)
    of_slide = f"{image.name}: "  # errors about labels name the slide
    problems = [
        problem.removeprefix(of_slide) if problem.startswith(of_slide) else f"mask {found.name}: {problem}"
        for problem in problems
    ]
    if labels.classes is not None and unknown_of(values, labels.classes, ignore_index):
        problems.append(unknown_values(values, labels.classes, ignore_index))
    notes = _averaged(values, invented) if sample is None else ()
    return replace(
        report, tiles=report.tiles + tiles, missing=report.missing + missing_tiles(mask)[0],
        pixels=_by_class(values, labels), problems=(*report.problems, *problems), notes=(*report.notes, *notes),
    )  # fmt: skip


def _screen_size(slide: Slide) -> Iterator[str]:
    """Say that a pixel size is that of a screen: the default of image editors, never of a microscope."""
    for dots in _DOTS if slide.mpp is not None and georeference_of(slide.image) is None else ():
        if slide.mpp is not None and abs(slide.mpp[0] * dots / _INCH - 1) < 1e-3:
            yield (
                f"the file says {slide.mpp[0]:.4g} micrometres per pixel, which is {dots} dots per inch, a default of "
                f"image editors; windows by mpp need the true size: {MPP_CURE}"
            )


def _averaged(values: Values, of_overviews: Values) -> Iterator[str]:
    """Say that overviews of a mask hold values that level 0 lacks."""
    new = sorted(value for value in of_overviews if value not in values)
    if new:
        pixels = sum(of_overviews[value][0] for value in new)
        yield (
            f"overviews of the mask were averaged: {pixels} px hold {', '.join(map(str, new[:SHOWN]))}, which level 0 "
            f"lacks; labels of all levels are read from level 0, which is slower; write overviews by the nearest pixel"
        )


def _by_class(values: Values, labels: ClassRaster) -> dict[int, int]:
    """Pixels of each class; of values where the mask's own are the classes."""
    if not labels.maps:
        return {value: pixels for value, (pixels, _) in sorted(values.items())}
    assert labels.classes is not None
    of_each: dict[int, int] = {}
    unknown = unknown_of(values, labels.classes, labels.ignore_index)
    known = [value for value in values if value not in unknown]
    numbers = labels.classes.mapped(np.array(known, np.int64), labels.ignore_index)[0]
    for value, number in zip(known, numbers.tolist(), strict=True):
        of_each[number] = of_each.get(number, 0) + values[value][0]
    return dict(sorted(of_each.items()))


def _short(error: PatchaugError, path: Path) -> str:
    text = str(error)
    for called in (absolute_path(path), path.name):
        text = text.removeprefix(f"{called}: ").removeprefix(f"{called} ")
    return text

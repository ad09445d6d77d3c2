"""Every tile of every slide decoded once, and each mask laid against its image and the codes: `patchaug check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.class_codes import ClassCodes
from patchaug.core.memory.budget import budget
from patchaug.core.outputs import checked_output
from patchaug.core.progress import progress
from patchaug.core.validation import checked_integer
from patchaug.core.windows import Window
from patchaug.errors import MissingError, PatchaugError
from patchaug.readers import (
    Raster,
    codec_of,
    is_zarr,
    missing_tiles,
    open_mask,
    open_raster,
    path_of,
    tile_size,
    uncached,
)
from patchaug.readers.georeference import georeference_of
from patchaug.slides.audit_report import Report as Report
from patchaug.slides.checksums import compare_manifest, write_manifest
from patchaug.slides.class_numbers import unknown_of, unknown_values
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.isolated import check_isolated
from patchaug.slides.mask_values import add_values
from patchaug.slides.pairing import find_masks
from patchaug.slides.slide import Codes, Slide

Values = dict[int, tuple[int, tuple[int, int]]]  # {class: (pixels, the place of one)}

_SHOWN = 3  # damaged tiles of a file that are told one by one
_AT_ONCE = 512  # tiles that are handed to the threads at a time


def audit_slides(
    paths: Iterable[str | os.PathLike[str]],
    *,
    masks: str | os.PathLike[str] | None = None,
    codes: Codes | None = None,
    ignore_index: int | None = None,
    outside: str | int | None = None,
    label: str = "classification",
    invalid: str = "raise",
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
    room = budget(ram)
    images = list(_images(paths))
    if new_manifest is not None:  # before the hours that tiles may take
        checked_output(new_manifest, "manifest", [".json"], inputs=[*(image for _, image in images), manifest])
    polygons = {"outside": outside, "label": label, "invalid": invalid}
    options: dict[str, Any] = {
        "masks": masks, "codes": codes, "ignore_index": ignore_index, "polygons": polygons, "sample": sample,
        "room": room,
    }  # fmt: skip
    reports = [
        Report.from_dict(check_isolated(image, root=root, **options))
        if isolated
        else check_slide(image, root, **options)
        for root, image in progress(images, len(images), "checking slides")
    ]
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
    path = str(Path(file).resolve())
    of = "" if file == report.path else f"mask {Path(file).name}: "
    found = [key for key in changes if key == path or (key.startswith(path + os.sep) and is_zarr(path))]
    told = [f"{of}{key[len(path) + 1 :]}{': ' if key != path else ''}{changes.pop(key)}" for key in found]
    more = [] if len(told) <= _SHOWN else [f"{of}{len(told)} of its files are told by the manifest; 3 are listed"]
    return [*told[:_SHOWN], *more]


def _images(paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, Path]]:
    """Yield each slide after the folder that it was found in."""
    for path in map(Path, paths):
        if path.is_dir() and not is_zarr(path):
            yield from ((path, file) for file in get_slide_files(path))
        else:
            yield path.parent, path


def check_slide(
    image: Path, root: Path, *, masks: Any = None, codes: Codes | None = None, ignore_index: int | None = None,
    polygons: dict[str, Any] | None = None, sample: int | None = None, room: int = 0,
) -> Report:  # fmt: skip
    """Check one slide: see `audit_slides` for the arguments; `root` is the folder that its mask's path follows from."""
    report = Report(str(image))
    try:
        opened = open_raster(image, ram=room)
        report = replace(
            report, size=opened.level_dimensions[0], levels=len(opened.level_dimensions), mpp=opened.mpp,
            codec=codec_of(opened),
        )  # fmt: skip
    except PatchaugError as error:
        return replace(report, problems=(_short(error, image),))
    tiles, problems, _ = _decode(opened, sample)
    report = replace(report, tiles=tiles, missing=missing_tiles(opened)[0], problems=tuple(problems))
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
    labels = ClassRaster(uncached(mask), ClassCodes.of(codes), ignore_index, image.name)
    invented: Values = {}
    tiles, problems, values = _decode(labels.raster, sample, labels.stored, invented)
    problems = [f"mask {found.name}: {problem}" for problem in problems]
    if labels.classes is not None and unknown_of(values, labels.classes, ignore_index):
        problems.append(unknown_values(values, labels.classes, ignore_index))
    return replace(
        report, tiles=report.tiles + tiles, missing=report.missing + missing_tiles(mask)[0],
        pixels=_by_class(values, labels), problems=(*report.problems, *problems),
        notes=tuple(_averaged(values, invented) if sample is None else ()),
    )  # fmt: skip


def _averaged(values: Values, of_overviews: Values) -> Iterator[str]:
    """Say that overviews of a mask hold values that level 0 lacks."""
    new = sorted(value for value in of_overviews if value not in values)
    if new:
        pixels = sum(of_overviews[value][0] for value in new)
        yield (
            f"overviews of the mask were averaged: {pixels} px hold {', '.join(map(str, new[:_SHOWN]))}, which level 0 "
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
    for called in (os.path.abspath(path), path.name):
        text = text.removeprefix(f"{called}: ").removeprefix(f"{called} ")
    return text


def _decode(
    raster: Raster, sample: int | None, labels: Callable[[Window], Any] | None = None, coarse: Values | None = None
) -> tuple[int, list[str], Values]:
    """Read every tile of every level, or some; how many, what was wrong, and {value: (pixels, a place)} of level 0.

    Args:
        raster: What is read.
        sample: Number of tiles; None for all.
        labels: Reads the windows of a mask.
        coarse: Receives the values of its other levels.
    """
    raster = uncached(raster)  # each tile is read once
    read_one = raster.read if labels is None else labels
    windows = _windows(raster, sample)
    damaged: list[str] = []
    values: Values = {}
    done = 0
    with ThreadPoolExecutor() as threads:
        read = iter(windows)
        while some := list(islice(read, _AT_ONCE)):  # decoders release the interpreter, so threads are enough
            for window, result in zip(
                some, threads.map(lambda window: _try(raster, read_one, window), some), strict=True
            ):
                done += 1
                if isinstance(result, str):
                    damaged.append(result)
                elif labels is not None and window.level == 0:
                    add_values(values, result, window)
                elif labels is not None and coarse is not None:
                    add_values(coarse, result, window)
    problems = damaged[:_SHOWN]
    if len(damaged) > _SHOWN:
        problems.append(f"{len(damaged)} of {done} tiles cannot be read; the first {_SHOWN} are listed")
    return done, problems, values


def _try(raster: Raster, read: Callable[[Window], Any], window: Window) -> Any:
    try:
        return read(window)
    except PatchaugError as error:
        return str(error).removeprefix(f"{path_of(raster) or raster.name}: ")


def _windows(raster: Raster, sample: int | None) -> Iterator[Window]:
    """One window for each tile of each level; or `sample` of them, evenly spread over all."""
    sides = [tile_size(raster, level) for level in range(len(raster.level_dimensions))]
    across = [-(-w // tw) for (w, _), (tw, _) in zip(raster.level_dimensions, sides, strict=True)]
    down = [-(-h // th) for (_, h), (_, th) in zip(raster.level_dimensions, sides, strict=True)]
    firsts = list(accumulate((a * d for a, d in zip(across, down, strict=True)), initial=0))
    chosen: Iterable[int] = range(firsts[-1])
    if sample is not None and sample < firsts[-1]:
        chosen = sorted({(2 * k + 1) * firsts[-1] // (2 * sample) for k in range(sample)})
    level = 0
    for number in chosen:
        while number >= firsts[level + 1]:
            level += 1
        row, column = divmod(number - firsts[level], across[level])
        (width, height), (tw, th) = raster.level_dimensions[level], sides[level]
        x, y = column * tw, row * th
        yield Window(x, y, min(tw, width - x), min(th, height - y), level)

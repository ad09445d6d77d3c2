"""Check one slide: every tile decoded once, and its mask laid against it and the codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.class_codes import ClassCodes
from patchaug.errors import MissingError, PatchaugError
from patchaug.readers import (
    codec_of,
    missing_tiles,
    open_mask,
    open_raster,
    uncached,
)
from patchaug.readers.georeference import georeference_of
from patchaug.readers.hooks import channel_count, channel_names, dtype_of
from patchaug.readers.urls import absolute_path, as_url
from patchaug.slides.audit_report import Report
from patchaug.slides.audit_valid import ValidityCount, notes_of_mask
from patchaug.slides.class_numbers import unknown_of, unknown_values
from patchaug.slides.class_raster import ClassRaster
from patchaug.slides.decode_tiles import SHOWN, Values, decode_tiles
from patchaug.slides.pairing import MaskFiles, find_masks
from patchaug.slides.pixel_format import CheckedRaster
from patchaug.slides.resolution import MPP_CURE, region
from patchaug.slides.slide import Codes, Slide

_INCH, _DOTS = 25400, (72, 96, 100, 150, 300, 600)


def check_slide(
    image: Path, root: Path, *, masks: Any = None, codes: Codes | None = None, ignore_index: int | None = None,
    polygons: dict[str, Any] | None = None, pixels: dict[str, Any] | None = None,
    windows: dict[str, Any] | None = None, mpp_of_slides: float | None = None, sample: int | None = None, room: int = 0,
    listing: MaskFiles | None = None,
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
        (found,) = find_masks([image], masks, root=root, listing=listing)
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

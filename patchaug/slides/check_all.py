"""Check slides one after the other, or several at a time in other processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from patchaug.core.process_pool import DoHere, ProcessPool, message_of
from patchaug.core.progress import progress
from patchaug.errors import PatchaugError
from patchaug.readers.urls import is_url
from patchaug.slides.audit_report import Report
from patchaug.slides.check_slide import check_slide
from patchaug.slides.isolated import check_isolated
from patchaug.slides.pairing import list_masks, listing_of

Images = Sequence[tuple[Path, Path]]  # root and image


def check_all(images: Images, options: Mapping[str, Any], *, isolated: bool, workers: int) -> list[Report]:
    """Return the report of each slide.

    Args:
        images: Roots and images.
        options: Arguments of `check_slide`, the same for all.
        isolated: Check each slide in a process of its own, see `check_isolated`.
        workers: Number of slides at a time.
    """
    masks = options["masks"]
    is_folder = masks is not None and (is_url(masks) or os.path.isdir(masks))
    files = list_masks(masks) if is_folder else None  # once, not for each slide
    given = [
        {**options, "listing": None if files is None else listing_of(image, files), "root": root, "image": image}
        for root, image in images
    ]
    workers = min(workers, len(images))
    if isolated:
        done = _isolated(given, workers)
    elif workers > 1:
        done = _in_processes(given, workers)
    else:
        done = ((number, check_slide(**one)) for number, one in enumerate(given))
    reports = dict(progress(done, len(given), "checking slides"))
    return [reports[number] for number in range(len(given))]


def _isolated(given: Sequence[dict[str, Any]], workers: int) -> Iterator[tuple[int, Report]]:
    with ThreadPoolExecutor(max(workers, 1)) as threads:  # each waits for its process
        found = threads.map(lambda one: Report.from_dict(check_isolated(**one)), given)
        yield from enumerate(found)


def _in_processes(given: Sequence[dict[str, Any]], workers: int) -> Iterator[tuple[int, Report]]:
    messages = {number: message_of(_checked, one) for number, one in enumerate(given)}
    here = [number for number, message in messages.items() if message is None]
    there = {number: message for number, message in messages.items() if message is not None}
    with ProcessPool(min(workers, len(there)), "lower workers, or set it to 1") as pool:
        for number, result in pool.run(there, lambda number: str(given[number]["image"])):
            if isinstance(result, PatchaugError):
                raise result
            if isinstance(result, DoHere):
                here.append(number)
            else:
                yield number, result
    for number in here:
        yield number, check_slide(**given[number])


def _checked(options: dict[str, Any]) -> Report:
    """Check a slide in a process of the pool."""
    logging.getLogger("tifffile").disabled = True  # broken tags are reported as problems
    return check_slide(**options)

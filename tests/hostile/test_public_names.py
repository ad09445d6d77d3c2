"""Every exception that leaves a public function is a PatchaugError, or Python's own TypeError for misused arguments."""

from __future__ import annotations

import importlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from patchaug import PatchOptions, Window, open_slide, readers
from patchaug.augment import load_pipeline
from patchaug.slides.audit import check_slide
from patchaug.slides.checksums import compare_manifest
from patchaug.slides.discovery import get_slide_files
from patchaug.slides.pair_table import read_table
from patchaug.slides.pairing import find_masks
from patchaug.testing import coordinate_image
from patchaug.testing.fuzz import change
from patchaug.testing.fuzz_seeds import seed_files
from tests.hostile import odd_arguments
from tests.hostile.limits import limited

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are set through /proc"),
    pytest.mark.filterwarnings("ignore"),
]

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "patchaug", "patchaug.readers", "patchaug.sampling", "patchaug.augment", "patchaug.options", "patchaug.testing",
    "patchaug.viz", "patchaug.fastai",
)  # fmt: skip


def public_names() -> dict[str, Any]:
    """Return each public callable by its name: of `__all__`, and of the reference page."""
    found = {}
    for module in MODULES:
        try:
            loaded = importlib.import_module(module)
        except ImportError:
            continue
        for name in getattr(loaded, "__all__", []):
            found[f"{module}.{name}"] = getattr(loaded, name)
    for path in re.findall(r"^::: (\S+)$", (ROOT / "docs" / "reference.md").read_text(), re.MULTILINE):
        module, _, name = path.rpartition(".")
        try:
            found[path] = getattr(importlib.import_module(module), name)
        except ImportError:
            continue
    by_object = {id(value): (name, value) for name, value in reversed(found.items()) if callable(value)}
    return {
        name: value
        for name, value in sorted(by_object.values(), key=lambda pair: pair[0])
        if not (isinstance(value, type) and issubclass(value, BaseException))
    }


def failures(names: list[str], folder: Path, step: int) -> list[str]:
    """Call functions in a folder with odd arguments, each in turn; return what ended otherwise than it should."""
    os.chdir(folder)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)  # tifffile reports what it cannot read
    good, failed = odd_arguments.good_values(), []
    for name in names:
        for text, arguments in islice(odd_arguments.calls(NAMES[name], good), 0, None, step):
            if (said := odd_arguments.outcome(NAMES[name], arguments, odd_arguments.used)) is not None:
                failed.append(f"{name}, {text}: {said}")
    return failed


NAMES = public_names()
GROUPS = sorted({name.split(".")[1] if name.count(".") > 1 else "patchaug" for name in NAMES})
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


@pytest.mark.parametrize("group", GROUPS)
def test_odd_arguments_end_in_our_errors(group: str, tmp_path: Path) -> None:
    """Each argument odd in turn, the others good; figures take a tenth of a second, so some of them only."""
    names = [name for name in NAMES if name.split(".")[1] == group or (group == "patchaug" and name.count(".") == 1)]
    step = 1 if LONG else {"viz": 23}.get(group, 1)
    status, found = limited(failures, names, tmp_path, step, seconds=300, patience=400)
    assert status == "value", (group, status, found)
    assert not found, "\n".join(found)


def test_the_names_are_those_of_the_reference() -> None:
    """The test above sees the whole package."""
    assert {"patchaug.open_slide", "patchaug.readers.open_mask", "patchaug.viz.show_windows"} <= set(NAMES)
    assert len(NAMES) > 45


def _corpus(folder: Path, numbers: range) -> list[str]:
    """Feed changed files to every function that takes a path: as a slide, a mask, a table, options, or a folder."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.chdir(folder)
    seeds, failed = seed_files(), []
    frame = coordinate_image(150, 110)
    takers: dict[str, Callable[[Path], object]] = {
        "open_slide": lambda path: open_slide(path, ram=1 << 24).read(Window(0, 0, 8, 8)),
        "mask": lambda path: open_slide(frame, path, codes=["a", "b", "c", "d", "e"]).read(Window(0, 0, 8, 8)),
        "colours": lambda path: open_slide(frame, path, codes={"a": "#000000"}, ignore_index=255),
        "open_raster": lambda path: readers.open_raster(path, mask=True, ram=1 << 24),
        "check_slide": lambda path: check_slide(path, folder, sample=2),
        "get_slide_files": lambda path: get_slide_files(path.parent),
        "find_masks": lambda path: find_masks([path], path.parent),
        "read_table": read_table,
        "compare_manifest": lambda path: compare_manifest(path, [path]),
        "from_file": PatchOptions.from_file,
        "load_pipeline": lambda path: load_pipeline(str(path)),
        **{
            kind: lambda path, kind=kind: getattr(readers, kind)(path).level_dimensions
            for kind in ("TiffRaster", "OpenSlideRaster", "ZarrRaster")
        },
        "ImageRaster": lambda path: readers.ImageRaster(path, mask=False, ram=1 << 24).read(Window(0, 0, 1, 1)),
        "PolygonRaster": lambda path: readers.PolygonRaster(path, ((150, 110),), codes=["a"], ignore_index=None),
    }
    for number, name in zip(numbers, cycle(sorted(seeds)), strict=False):
        path = folder / name
        path.write_bytes(change(seeds, name, 1, number))
        for taker, function in takers.items():
            said = odd_arguments.outcome(function, {"path": path}, repr)
            if said is not None:
                failed.append(f"{taker} of {name}, change {number}: {said}")
        path.unlink()
    return failed


def test_the_corpus_ends_in_our_errors(tmp_path: Path) -> None:
    """Any file given to any function that takes one."""
    status, found = limited(_corpus, tmp_path, range(1500 if LONG else 60), seconds=300, patience=400)
    assert status == "value", (status, found)
    assert not found, "\n".join(found)

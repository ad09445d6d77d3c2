"""The public names are those of the design, and importing them is cheap."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

import patchaug

DESIGN = [
    "Augment",
    "Window",
    "Raster",
    "Slide",
    "Patch",
    "Uniform",
    "Foreground",
    "Grid",
    "Plan",
    "Draw",
    "PatchDataset",
    "EpochSampler",
    "PatchOptions",
    "open_slide",
    "register_reader",
    "PatchaugError",
    "WindowError",
    "ForegroundError",
    "FrameError",
    "ReadError",
    "WriteError",
    "OptionError",
]


def test_design_names_are_exported() -> None:
    """Each name of the design is in __all__."""
    lacking = set() if find_spec("torch") else {"PatchDataset", "EpochSampler"}
    assert set(DESIGN) - lacking <= set(patchaug.__all__)


def test_all_names_exist_and_nothing_else_is_public() -> None:
    """__all__ and the namespace agree."""
    for name in patchaug.__all__:
        assert getattr(patchaug, name) is not None
    modules = {name for name, value in vars(patchaug).items() if type(value).__name__ == "module"}
    hidden = {"TYPE_CHECKING", "Any", "find_spec", "import_module"}
    public = {name for name in vars(patchaug) if not name.startswith("_")} - modules - hidden
    assert public <= set(patchaug.__all__)


def test_import_loads_no_heavy_library() -> None:
    """`import patchaug` loads neither fastai nor torch, nor the libraries that only some sources need."""
    code = "import patchaug, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "fastai", "matplotlib", "tifffile", "openslide", "imagecodecs", "PIL", "pydantic", "typer"}
    heavy |= {"zarr", "numcodecs"}
    assert not heavy & set(loaded)


def test_the_main_names_load_what_a_tiled_tiff_needs() -> None:
    """Neither the readers of other formats nor large modules of the standard library that numpy does without."""
    code = (
        "import sys, numpy; before = set(sys.modules); from patchaug import open_slide, Plan, Foreground, Slide; "
        "print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"concurrent.futures", "http", "importlib.metadata", "numpy.random", "ssl", "xml.etree", "zipfile"}
    heavy |= {
        f"patchaug.readers.{name}"
        for name in ("annotations.polygon_mask", "gdal", "openslide", "whole_image", "zarr.reader")
    }
    assert heavy & set(loaded) == set()


@pytest.mark.parametrize("torch", [True, False])
def test_a_star_imports_what_is_available(torch: bool) -> None:
    """Without torch all names but those that need it, whose errors name the cure."""
    if torch and find_spec("torch") is None:
        pytest.skip("torch is not installed")
    hide = "" if torch else "import sys; sys.modules['torch'] = None\n"
    code = f"""{hide}from patchaug import *
import patchaug
assert set(patchaug.__all__) <= set(globals()) and Plan is patchaug.Plan
assert {torch} == ("PatchDataset" in globals()) == ("EpochSampler" in globals())
try:
    patchaug.PatchDataset
except ImportError as error:
    assert str(error) == "PatchDataset needs torch, which is not installed: pip install torch"
else:
    assert {torch}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_name_is_an_attribute_error() -> None:
    """A typing error raises at once."""
    with pytest.raises(AttributeError, match="PatchDatset"):
        _ = patchaug.PatchDatset

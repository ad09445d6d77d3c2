"""The public names are those of the design, and importing them is cheap."""

import subprocess
import sys

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
    "PatchOptions",
    "open_slide",
    "PatchaugError",
    "WindowError",
    "ForegroundError",
    "FrameError",
    "ReadError",
    "OptionError",
]


def test_design_names_are_exported() -> None:
    """Each name of the design that has been built stands in __all__."""
    assert set(DESIGN) <= set(patchaug.__all__)


def test_all_names_exist_and_nothing_else_is_public() -> None:
    """__all__ and the namespace agree; PatchDataset needs torch, which the core environment lacks."""
    for name in patchaug.__all__:
        if name != "PatchDataset":
            assert getattr(patchaug, name) is not None
    modules = {name for name, value in vars(patchaug).items() if type(value).__name__ == "module"}
    hidden = {"TYPE_CHECKING", "Any", "import_module"}
    public = {name for name in vars(patchaug) if not name.startswith("_")} - modules - hidden
    assert public <= set(patchaug.__all__)


def test_import_loads_no_heavy_library() -> None:
    """`import patchaug` loads neither fastai nor torch, nor the libraries that only some sources need."""
    code = "import patchaug, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"torch", "fastai", "matplotlib", "tifffile", "openslide", "imagecodecs", "PIL", "pydantic", "typer"}
    heavy |= {"zarr", "numcodecs"}
    assert not heavy & set(loaded)


def test_unknown_name_is_an_attribute_error() -> None:
    """A typo is told at once."""
    with pytest.raises(AttributeError, match="PatchDatset"):
        _ = patchaug.PatchDatset

"""Call any public function with odd arguments: good ones by name, of which each is in turn replaced by an odd one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from patchaug import Foreground, Grid, PatchaugError, Plan, Uniform, Window, open_slide
from patchaug.testing import coordinate_image, coordinate_mask, write_pyramid

SIDE = 96
ODD: dict[str, Any] = {
    "None": None, "True": True, "-1": -1, "0": 0, "7": 7, "2^31": 1 << 31, "2^63": 1 << 63, "10^30": 10**30, "1.5": 1.5,
    "NaN": math.nan, "infinity": math.inf, "-infinity": -math.inf, "no text": "", "text": "odd", "null byte": "a\0b",
    "long text": "x" * 5000, "name in Latin-1": "n\udce9vus", "bytes": b"\xff\xfe", "no list": (),
    "list": [1, "a", None], "nested": [[[]]], "dict": {"a": 1},
    "odd dict": {None: object()}, "set": {3}, "object": object(), "type": dict,
    "function": len, "complex": 1j, "decimal": Decimal("NaN"), "path": Path("no/such/file"), "root": Path("/etc"),
    "device": "/dev/zero", "no array": np.zeros(0), "array": np.zeros((3, 3)), "NaN array": np.full((4, 4), np.nan),
    "texts": np.array(["a"]), "objects": np.array([None]), "numpy integer": np.int64(-(1 << 63)), "NaT":
    np.datetime64("NaT"), "window": Window(0, 0, 1 << 40, 1), "exception": ValueError("odd"),
    "generator": (k for k in ()), "slices": slice(None), "range": range(-3, 3),
}  # fmt: skip


def good_values() -> dict[str, Any]:
    """Return a good argument for each name of a parameter; files are written to the working directory."""
    image, mask = coordinate_image(SIDE, SIDE), coordinate_mask(SIDE, SIDE)
    write_pyramid("a.tif", [image])
    write_pyramid("a_mask.tif", [mask])
    slide = open_slide("a.tif", "a_mask.tif", ram=1 << 22)
    plan = Plan([slide], Uniform(32, per_slide=4))
    return {
        "image": image, "mask": mask, "source": "a.tif", "path": "a.tif", "paths": ["a.tif"], "slide": slide,
        "slides": [slide], "sampler": Uniform(32, per_slide=4), "samplers": [Uniform(32)], "size": 32, "plan": plan,
        "window": Window(0, 0, 8, 8), "windows": [Window(0, 0, 8, 8)], "x": 0, "y": 0, "width": 16, "height": 16,
        "draw": plan[0], "draws": [plan[0]], "index": 0, "slide_number": 0, "level": 0, "raster": slide.image, "ram": 0,
        "sizes": ((SIDE, SIDE),), "codes": ["a", "b", "c", "d", "e"], "dataset": None, "out": "out.png", "patch":
        plan.read(plan[0]), "patches": [plan.read(plan[0])], "level_dimensions": ((SIDE, SIDE),), "grids": (),
        "tile_width": 8, "tile_height": 8, "dtype": np.dtype("u1"), "channels": None, "downsample": 1, "classes": None,
        "pixels": image, "x0": np.arange(4), "y0": np.arange(4), "levels": [image], "probability": 0.5, "epoch": 0,
        "number": 1, "transform": None, "pipeline": "histology", "name": "a", "array": image, "prediction": mask,
        "truth": mask, "predicted": mask, "target": mask, "manifest": "manifest.json", "images": ["a.tif"], "masks":
        ["a_mask.tif"], "root": ".", "folder": ".", "learn": None, "suffixes": [".odd"], "seed": 1, "options": {},
        "foreground": 0.5, "tensor": image, "device": None,
    }  # fmt: skip


def names_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a callable; [] where Python cannot tell them."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def calls(function: Callable[..., Any], good: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over (description, arguments by name): all required ones good but one odd; and each optional one odd."""
    parameters = names_of(function)
    base = {one.name: good.get(one.name, "a.tif") for one in parameters if one.default is one.empty}
    for one in parameters:
        for name, value in ODD.items():
            yield f"{one.name}={name}", {**base, one.name: value}


def outcome(function: Callable[..., Any], arguments: dict[str, Any], use: Callable[[Any], Any]) -> str | None:
    """Call a function; None where it returns, or ends in a PatchaugError or a TypeError."""
    positional = [
        arguments.pop(one.name)
        for one in names_of(function)
        if one.kind is one.POSITIONAL_ONLY and one.name in arguments
    ]
    try:
        use(function(*positional, **arguments))
    except PatchaugError as error:
        text = str(error)
        return None if len(text) < 12_000 and text.count("\n") <= 3 else f"an error of {len(text)} characters"
    except (TypeError, NotImplementedError):
        return None
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:160]}"
    return None


def used(value: Any) -> None:
    """Use what a function returned, so that what is wrong in it shows."""
    if isinstance(value, (Uniform, Foreground, Grid)):
        plan = Plan([open_slide(coordinate_image(SIDE, SIDE), coordinate_mask(SIDE, SIDE), name="used")], value)
        plan.read(plan[0])
    if isinstance(value, Plan):
        value.read(value[0])
    repr(value)

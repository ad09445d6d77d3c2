"""Layers of a page beside the mask: predicted classes, and probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from patchaug.core.arrays import Array
from patchaug.core.palette import class_colour, hexadecimal, sequential_colour
from patchaug.core.windows import Window
from patchaug.errors import FrameError
from patchaug.slides.open import open_slide
from patchaug.slides.slide import Slide
from patchaug.slides.thumbnail import thumbnail, thumbnail_level
from patchaug.viz.web_page.images import class_map_png, data_url, fraction_png

_WRONG = (208, 0, 0)


def class_layer(name: str, classes: Array, codes: Sequence[str], ignore_index: int | None = None) -> dict[str, Any]:
    """Return a layer of classes, in the colours of the mask.

    Args:
        name: Title of the layer.
        classes: Class numbers of the whole slide, of any size: integer (height, width).
        codes: Class names.
        ignore_index: Number that means "no label".

    Examples:
        >>> from patchaug.viz.web_page.layers import class_layer
        >>> class_layer("prediction", np.array([[0, 1]]), ["background", "nucleus"])["classes"][0]["name"]
        'nucleus'
    """
    return {
        "name": name,
        "image": class_map_png(classes, ignore_index),
        "classes": class_entries(classes, codes, ignore_index),
        "ramp": None,
    }


def probability_layer(name: str, probabilities: Array) -> dict[str, Any]:
    """Return a layer of probabilities; the less probable, the more transparent.

    Args:
        name: Title of the layer.
        probabilities: Probability of one class, 0 to 1, of the whole slide, of any size: (height, width).

    Examples:
        >>> from patchaug.viz.web_page.layers import probability_layer
        >>> probability_layer("probability of nucleus", np.array([[0.0, 0.5]]))["classes"]
        []
    """
    ramp = [hexadecimal(sequential_colour(step / 6)) for step in range(7)]
    return {"name": name, "image": fraction_png(probabilities), "classes": [], "ramp": ramp}


def layers_of_files(
    slide: Slide, prediction: Path | None, probabilities: Path | None, *, max_size: int = 4096
) -> list[dict[str, Any]]:
    """Return the layers of files that a prediction of a slide was written to.

    Args:
        slide: The slide; its codes name the classes.
        prediction: File of classes that opens as a mask of the slide, such as case7.ome.tif or case7.geojson.
        probabilities: File with a channel for each class, such as case7.probabilities.ome.tif.
        max_size: Longer side of the layers in pixels.

    Raises:
        FrameError: A file is of another slide.
        ReadError: A file cannot be read.

    Examples:
        >>> from patchaug.viz.web_page.layers import layers_of_files
        >>> layers_of_files(slide, None, None)
        []
    """
    layers, codes = [], slide.codes or ()
    if prediction is not None:
        outside = 0 if codes else None
        other = open_slide(
            slide.image, prediction, name=slide.name, mpp=slide.mpp, codes=list(codes) or None, outside=outside
        )
        layers.append(class_layer("predicted classes", small_mask(other, max_size), codes))
    if probabilities is not None:
        maps = open_slide(probabilities)
        width, height = maps.dimensions
        if abs(slide.dimensions[0] * height - slide.dimensions[1] * width) > 2 * max(*slide.dimensions, width, height):
            raise FrameError(f"{probabilities} shows {width} x {height} px, another shape than {slide.name}")
        small = thumbnail(maps, max_size=max_size)[0].image
        most = 255 if small.dtype == np.uint8 else 1
        for number in range(1, small.shape[2]) if small.shape[2] > 1 else range(1):
            of = codes[number] if number < len(codes) else f"class {number}"
            layers.append(probability_layer(f"probability of {of}", small[..., number] / most))
    return layers


def small_mask(slide: Slide, max_size: int) -> Array:
    """Return the mask of a whole slide by the middles of squares, integer (height, width)."""
    level, factor = thumbnail_level(slide, max_size)
    width, height = slide.level_dimensions[level]
    columns = np.minimum(np.arange(0, width, factor) + factor // 2, width - 1)
    rows = max(2**24 // (width * factor), 1) * factor
    bands = []
    for top in range(0, height, rows):
        band = slide.read_mask(Window(0, top, width, min(rows, height - top), level))
        middles = np.minimum(np.arange(0, len(band), factor) + factor // 2, len(band) - 1)
        bands.append(band[np.ix_(middles, columns)])
    return np.concatenate(bands)


def error_layer(name: str, wrong: Array) -> dict[str, Any]:
    """Return a layer of wrong pixels.

    Args:
        name: Title of the layer.
        wrong: Whether pixels are wrong, bool (height, width) of the whole slide, of any size.

    Examples:
        >>> from patchaug.viz.web_page.layers import error_layer
        >>> error_layer("wrong", np.array([[True, False]]))["classes"]
        [{'name': 'wrong', 'colour': '#d00000'}]
    """
    colours = np.zeros((*wrong.shape, 4), np.uint8)
    colours[wrong] = (*_WRONG, 255)
    image = data_url(Image.fromarray(colours), "PNG", optimize=True)
    return {"name": name, "image": image, "classes": [{"name": "wrong", "colour": hexadecimal(_WRONG)}], "ramp": None}


def class_entries(classes: Array | None, names: Sequence[str], ignore_index: int | None) -> list[dict[str, str]]:
    """Return name and colour of each class but 0 that a map holds."""
    return [
        {
            "name": "no label" if v == ignore_index else names[v] if v < len(names) else f"class {v}",
            "colour": hexadecimal(class_colour(v, ignore_index)),
        }
        for v in ([] if classes is None else np.unique(classes).tolist())
        if v
    ]

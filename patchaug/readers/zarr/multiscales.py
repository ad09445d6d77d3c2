"""Find the levels of an image in a zarr hierarchy: OME-Zarr (NGFF 0.1 to 0.5), or one plain array."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from patchaug.errors import ReadError
from patchaug.readers.file import describe
from patchaug.readers.zarr.metadata import ZarrArray, joined, read_array, read_json
from patchaug.readers.zarr.store import ChunkStore

_NAMES = {"y": ("y", "row", "rows", "height"), "x": ("x", "column", "columns", "width"),
          "c": ("c", "channel", "channels", "band", "s", "sample", "samples", "rgb")}  # fmt: skip
_AXIS = {name: axis for axis, names in _NAMES.items() for name in names}
_MICROMETRES = {
    "meter": 1e6, "decimeter": 1e5, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "micron": 1.0, "µm": 1.0,
    "um": 1.0, "nanometer": 1e-3, "angstrom": 1e-4, "picometer": 1e-6, "inch": 25400.0, "foot": 304800.0,
}  # fmt: skip
_COLOURS = (1, 3)  # channels that look like colours


@dataclass(frozen=True, eq=False)
class Plane:
    """Array with the indices of its row, column and channel axes; all others have length 1."""

    array: ZarrArray
    y: int
    x: int
    c: int | None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 1 if self.c is None else self.array.shape[self.c]


class Multiscale(NamedTuple):
    """Levels, finest first; micrometres per pixel as (x, y); keys of all that was read for it; names of channels."""

    levels: tuple[Plane, ...]
    mpp: tuple[float, float] | None
    keys: tuple[str, ...]
    names: tuple[str, ...] | None = None


class _Node(NamedTuple):
    """An array or a group."""

    key: str
    array: ZarrArray | None
    attributes: Mapping[str, Any]


def find_multiscale(store: ChunkStore, key: str) -> Multiscale:
    """Find the image that an array or group holds.

    Raises:
        ReadError: It holds no image, or several without metadata that choose one.
    """
    keys: list[str] = []
    node = _node(store, key, keys)
    if node is None:
        raise ReadError(f"there is no zarr array or group {key!r} in it (no .zarray, .zgroup or zarr.json)")
    while node.array is None and "multiscales" not in _ome(node):
        node = _only_child(store, node, keys)
    if node.array is not None:
        return Multiscale((_plain(node.array),), None, tuple(keys))
    try:
        levels, mpp = _multiscale(store, node, keys)
    except ReadError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ReadError(f"its multiscales are damaged ({describe(error)[:120]})") from None
    return Multiscale(levels, mpp, tuple(keys), _channel_names(node, levels[0].channels))


def _node(store: ChunkStore, key: str, keys: list[str]) -> _Node | None:
    metadata = read_json(store, joined(key, "zarr.json"))
    if metadata is not None:
        keys.append(joined(key, "zarr.json"))
        attributes = metadata.get("attributes")
        attributes = attributes if isinstance(attributes, dict) else {}
        array = read_array(key, metadata, attributes) if metadata.get("node_type") == "array" else None
        return _Node(key, array, attributes)
    for name in (".zarray", ".zgroup"):
        metadata = read_json(store, joined(key, name))
        if metadata is not None:
            attributes = read_json(store, joined(key, ".zattrs"))
            keys += [joined(key, name), *([joined(key, ".zattrs")] if attributes is not None else [])]
            attributes = attributes or {}
            return _Node(key, read_array(key, metadata, attributes) if name == ".zarray" else None, attributes)
    return None


def _channel_names(node: _Node, number: int) -> tuple[str, ...] | None:
    """Return the labels of the channels, for viewers; None unless each channel has one."""
    omero = _ome(node).get("omero")
    channels = omero.get("channels") if isinstance(omero, dict) else None
    if not isinstance(channels, list) or len(channels) != number:
        return None
    labels = [channel.get("label") if isinstance(channel, dict) else None for channel in channels]
    return tuple(map(str, labels)) if all(labels) else None


def _ome(node: _Node) -> Mapping[str, Any]:
    found = node.attributes.get("ome")
    return found if isinstance(found, dict) else node.attributes


def _only_child(store: ChunkStore, group: _Node, keys: list[str]) -> _Node:
    """Return the only array or image of a group."""
    if {"plate", "well"} & set(_ome(group)):
        raise ReadError("it is a plate of many pictures; open one of its fields")
    names = [name for name in store.names(group.key) if name not in ("OME", "labels") and not name.startswith(".")]
    found = []
    for name in names:
        child_keys: list[str] = []
        child = _node(store, joined(group.key, name), child_keys)
        if child is not None:
            found.append((child, child_keys))
        if len(found) > 9:
            break
    if len(found) != 1:
        several = f"it holds {', '.join(repr(child.key) for child, _ in found)}" if found else "it holds no array"
        cure = "; choose one with series=, or write multiscales (OME-Zarr)" if found else ""
        raise ReadError(f"a zarr group without multiscales: {several}, and a slide is one picture{cure}")
    keys += found[0][1]
    return found[0][0]


def _plain(array: ZarrArray) -> Plane:
    """Find the axes by name, or else by shape: (height, width) or (height, width, channels)."""
    if array.names is not None and {"y", "x"} <= {_AXIS.get(str(name).lower()) for name in array.names}:
        return _plane(array, [str(name) for name in array.names])
    shape = array.shape
    if len(shape) == 2 or (len(shape) == 3 and (shape[2] in _COLOURS or 4 * shape[2] <= min(shape[:2]))):
        return Plane(array, 0, 1, 2 if len(shape) == 3 else None)
    first = " (if its channels come first, say so)" if len(shape) == 3 and shape[0] in _COLOURS else ""
    raise ReadError(
        f"array {array.key or '/'} has shape {shape}, a picture is (height, width) or (height, width, channels)"
        f'{first}; name the axes, as in dimension_names=["c", "y", "x"] of zarr 3'
    )


def _plane(array: ZarrArray, names: list[str]) -> Plane:
    """Find rows, columns and channels of an array with named axes."""
    places: dict[str, int] = {}
    for place, (name, length) in enumerate(zip(names, array.shape, strict=True)):
        axis = _AXIS.get(name.lower())
        if axis is None and length == 1:
            continue
        if axis is None or axis in places:
            raise ReadError(
                f"array {array.key or '/'} has shape {array.shape}, axes {', '.join(names)}; a slide has y, x and "
                f"channels, of all others one: save one plane"
            )
        places[axis] = place
    if not {"y", "x"} <= set(places):
        raise ReadError(f"array {array.key or '/'} has the axes {', '.join(names)}, and none that is y or x")
    return Plane(array, places["y"], places["x"], places.get("c"))


def _multiscale(
    store: ChunkStore, group: _Node, keys: list[str]
) -> tuple[tuple[Plane, ...], tuple[float, float] | None]:
    """Return the levels of the first multiscale, the default of the specification."""
    scales = _ome(group)["multiscales"][0]
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in scales.get("axes") or "tczyx"]
    names = [str(axis["name"]) for axis in axes]
    levels, moved = [], []
    for entry in scales["datasets"]:
        key = joined(group.key, _below(entry["path"]))
        node = _node(store, key, keys)
        if node is None or node.array is None:
            raise ReadError(f"its multiscales name a level {entry['path']!r}, which is not there; copy it again")
        if len(node.array.shape) != len(names):
            raise ReadError(f"array {key} has shape {node.array.shape}, its axes are {', '.join(names)}")
        levels.append(_plane(node.array, names))
        moved.append(_transform([entry, scales], len(names)))
    if not levels:
        raise ReadError("its multiscales name no level")
    first = levels[0]
    for plane, (scale, shift) in zip(levels[1:], moved[1:], strict=True):
        for axis in ("y", "x"):
            at = getattr(plane, axis)
            if plane.array.shape[at] > first.array.shape[at]:
                raise ReadError(f"its level {plane.array.key} is larger than {first.array.key}; the finest comes first")
            # Centres of pixels or their corners: half a pixel of the level may be noted.
            if abs(shift[at] - moved[0][1][at]) > scale[at]:
                raise ReadError(f"its level {plane.array.key} is shifted along {axis}; levels must show one frame")
    units = [_MICROMETRES.get(str(axes[at].get("unit")).lower()) for at in (first.x, first.y)]
    x, y = (0.0 if unit is None else unit * moved[0][0][at] for unit, at in zip(units, (first.x, first.y), strict=True))
    return tuple(levels), (x, y) if all(math.isfinite(v) and v > 0 for v in (x, y)) else None


def _transform(metadata: list[Mapping[str, Any]], axes: int) -> tuple[list[float], list[float]]:
    """Compose the transforms to scale and shift of pixels."""
    scale, shift = [1.0] * axes, [0.0] * axes
    for entry in metadata:
        for transform in entry.get("coordinateTransformations") or ():
            if transform["type"] == "scale":
                by = [float(value) for value in transform["scale"]]
                scale = [a * b for a, b in zip(scale, by, strict=True)]
                shift = [a * b for a, b in zip(shift, by, strict=True)]
            elif transform["type"] == "translation":
                shift = [a + float(b) for a, b in zip(shift, transform["translation"], strict=True)]
    return scale, shift


def _below(path: Any) -> str:
    """Return the path of a level if it stays below the group."""
    if not isinstance(path, str) or not path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ReadError(f"its multiscales name a level {str(path)[:80]!r}, which must lie below it")
    if "\\" in path or "\0" in path or ":" in path:
        raise ReadError(f"its multiscales name a level {path[:80]!r}, which is not a path of zarr")
    return path

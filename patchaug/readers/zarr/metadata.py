"""Parse the metadata of zarr arrays, versions 2 and 3, and check each number before it is used."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patchaug.errors import ReadError
from patchaug.readers.file import describe
from patchaug.readers.zarr.codecs import Chain, is_common, unpacker
from patchaug.readers.zarr.store import ChunkStore

_JSON = 64 << 20  # bytes
_SIDE = 1 << 32  # pixels, as in TIFF


@dataclass(frozen=True, eq=False)
class Shards:
    """Chunks that lie together in one object each, with an index of 16 bytes a chunk.

    Attributes:
        shape: Of a shard.
        index: How its index is stored.
        size: Bytes of the stored index.
        first: Whether it lies before the chunks, or after them.
    """

    shape: tuple[int, ...]
    index: Chain
    size: int
    first: bool


@dataclass(frozen=True, eq=False)
class ZarrArray:
    """Metadata of an array, as far as reading needs them.

    Attributes:
        key: Where it lies in its store.
        shape, chunks: Of all, and of what is decoded at a time; one number an axis.
        fill: What a chunk that is not stored holds; None where the array does not say.
        names: Of the axes, where the array says so.
        separator, prefix: What the keys of chunks are made of.
        chain: How a chunk is decoded.
        shards: How chunks lie together, where they do.
        codec: What packs them, in one word.
    """

    key: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    fill: float | None
    names: tuple[str | None, ...] | None
    separator: str
    prefix: str
    chain: Chain
    shards: Shards | None
    codec: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, in this machine's byte order."""
        return self.chain.dtype.newbyteorder("=")

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Of what lies under one key: a chunk or a shard."""
        return self.chunks if self.shards is None else self.shards.shape

    def chunk_key(self, place: Sequence[int]) -> str:
        """Return the key of a chunk or shard, by its index along each axis."""
        inside = self.separator.join([*([self.prefix] if self.prefix else []), *map(str, place)])
        return joined(self.key, inside)

    def place_of(self, inside: str) -> tuple[int, ...] | None:
        """Return the index of a chunk or shard by its key below the array's; None for other keys."""
        start = self.prefix + self.separator if self.prefix else ""
        parts = inside.removeprefix(start).split(self.separator)
        if not inside.startswith(start) or len(parts) != len(self.shape) or not all(p.isdecimal() for p in parts):
            return None
        place = tuple(map(int, parts))
        return place if all(n < c for n, c in zip(place, self.counts, strict=True)) else None

    @property
    def counts(self) -> tuple[int, ...]:
        """Chunks or shards along each axis."""
        return tuple(-(-length // of) for length, of in zip(self.shape, self.stored_shape, strict=True))


def joined(*keys: str) -> str:
    """Join keys with slashes."""
    return "/".join(key for key in keys if key)


def read_json(store: ChunkStore, key: str) -> dict[str, Any] | None:
    """Read the JSON object of a key; None if the key does not exist.

    Raises:
        ReadError: The value is not a JSON object.
    """
    part = store.find(key)
    if part is None:
        return None
    if part.size > _JSON:
        raise ReadError(f"{key} has {part.size} bytes; metadata have {_JSON >> 20} MiB at most")
    try:
        value = json.loads(part.read(0, part.size))
    except (ValueError, RecursionError) as error:
        raise ReadError(f"{key} is not JSON ({describe(error)[:120]})") from None
    if not isinstance(value, dict):
        raise ReadError(f"{key} must hold an object, got {type(value).__name__}")
    return value


def read_array(key: str, metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> ZarrArray:
    """Return the array that metadata describe.

    Args:
        key: Where it lies.
        metadata: .zarray, or zarr.json.
        attributes: .zattrs, or the attributes in zarr.json.

    Raises:
        ReadError: The metadata violate the specification, or use an unsupported feature.
    """
    try:
        version = _version_3 if metadata.get("zarr_format") == 3 else _version_2
        return version(key, metadata, attributes)
    except ReadError as error:
        raise ReadError(f"array {key or '/'}: {error}") from None
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ReadError(f"array {key or '/'}: its metadata are damaged ({describe(error)[:120]})") from None


def _version_2(key: str, metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> ZarrArray:
    if metadata.get("zarr_format") != 2:
        raise ReadError(f"zarr_format is {metadata.get('zarr_format')!r}, versions 2 and 3 are read")
    shape, chunks = _sides("shape", metadata["shape"]), _sides("chunks", metadata["chunks"])
    found = metadata["dtype"]
    if not isinstance(found, str) or not re.fullmatch(r"[<>|][bui][1248]|[<>]f[248]", found):
        raise ReadError(f"dtype is {found!r}, pixels are integers or floats")
    dtype = np.dtype(found)
    packed = [
        *(metadata.get("filters") or ()),
        *([metadata["compressor"]] if metadata["compressor"] is not None else []),
    ]
    steps = [(dict(options), str(options["id"])) for options in packed]
    order = tuple(range(len(shape)))
    chain = _chain(
        dtype,
        {"C": order, "F": order[::-1]}[metadata["order"]],
        [(name, {k: v for k, v in options.items() if k != "id"}) for options, name in steps],
    )
    names = attributes.get("_ARRAY_DIMENSIONS")  # xarray's word
    return _array(key, shape, chunks, metadata["fill_value"], names, metadata.get("dimension_separator", "."), "",
                  chain, None,
                  steps[-1][1] if steps else "raw")  # fmt: skip


def _version_3(key: str, metadata: Mapping[str, Any], attributes: Mapping[str, Any]) -> ZarrArray:
    shape = _sides("shape", metadata["shape"])
    grid, keys = metadata["chunk_grid"], metadata["chunk_key_encoding"]
    if grid["name"] != "regular":
        raise ReadError(f"chunk_grid is {grid['name']!r}, regular ones are read")
    if keys["name"] not in ("default", "v2"):
        raise ReadError(f"chunk_key_encoding is {keys['name']!r}, default and v2 are read")
    if metadata.get("storage_transformers"):
        raise ReadError("it has storage_transformers, which are not read")
    chunks = _sides("chunk_shape", grid["configuration"]["chunk_shape"])
    prefix, usual = ("c", "/") if keys["name"] == "default" else ("", ".")
    separator = keys.get("configuration", {}).get("separator", usual)
    kind = metadata["data_type"]
    if not isinstance(kind, str) or not re.fullmatch(r"bool|u?int(8|16|32|64)|float(16|32|64)", kind):
        raise ReadError(f"data_type is {str(kind)[:80]!r}, pixels are integers or floats")
    codecs, shards = _codecs(metadata["codecs"]), None
    if codecs and codecs[0][0] == "sharding_indexed":
        if len(codecs) > 1:
            raise ReadError("its shards are packed as a whole, so that no chunk of them can be read; pack the chunks")
        options, whole = codecs[0][1], chunks
        chunks, codecs = _sides("chunk_shape", options["chunk_shape"]), _codecs(options["codecs"])
        if any(a % b for a, b in zip(whole, chunks, strict=True)):
            raise ReadError(f"shards of {whole} are not a whole number of chunks of {chunks}")
        shards = _shards(whole, chunks, options)
    chain = _chain_3(np.dtype(kind), len(shape), codecs)
    fill, names = metadata["fill_value"], metadata.get("dimension_names")
    packs = [name for name, _ in codecs if name not in ("bytes", "transpose", "crc32c")]
    return _array(key, shape, chunks, fill, names, separator, prefix, chain, shards, packs[-1] if packs else "raw")


def _array(
    key: str, shape: tuple[int, ...], chunks: tuple[int, ...], fill: Any, names: Any, separator: Any, prefix: str,
    chain: Chain, shards: Shards | None, codec: str,
) -> ZarrArray:  # fmt: skip
    if len(chunks) != len(shape) or not 2 <= len(shape) <= 8:
        raise ReadError(f"shape {shape} in chunks of {chunks}, a picture has 2 axes or more")
    if separator not in (".", "/"):
        raise ReadError(f"the separator of its chunks is {separator!r}, it is a point or a slash")
    dtype = chain.dtype
    if fill is not None and dtype.kind == "f":
        try:
            fill = float(fill)  # also the texts NaN and Infinity
        except (TypeError, ValueError):
            raise ReadError(f"fill_value is {str(fill)[:80]}, pixels are {dtype.name}") from None
    elif fill is not None:
        if not (isinstance(fill, int) or (isinstance(fill, float) and fill.is_integer())) or not _fits(fill, dtype):
            raise ReadError(f"fill_value is {str(fill)[:80]}, pixels are {dtype.name}")
        fill = int(fill)
    if names is not None and (not isinstance(names, list) or len(names) != len(shape)):
        raise ReadError(f"{len(shape)} axes are named {str(names)[:80]}")
    called = None if names is None else tuple(None if name is None else str(name) for name in names)
    return ZarrArray(key, shape, chunks, fill, called, separator, prefix, chain, shards, codec)


def _fits(number: float, dtype: np.dtype[Any]) -> bool:
    least, most = (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    return least <= number <= most


def _sides(what: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(side) is not int or not 1 <= side <= _SIDE for side in value):
        raise ReadError(f"{what} is {str(value)[:80]}, it must be whole numbers of 1 to {_SIDE}")
    return tuple(value)


def _codecs(metadata: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return names and options; a codec without options may be its name alone."""
    found: list[dict[str, Any]] = [{"name": codec} if isinstance(codec, str) else codec for codec in metadata]
    return [(str(codec["name"]), dict(codec.get("configuration") or {})) for codec in found]


def _chain(dtype: np.dtype[Any], order: tuple[int, ...], packed: list[tuple[str, dict[str, Any]]]) -> Chain:
    growth = 1 if all(is_common(name) for name, _ in packed) else 8
    return Chain(dtype, order, tuple(unpacker(name, options) for name, options in reversed(packed)), growth)


def _chain_3(dtype: np.dtype[Any], axes: int, codecs: list[tuple[str, dict[str, Any]]]) -> Chain:
    """Parse codecs in order: transposes, one that converts numbers to bytes, then compressors."""
    order, rest = tuple(range(axes)), list(codecs)
    while rest and rest[0][0] == "transpose":
        turned = rest.pop(0)[1]["order"]
        if sorted(turned) != list(range(axes)):
            raise ReadError(f"its codec transpose has the order {turned}")
        order = tuple(order[axis] for axis in turned)
    if not rest or rest[0][0] != "bytes":
        raise ReadError(f"its codec {rest[0][0]!r} is not read before 'bytes'" if rest else "it has no codec 'bytes'")
    big = rest.pop(0)[1].get("endian", "little") == "big"
    return _chain(dtype.newbyteorder(">" if big else "<"), order, rest)


def _shards(whole: tuple[int, ...], chunks: tuple[int, ...], options: Mapping[str, Any]) -> Shards:
    index = _codecs(options["index_codecs"])
    if any(name not in ("bytes", "crc32c") for name, _ in index):
        raise ReadError(f"the index of its shards is packed by {[name for name, _ in index]}")
    place = options.get("index_location", "end")
    if place not in ("start", "end"):
        raise ReadError(f"index_location is {place!r}")
    number = math.prod(a // b for a, b in zip(whole, chunks, strict=True))
    if number > 1 << 22:
        raise ReadError(f"shards of {whole} hold {number} chunks each, {1 << 22} are the most")
    size = 16 * number + 4 * sum(name == "crc32c" for name, _ in index)
    return Shards(whole, _chain_3(np.dtype(np.uint64), 2, index), size, place == "start")

"""Types that pixels of an image may have, and what to do with others."""

from __future__ import annotations

from typing import Any

import numpy as np

FORMATS = frozenset(np.dtype(kind) for kind in ("u1", "u2", "i2", "f2", "f4"))
NAMES = "uint8, uint16, int16, float16 or float32"

_CURES = {
    "b": "convert it by pixels.astype(numpy.uint8) * 255",
    "f": "convert it by pixels.astype(numpy.float32)",
    "u": "convert it by pixels.astype(numpy.uint16) where values fit, else by pixels.astype(numpy.float32)",
    "i": "convert it by pixels.astype(numpy.int16) where values fit, else by pixels.astype(numpy.float32)",
}


def dtype_error(dtype: np.dtype[Any] | None) -> str:
    """Return limit and cure for a type that images do not have."""
    cure = "convert it to one of them" if dtype is None else _CURES.get(dtype.kind, "convert it to one of them")
    if dtype is not None and dtype.newbyteorder("=") in FORMATS:
        cure = "convert it by pixels.astype(pixels.dtype.newbyteorder('='))"
    return f"an image must be {NAMES}; {cure}"

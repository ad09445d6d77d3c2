"""What is stored of a band: class numbers as one plane, or probabilities in a small dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from patchaug.core.arrays import Array
from patchaug.errors import OptionError

_SLACK = 1e-3  # by which rounding may take a probability beyond 0 or 1


def checked_dtype(name: str, dtypes: tuple[str, ...]) -> np.dtype[Any]:
    """Return the dtype of stored probabilities.

    Raises:
        OptionError: The format cannot store it.
    """
    if name not in dtypes:
        raise OptionError(f"dtype of stored probabilities must be {' or '.join(map(repr, dtypes))}, got {name!r}")
    return np.dtype(name)


def stored_probabilities(path: Path, probabilities: Array, dtype: np.dtype[Any]) -> Array:
    """Convert probabilities to their stored dtype: integers count from 0 to their largest value.

    Args:
        path: The file, for errors.
        probabilities: float32 (classes, rows, columns).
        dtype: uint8, uint16, float16 or float32.

    Raises:
        OptionError: A value is no probability.

    Examples:
        >>> stored_probabilities(Path("a"), np.array([[[0.0, 0.5, 1.0]]]), np.dtype("uint8")).tolist()
        [[[0, 128, 255]]]
    """
    least, most = float(probabilities.min()), float(probabilities.max())
    if not (least >= -_SLACK and most <= 1 + _SLACK):  # also NaN
        raise OptionError(
            f"{path}: probabilities are 0 to 1, got {least:g} to {most:g}; apply softmax or sigmoid first"
        )
    if dtype.kind == "f":
        return probabilities.astype(dtype, copy=False)
    top = np.float32(np.iinfo(dtype).max)
    out = np.empty(probabilities.shape, dtype)
    for part, stored in zip(_rows(probabilities), _rows(out), strict=True):  # a float copy of all would be large
        scaled = part * top + np.float32(0.5)
        stored[...] = np.clip(scaled, 0, top, out=scaled)
    return out


def _rows(values: Array) -> list[Array]:
    """Cut an array into pieces of a few rows each, as views; rows are its last but one axis."""
    step = max(1, 2**20 // (values.size // values.shape[-2]))
    return [values[..., first : first + step, :] for first in range(0, values.shape[-2], step)]

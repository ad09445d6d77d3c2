"""Type of arrays; docstrings state their dtype and shape."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

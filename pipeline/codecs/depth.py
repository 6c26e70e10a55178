"""Converts pixels of any depth to floats in [0, 1], and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_float(image: np.ndarray) -> NDArray[np.float32]:
    """Convert pixels of any depth to float32 in [0, 1]."""
    if np.issubdtype(image.dtype, np.integer):
        floats = image.astype(np.float32)
        floats /= np.float32(np.iinfo(image.dtype).max)
        return floats
    return image.astype(np.float32, copy=False)


def from_float(image: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Convert float pixels in [0, 1] to another depth; integers are rounded."""
    if not np.issubdtype(dtype, np.integer):
        return image.astype(dtype, copy=False)
    limit = np.float32(np.iinfo(dtype).max)
    scaled = np.clip(image, 0, 1)
    scaled *= limit
    return np.rint(scaled, out=scaled).astype(dtype)

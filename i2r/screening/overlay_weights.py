"""The weights of the overlay network, and what clean photographs show to it: read without torch.

One file serves all priors. Its metadata holds what the training measured with these weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import BinaryIO

PATH = Path(__file__).with_name("overlays.safetensors")
CLEAN = "clean"
"""Key of the metadata with :func:`clean`, as JSON."""


@cache
def clean() -> Mapping[str, float]:
    """How the log odds of clean regions lie: the values of a :class:`i2r.screening.calibration.Spread`.

    Measured by :mod:`i2r.training.overlay_network` on pictures that the network did not learn from.
    """
    with PATH.open("rb") as file:
        return json.loads(_header(file)["__metadata__"][CLEAN])


@cache
def digest() -> str:
    """Of the weights and of how they are read: a calibration holds for these only."""
    with PATH.open("rb") as file:
        header, weights = _header(file), file.read()
    del header["__metadata__"]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    bare = len(text).to_bytes(8, "little") + text + weights
    return hashlib.sha256(bare + repr(clean()).encode()).hexdigest()[:16]


def _header(file: BinaryIO) -> dict[str, dict[str, str]]:
    """The header of a safetensors file; the weights follow it."""
    return json.loads(file.read(int.from_bytes(file.read(8), "little")))

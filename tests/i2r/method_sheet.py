"""The sheet of a version of the method: degraded pictures above, below them what that version makes of them.

Write it, after `METHOD_VERSION` was raised: PYTHONPATH=. python tests/i2r/method_sheet.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from i2r import Degraded, Restorer, RestoreSettings, load_prior
from i2r.settings import METHOD_VERSION
from i2r.training.degradation import dead_pixels, gaussian_blur, gaussian_noise, jpeg, scratches

SIDE = 96
SHEET = Path(__file__).with_name(f"method-{METHOD_VERSION}.png")
SAMPLES = Path(__file__).parents[2] / "jobs" / "samples" / "clean"
DEGRADE = (gaussian_noise, gaussian_blur, jpeg, dead_pixels, scratches)

Pictures = npt.NDArray[np.uint8]


def read_sheet() -> tuple[Pictures, Pictures]:
    """The degraded pictures and the expected results, (number, SIDE, SIDE, 3) each."""
    with Image.open(SHEET) as picture:
        rows = np.asarray(picture.convert("RGB")).reshape(2, SIDE, -1, SIDE, 3).swapaxes(1, 2)
    return rows[0], rows[1]


def restore(degraded: Pictures) -> Pictures:
    """What this version makes of pictures, computed as every CPU can."""
    restorer = Restorer(load_prior("photo-64", precision="float32"), RestoreSettings(precision="float32"))
    inputs = [Degraded(picture.astype(np.float32) / np.float32(255)) for picture in degraded]
    return np.stack([_to_bytes(result.image) for result in restorer.restore(inputs)])


def degrade() -> Pictures:
    """A clean picture, and one of each degradation."""
    pictures = []
    for number, path in enumerate(sorted(SAMPLES.glob("*.png"))):
        with Image.open(path) as picture:
            crop = np.asarray(picture.convert("RGB"), np.float32)[80 : 80 + SIDE, 80 : 80 + SIDE] / 255
        rng = np.random.default_rng(number)
        pictures.append(_to_bytes(DEGRADE[number - 1](crop, rng) if number else crop))
    return np.stack(pictures)


def _to_bytes(image: npt.NDArray[np.float32]) -> Pictures:
    return np.round(255 * image).astype(np.uint8)


if __name__ == "__main__":
    degraded = degrade()
    rows = np.stack([degraded, restore(degraded)]).swapaxes(1, 2)
    Image.fromarray(rows.reshape(2 * SIDE, -1, 3)).save(SHEET, optimize=True)

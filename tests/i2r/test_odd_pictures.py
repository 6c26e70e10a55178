"""Pictures that are odd on purpose come back as they were: letters, frames, screens and lamps are content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from i2r import Degraded, Restorer, load_prior
from i2r.metrics import psnr
from i2r.training.degradation import FloatImage, gaussian_noise

PHOTOGRAPHS = Path(__file__).parents[2] / "benchmarks" / "photographs"
CROPS = {"astronaut": (64, 0), "cat": (40, 40)}
SIDE = 128


@pytest.fixture(scope="module")
def restorer() -> Restorer:
    return Restorer(load_prior("photo-64", torch.device("cpu")))


def _crop(name: str) -> Image.Image:
    left, top = CROPS[name]
    with Image.open(PHOTOGRAPHS / f"{name}.png") as picture:
        return picture.convert("RGB").crop((left, top, left + SIDE, top + SIDE))


def _pixels(picture: Image.Image) -> FloatImage:
    return np.atleast_3d(np.asarray(picture, np.float32)) / np.float32(255)


def _written(picture: Image.Image, size: int, *, alpha: int, colour: str = "white") -> FloatImage:
    """With lines of letters over all of it."""
    letters = Image.new("L", picture.size)
    pen, font = ImageDraw.Draw(letters), ImageFont.load_default(size)
    for top in range(4, SIDE - size, 2 * size):
        pen.text((4, top), "Millville, 1998: FIFTH HILL", alpha, font)
    return _pixels(Image.composite(Image.new("RGB", picture.size, colour), picture, letters))


def _stamped(picture: Image.Image) -> FloatImage:
    ImageDraw.Draw(picture).text((50, 108), "98 11 30", "#ff9628", ImageFont.load_default(16))
    return _pixels(picture)


def _with_a_page(picture: Image.Image) -> FloatImage:
    """With a part of a window in it, of letters 9 px high."""
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(9)
    pen.rectangle((10, 60, 118, 120), "white")
    for top in range(62, 110, 12):
        pen.text((14, top), "The quick brown fox jumps", "black", font)
    return _pixels(picture)


def _framed(picture: Image.Image, colour: str) -> FloatImage:
    ImageDraw.Draw(picture).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=colour, width=8)
    return _pixels(picture)


def _interlaced(picture: Image.Image) -> FloatImage:
    pixels = _pixels(picture)
    pixels[1::2] = np.roll(pixels, 4, axis=1)[1::2]
    return pixels


def _halftone(picture: Image.Image) -> FloatImage:
    """Printed with a screen of 6 px at 45 degrees."""
    gray = _pixels(picture).mean(axis=-1, keepdims=True)
    rows, columns = np.mgrid[:SIDE, :SIDE] * (2 * np.pi / 6 / np.sqrt(2))
    screen = (np.cos(columns + rows) + np.cos(columns - rows))[..., None] / 4 + 0.5
    return np.clip(6 * (gray - screen) + 0.5, 0, 1).astype(np.float32)


def _moire(picture: Image.Image) -> FloatImage:
    rows, columns = np.mgrid[:SIDE, :SIDE] * (2 * np.pi)
    beat = np.sin(0.21 * columns + 0.03 * rows) * np.sin(0.23 * columns - 0.01 * rows)
    return np.clip(_pixels(picture) + 0.06 * beat[..., None], 0, 1).astype(np.float32)


def _lamps() -> FloatImage:
    """Twenty bright discs of 3 to 30 px on a dark ground."""
    rng, night = np.random.default_rng(2), np.full((256, 256, 3), 0.12, np.float32)
    rows, columns = np.mgrid[:256, :256]
    for row, column, across in zip(*rng.integers(10, 246, (2, 20)), np.linspace(3, 30, 20), strict=True):
        night[np.hypot(rows - row, columns - column) <= across / 2] = 0.95
    return night


ODD: dict[str, Callable[[Image.Image], FloatImage]] = {
    "a caption": lambda picture: _written(picture, 22, alpha=255),
    "a small caption": lambda picture: _written(picture, 14, alpha=255, colour="black"),
    "a watermark": lambda picture: _written(picture, 22, alpha=90),
    "a date stamp": _stamped,
    "a window of small letters": _with_a_page,
    "a white frame": lambda picture: _framed(picture, "white"),
    "a black frame": lambda picture: _framed(picture, "black"),
    "interlaced fields": _interlaced,
    "a halftone": _halftone,
    "moire": _moire,
    "a palette": lambda picture: _pixels(picture.quantize(32).convert("RGB")),
    "one bit": lambda picture: _pixels(picture.convert("1").convert("L")),
}


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("odd", ODD)
def test_odd_pictures_come_back_as_they_are(restorer: Restorer, odd: str, name: str) -> None:
    picture = ODD[odd](_crop(name))
    [found] = restorer.restore([Degraded(picture)])
    assert psnr(found.image, picture) > 45, found.findings


@pytest.mark.parametrize("grain", [0.0, 4 / 255])
def test_lamps_stay(restorer: Restorer, grain: float) -> None:
    night = _lamps()
    picture = gaussian_noise(night, np.random.default_rng(0), sigma=grain) if grain else night
    [found] = restorer.restore([Degraded(picture)])
    assert np.abs(found.image - night)[night > 0.5].max() < 0.1
    assert psnr(found.image, night) >= psnr(picture, night)

"""Pictures without damage come back as they were: letters, frames, screens and lamps are content."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from photographs import crop, photograph, picture, pixels
from PIL import Image, ImageDraw, ImageFont

from i2r import Degraded, Outcome, Prior, Restoration, Restorer
from i2r.metrics import psnr
from i2r.training.degradation import FloatImage, gaussian_blur, gaussian_noise

CLEAN = ("astronaut", "mountains")
CROPS = {"astronaut": (64, 0), "cat": (40, 40)}
SIDE = 128


@pytest.fixture(scope="module")
def restorer(prior: Prior) -> Restorer:
    return Restorer(prior)


def _restored(restorer: Restorer, image: FloatImage) -> Restoration:
    [restoration] = restorer.restore([Degraded(image)])
    return restoration


def _found(restoration: Restoration) -> list[tuple[str, str]]:
    return [(finding.what.value, finding.action.value) for finding in restoration.findings]


def _cut(name: str) -> Image.Image:
    left, top = CROPS[name]
    return picture(name).crop((left, top, left + SIDE, top + SIDE))


def _written(picture: Image.Image, size: int, *, alpha: int, colour: str = "white") -> FloatImage:
    """With lines of letters over all of it."""
    letters = Image.new("L", picture.size)
    pen, font = ImageDraw.Draw(letters), ImageFont.load_default(size)
    for top in range(4, SIDE - size, 2 * size):
        pen.text((4, top), "Millville, 1998: FIFTH HILL", alpha, font)
    return pixels(Image.composite(Image.new("RGB", picture.size, colour), picture, letters))


def _stamped(picture: Image.Image) -> FloatImage:
    ImageDraw.Draw(picture).text((50, 108), "98 11 30", "#ff9628", ImageFont.load_default(16))
    return pixels(picture)


def _with_a_page(picture: Image.Image) -> FloatImage:
    """With a part of a window in it, of letters 9 px high."""
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(9)
    pen.rectangle((10, 60, 118, 120), "white")
    for top in range(62, 110, 12):
        pen.text((14, top), "The quick brown fox jumps", "black", font)
    return pixels(picture)


def _framed(picture: Image.Image, colour: str) -> FloatImage:
    ImageDraw.Draw(picture).rectangle((0, 0, SIDE - 1, SIDE - 1), outline=colour, width=8)
    return pixels(picture)


def _interlaced(picture: Image.Image) -> FloatImage:
    fields = pixels(picture)
    fields[1::2] = np.roll(fields, 4, axis=1)[1::2]
    return fields


def _halftone(picture: Image.Image) -> FloatImage:
    """Printed with a screen of 6 px at 45 degrees."""
    gray = pixels(picture).mean(axis=-1, keepdims=True)
    rows, columns = np.mgrid[:SIDE, :SIDE] * (2 * np.pi / 6 / np.sqrt(2))
    screen = (np.cos(columns + rows) + np.cos(columns - rows))[..., None] / 4 + 0.5
    return np.clip(6 * (gray - screen) + 0.5, 0, 1).astype(np.float32)


def _moire(picture: Image.Image) -> FloatImage:
    rows, columns = np.mgrid[:SIDE, :SIDE] * (2 * np.pi)
    beat = np.sin(0.21 * columns + 0.03 * rows) * np.sin(0.23 * columns - 0.01 * rows)
    return np.clip(pixels(picture) + 0.06 * beat[..., None], 0, 1).astype(np.float32)


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
    "a palette": lambda picture: pixels(picture.quantize(32).convert("RGB")),
    "one bit": lambda picture: pixels(picture.convert("1").convert("L")),
}


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("odd", ODD)
def test_odd_pictures_come_back_as_they_are(restorer: Restorer, odd: str, name: str) -> None:
    picture = ODD[odd](_cut(name))
    [found] = restorer.restore([Degraded(picture)])
    assert psnr(found.image, picture) > 45, found.findings


@pytest.mark.parametrize("grain", [0.0, 4 / 255])
def test_lamps_stay(restorer: Restorer, grain: float) -> None:
    night = _lamps()
    picture = gaussian_noise(night, np.random.default_rng(0), sigma=grain) if grain else night
    [found] = restorer.restore([Degraded(picture)])
    assert np.abs(found.image - night)[night > 0.5].max() < 0.1
    assert psnr(found.image, night) >= psnr(picture, night)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_photographs_come_back_as_they_are(restorer: Restorer, name: str) -> None:
    clean = crop(name)
    restoration = _restored(restorer, clean)
    assert restoration.outcome is Outcome.UNCHANGED
    np.testing.assert_array_equal(restoration.image, crop(name))
    assert _found(restoration) == []
    assert restoration.rectified_fraction == 0
    assert restoration.consistency_psnr == math.inf
    assert restoration.typicality_before == restoration.typicality_after > 0.01


def test_drawings_come_back_as_they_are(restorer: Restorer) -> None:
    page = Image.new("RGB", (128, 96), "white")
    ImageDraw.Draw(page).text(
        (4, 4), "Letters, and a\nline of a drawing", "black", ImageFont.load_default(14)
    )
    ImageDraw.Draw(page).ellipse((30, 50, 60, 80), outline="#a03020", width=2)
    drawn = pixels(page)
    restoration = _restored(restorer, drawn)
    assert restoration.outcome is Outcome.UNCHANGED
    np.testing.assert_array_equal(restoration.image, drawn)
    assert restoration.nfe == 0
    assert "drawing" in restoration.message


def test_a_soft_scene_is_not_sharpened(restorer: Restorer) -> None:
    """What a blur narrower than three quarters of a pixel leaves is a scene like others."""
    soft = photograph("ladybird")
    assert _restored(restorer, soft).outcome is Outcome.UNCHANGED
    restoration = _restored(restorer, gaussian_blur(soft, sigma=0.5))
    assert {("blur", "remains"), ("blur", "suspected")} & set(_found(restoration))
    assert restoration.outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("shape", [(64, 64), (48, 48), (64, 96)])
def test_a_small_crop_is_no_blurred_photograph(restorer: Restorer, shape: tuple[int, int]) -> None:
    """It was taken for a motion of 11 and 15 px: it is a soft part of a sharp picture."""
    part = photograph("marigold")[40 : 40 + shape[0], 40 : 40 + shape[1]]
    assert _restored(restorer, part).outcome is Outcome.UNCHANGED


@pytest.mark.parametrize("bits", [8, 16])
def test_gradients_come_back_as_they_are(restorer: Restorer, bits: int) -> None:
    """The ends of the range included. They were taken for a blur, and for the blocks of a JPEG file."""
    most = np.float32(2**bits - 1)
    ramp = np.rint(np.linspace(0, most, 192, dtype=np.float32)) / most
    gradient = np.broadcast_to(ramp[:, None], (192, 192, 1)).copy()
    restoration = _restored(restorer, gradient)
    assert restoration.outcome is Outcome.UNCHANGED
    np.testing.assert_array_equal(restoration.image, gradient)

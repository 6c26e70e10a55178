"""Random overlays on clean photographs: training data of :mod:`i2r.training.overlay_network`.

An overlay combines a shape (specks, lines, blots, drops, strips) with an effect on the scene (paint, tint,
refraction, blur). All marks of an image have one shape and one effect, since they have one cause. The
degradations of the benchmark (:mod:`i2r.training.degradation`) are drawn differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

FloatImage = NDArray[np.float32]
Draw = Callable[[FloatImage, np.random.Generator, float], None]

VISIBLE = 0.05
"""Least change of a pixel, of the range [0, 1], that the network can learn to detect."""
_LARGEST = 400  # most specks in an image: more add nothing to learn
_FEWEST = 4  # specks, lines or drops in an image: fewer are as likely content


def draw_overlay(image: FloatImage, rng: np.random.Generator) -> tuple[FloatImage, FloatImage]:
    """Draw marks of one kind over a clean image.

    Args:
        image: (H, W, 3) in [0, 1].
        rng: source of all randomness.

    Returns:
        The image with the marks, and the labels (H, W): 1 where marks are visible, 0 where nothing was drawn,
        NaN where marks are hardly visible.
    """
    kind = rng.choice(len(_KINDS), p=_SHARES)
    marks, looks = _KINDS[kind]
    share = log_uniform(rng, 0.002, 0.12)
    cover = np.zeros(image.shape[:2], np.float32)
    marks(cover, rng, share)
    look = looks[rng.integers(len(looks))]
    drawn = np.clip(look(image, cover, rng), 0, 1).astype(np.float32)
    shown = np.abs(drawn - image).max(axis=-1) > VISIBLE
    return drawn, np.where(shown, 1, np.where(cover > 0.02, np.nan, 0)).astype(np.float32)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of two others."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _covers(cover: FloatImage, share: float) -> bool:
    return bool(np.count_nonzero(cover > 0.3) >= share * cover.size)


def _enough(count: int, cover: FloatImage, share: float) -> bool:
    """Whether so many marks are in number, and cover their share."""
    return count >= _FEWEST and _covers(cover, share)


def _specks(cover: FloatImage, rng: np.random.Generator, share: float) -> None:
    radius, spread = log_uniform(rng, 0.7, 5), rng.uniform(0.1, 0.5)
    lumps, soft = rng.uniform(0, 0.5), rng.uniform(0.5, 1.5)
    share = min(share, 0.03)
    for count in range(1, _LARGEST + 1):
        _blot(cover, rng, radius * math.exp(rng.normal(0, spread)), lumps, soft, rng.uniform(0.6, 1))
        if _enough(count, cover, share):
            return


def _blots(cover: FloatImage, rng: np.random.Generator, share: float) -> None:
    radius, spread = log_uniform(rng, 5, 45), rng.uniform(0.1, 0.5)
    lumps, soft = rng.uniform(0, 0.5), rng.uniform(0.5, 4)
    for _ in range(20):
        _blot(cover, rng, radius * math.exp(rng.normal(0, spread)), lumps, soft, 1.0)
        if _covers(cover, share):
            return


def _drops(cover: FloatImage, rng: np.random.Generator, share: float) -> None:
    radius, spread = log_uniform(rng, 2.5, 18), rng.uniform(0.1, 0.4)
    for count in range(1, 61):
        _blot(cover, rng, radius * math.exp(rng.normal(0, spread)), rng.uniform(0, 0.15), 1.0, 1.0)
        if _enough(count, cover, share):
            return


def _lines(cover: FloatImage, rng: np.random.Generator, share: float) -> None:
    height, width = cover.shape
    angle = rng.choice([rng.normal(0, 0.15), rng.uniform(0, math.pi)])
    spread = rng.choice([0.02, 0.08, math.pi])
    thickness, length = log_uniform(rng, 0.6, 3.5), log_uniform(rng, 6, 250)
    bend = rng.choice([0.0, 0.004, 0.06])
    faint, share = rng.uniform(0.4, 1), min(share, 0.06)
    for count in range(1, 121):
        reach = length * math.exp(rng.normal(0, 0.3))
        at = np.arange(-reach / 2, reach / 2, 0.5)
        turns = bend * (rng.normal() + 0.5 * rng.normal(size=len(at)))
        curve = rng.normal(angle, spread) + np.cumsum(turns)
        rows, columns = np.cumsum(np.cos(curve) * 0.5), np.cumsum(np.sin(curve) * 0.5)
        half = len(at) // 2
        rows += rng.uniform(0, height) - rows[half]
        columns += rng.uniform(0, width) - columns[half]
        _trace(cover, rows, columns, thickness * rng.uniform(0.8, 1.2), rng.uniform(faint, 1))
        if _enough(count, cover, share):
            return


def _strips(cover: FloatImage, rng: np.random.Generator, share: float) -> None:
    """Draw folds, tape, tears and bars, from edge to edge or shorter."""
    height, width = cover.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    for _ in range(rng.integers(1, 4)):
        angle, half = rng.uniform(0, math.pi), log_uniform(rng, 1.5, 14)
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        across = (rows - row) * math.sin(angle) + (columns - column) * math.cos(angle)
        along = (columns - column) * math.sin(angle) - (rows - row) * math.cos(angle)
        wave = rng.uniform(0, 2) * np.sin(along / rng.uniform(3, 25))
        end = rng.choice([rng.uniform(8, 60), 1e4])
        inside = np.minimum(half - np.abs(across + wave), end - np.abs(along))
        np.maximum(cover, np.clip(inside / rng.uniform(0.5, 2) + 0.5, 0, 1), out=cover)


def _blot(
    cover: FloatImage, rng: np.random.Generator, radius: float, lumps: float, soft: float, opacity: float
) -> None:
    """Draw a disc whose radius depends on the angle, with a soft edge, at a random place."""
    height, width = cover.shape
    row, column = rng.uniform(0, height), rng.uniform(0, width)
    reach = math.ceil(radius * (1 + lumps) + soft + 1)
    top, left = max(0, int(row) - reach), max(0, int(column) - reach)
    rows, columns = np.ogrid[
        top : min(height, int(row) + reach + 2), left : min(width, int(column) + reach + 2)
    ]
    stretch, turn = rng.uniform(0.6, 1), rng.uniform(0, math.pi)
    y, x = (rows - row).astype(np.float32), (columns - column).astype(np.float32)
    u, v = math.cos(turn) * x + math.sin(turn) * y, (math.cos(turn) * y - math.sin(turn) * x) / stretch
    angle = np.arctan2(v, u)
    edge = np.ones_like(angle)
    for wave in range(2, 7):
        edge += lumps * rng.normal() / wave * np.cos(wave * angle + rng.uniform(0, 2 * math.pi))
    inside = np.clip((radius * np.maximum(edge, 0.3) - np.hypot(u, v)) / soft + 0.5, 0, 1)
    part = cover[top : top + inside.shape[0], left : left + inside.shape[1]]
    np.maximum(part, opacity * inside, out=part)


def _trace(
    cover: FloatImage,
    rows: NDArray[np.float64],
    columns: NDArray[np.float64],
    thickness: float,
    opacity: float,
) -> None:
    """Draw an antialiased line through points."""
    reach = math.ceil(thickness / 2 + 1)
    offsets = np.arange(-reach, reach + 1)
    at_rows = np.floor(rows)[:, None, None] + offsets[:, None]
    at_columns = np.floor(columns)[:, None, None] + offsets[None, :]
    distance = np.hypot(at_rows - rows[:, None, None], at_columns - columns[:, None, None])
    inside = opacity * np.clip(thickness / 2 + 0.5 - distance, 0, 1)
    at_rows, at_columns = np.broadcast_arrays(at_rows.astype(int), at_columns.astype(int))
    kept = (at_rows >= 0) & (at_rows < cover.shape[0]) & (at_columns >= 0) & (at_columns < cover.shape[1])
    np.maximum.at(cover, (at_rows[kept], at_columns[kept]), inside[kept].astype(np.float32))


def _paint(image: FloatImage, cover: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Cover the scene with a colour: mostly near black or white, like dust and scratches, unlike grass."""
    gray = rng.choice([rng.uniform(0, 0.2), rng.uniform(0.8, 1), rng.uniform(0, 1)], p=[0.44, 0.44, 0.12])
    colour = gray + rng.choice([0.02, 0.2], p=[0.92, 0.08]) * rng.normal(size=3)
    share = (cover * rng.uniform(0.6, 1))[..., None]
    return image * (1 - share) + share * np.clip(colour, 0, 1).astype(np.float32)


def _tint(image: FloatImage, cover: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Cover the scene with a translucent mark: brownish, of any tint, or faded, with or without a rim."""
    rim = _softened(cover, 2.5)
    cover = cover * (1 + rng.choice([0.0, rng.uniform(0, 1.5)]) * np.clip(1 - rim, 0, 1))
    kind = rng.integers(3)
    if kind == 0:
        dye = rng.uniform(0.15, 0.8) * np.array([rng.uniform(0.2, 0.8), rng.uniform(0.5, 1), 1.0])
    elif kind == 1:
        dye = 1 - np.clip(rng.uniform(0.2, 0.9) + 0.15 * rng.normal(size=3), 0, 1)
    else:
        share = np.clip(cover * rng.uniform(0.2, 0.6), 0, 1)[..., None]
        haze = np.clip(rng.uniform(0.5, 1) + 0.1 * rng.normal(size=3), 0, 1)
        return image * (1 - share) + share * haze.astype(np.float32)
    return image * np.clip(1 - cover[..., None] * dye.astype(np.float32), 0, 1)


def _bend(image: FloatImage, cover: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Show the scene as through drops: shifted, flipped or blurred, with reflections and dark rims."""
    shift = rng.integers(4, 40, 2) * rng.choice([-1, 1], 2)
    other = np.roll(image, shift, (0, 1))
    if rng.random() < 0.6:
        other = other[::-1, :: rng.choice([-1, 1])]
    other = _softened(np.ascontiguousarray(other), rng.uniform(0.5, 4))
    other = other * rng.uniform(0.7, 1.3) + rng.uniform(-0.1, 0.2)
    deep = _softened(cover, rng.uniform(1.5, 4))
    slope = np.gradient(deep)
    turn = rng.uniform(0, 2 * math.pi)
    light = rng.uniform(0, 4) * (math.cos(turn) * slope[0] + math.sin(turn) * slope[1])
    rim = rng.choice([0.0, rng.uniform(0, 0.8)]) * np.clip(cover - deep, 0, 1)
    other = other + (light - rim)[..., None]
    if rng.random() < 0.5:
        other = other + rng.uniform(0.2, 0.8) * (deep > rng.uniform(0.9, 0.99))[..., None]
    return image * (1 - cover[..., None]) + cover[..., None] * np.clip(other, 0, 1).astype(np.float32)


def _blurred(image: FloatImage, cover: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Show the scene as through grease or water: blurred, a little brighter or darker."""
    other = _softened(image, rng.uniform(2, 7)) * np.float32(rng.uniform(0.8, 1.25))
    return image * (1 - cover[..., None]) + cover[..., None] * np.clip(other, 0, 1).astype(np.float32)


def _softened(image: FloatImage, sigma: float) -> FloatImage:
    """Approximate Gaussian blur of (H, W) or (H, W, 3) in [0, 1]."""
    picture = Image.fromarray(np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(sigma))), np.float32) / np.float32(255)


_KINDS: tuple[
    tuple[Draw, tuple[Callable[[FloatImage, FloatImage, np.random.Generator], FloatImage], ...]], ...
] = (
    (_specks, (_paint,)),
    (_lines, (_paint,)),
    (_blots, (_tint, _tint, _tint, _paint)),
    (_drops, (_bend, _bend, _blurred)),
    (_strips, (_tint, _paint)),
)
_SHARES = (0.25, 0.24, 0.31, 0.15, 0.05)

"""The network that detects overlays: its laws, and that it detects some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from i2r.screening import overlays
from i2r.screening.overlays import (
    OVERLAYS,
    STRIDE,
    OverlayNetwork,
    features,
    find_overlays,
    overlay_evidence,
    overlay_mask,
)
from i2r.training.degradation import FloatImage, dust

CPU, PRECISION = torch.device("cpu"), torch.float32


@pytest.fixture(scope="module")
def photographs(samples: Path) -> list[FloatImage]:
    return [
        np.asarray(Image.open(path).convert("RGB").crop((0, 0, 192, 192)), np.float32) / 255
        for path in sorted((samples / "clean").glob("*.png"))
    ]


def _canvas(image: FloatImage) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1) * 2 - 1


def test_the_network_sees_four_pixels_at_each_place_and_answers_for_each() -> None:
    images = torch.rand(2, 3, 2 * STRIDE, 3 * STRIDE) * 2 - 1
    planes = features(images)
    assert planes.shape == (2, 52, STRIDE, 3 * STRIDE // 2)
    assert planes.isfinite().all()
    assert OverlayNetwork()(planes).shape == (2, 2 * STRIDE, 3 * STRIDE)


@pytest.mark.parametrize("value", [-1.0, 0.2, 1.0])
def test_flat_images_have_no_detail(value: float) -> None:
    planes = features(torch.full((1, 3, 32, 32), value))
    torch.testing.assert_close(planes[:, 12:], torch.zeros_like(planes[:, 12:]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 33, 47), (4, 50, 35)])
def test_images_of_any_shape_are_looked_at(shape: tuple[int, int, int]) -> None:
    image = torch.rand(shape) * 2 - 1
    logits = find_overlays(image, CPU, PRECISION)
    assert logits.shape == shape[1:]
    assert logits.isfinite().all()
    assert torch.equal(logits, find_overlays(image, CPU, PRECISION))


def test_gray_images_are_those_whose_channels_are_equal() -> None:
    gray = torch.rand(1, 48, 48) * 2 - 1
    torch.testing.assert_close(
        find_overlays(gray, CPU, PRECISION),
        find_overlays(gray.expand(3, -1, -1), CPU, PRECISION),
        rtol=0,
        atol=0.1,
    )


def test_tiles_leave_no_seam(photographs: list[FloatImage], monkeypatch: pytest.MonkeyPatch) -> None:
    image = _canvas(dust(photographs[0], np.random.default_rng(0)))
    whole = find_overlays(image, CPU, PRECISION)
    monkeypatch.setattr(overlays, "OVERLAYS", replace(OVERLAYS, tile=96))
    tiled = find_overlays(image, CPU, PRECISION)
    assert not torch.equal(tiled, whole)
    difference = (tiled - whole).abs()
    assert difference.median() < 0.1
    assert difference[94:98].median() < 0.2
    assert ((tiled > OVERLAYS.sure) == (whole > OVERLAYS.sure)).float().mean() > 0.99


def test_dust_is_told_from_what_photographs_show(photographs: list[FloatImage]) -> None:
    for seed, image in enumerate(photographs):
        dusty = dust(image, np.random.default_rng(seed), fraction=0.02)
        covered = torch.from_numpy(np.abs(dusty - image).max(axis=2) > 0.2)
        clean, logits = (
            find_overlays(_canvas(image), CPU, PRECISION),
            find_overlays(_canvas(dusty), CPU, PRECISION),
        )
        assert overlay_evidence(logits[None]) > overlay_evidence(clean[None])
        assert logits[covered].mean() > logits[~covered].mean() + 1


def _region(seed: int) -> Tensor:
    """Logits about as low as those of clean photographs."""
    return torch.randn(1, 96, 96, generator=torch.Generator().manual_seed(seed)) - 5


@pytest.mark.parametrize(
    ("height", "width", "logit"),
    [(1, 96, 5.0), (6, 6, 5.0), (24, 24, 0.0)],
    ids=["line", "speck", "blot"],
)
@given(seed=st.integers(0, 2**32 - 1), top=st.floats(0, 1), left=st.floats(0, 1))
def test_a_line_a_speck_or_a_blot_is_evidence_wherever_it_lies(
    height: int, width: int, logit: float, seed: int, top: float, left: float
) -> None:
    logits = _region(seed)
    assert overlay_evidence(logits) < 0
    row, column = round(top * (96 - height)), round(left * (96 - width))
    logits[:, row : row + height, column : column + width] = logit
    assert overlay_evidence(logits) > 1


@given(st.integers(32, 80), st.integers(32, 80), st.integers(0, 2**32 - 1))
def test_evidence_grows_with_what_is_seen(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, height, width, generator=generator)
    more = logits + torch.rand(1, height, width, generator=generator)
    assert overlay_evidence(logits) <= overlay_evidence(more)
    assert overlay_evidence(logits + 1) > overlay_evidence(logits)


def test_every_region_has_evidence_of_its_own() -> None:
    several = torch.cat([_region(seed) for seed in range(3)])
    each = [overlay_evidence(region[None]) for region in several]
    torch.testing.assert_close(overlay_evidence(several), torch.cat(each))


def test_what_is_likely_counts_where_it_adjoins_what_is_sure() -> None:
    logits = torch.full((20, 20), OVERLAYS.likely - 1)
    logits[3:9, 4] = (OVERLAYS.likely + OVERLAYS.sure) / 2
    logits[5, 4] = OVERLAYS.sure + 1
    logits[14:18, 15] = (OVERLAYS.likely + OVERLAYS.sure) / 2
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[3:9, 4] = True
    assert torch.equal(overlay_mask(logits), expected)

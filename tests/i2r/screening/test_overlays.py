"""The network that detects overlays: its laws, and that it detects some."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from i2r.screening import overlays
from i2r.screening.overlays import (
    OVERLAYS,
    STRIDE,
    OverlayFinder,
    OverlayNetwork,
    features,
    overlay_mask,
    summary,
)
from i2r.training.degradation import FloatImage, dust

FINDER = OverlayFinder.load(torch.device("cpu"), torch.float32)


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
    network = OverlayNetwork()
    logits, cells = network(planes)
    assert logits.shape == (2, 2 * STRIDE, 3 * STRIDE)
    assert cells.shape[2:] == (2, 3)
    assert network.judge(summary(*[cells.amax(dim=(2, 3))] * 3)).shape == (2, 1)


@pytest.mark.parametrize("value", [-1.0, 0.2, 1.0])
def test_flat_images_have_no_detail(value: float) -> None:
    planes = features(torch.full((1, 3, 32, 32), value))
    torch.testing.assert_close(planes[:, 12:], torch.zeros_like(planes[:, 12:]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 33, 47), (4, 50, 35)])
def test_images_of_any_shape_are_looked_at(shape: tuple[int, int, int]) -> None:
    image = torch.rand(shape) * 2 - 1
    logits = FINDER.covered(image)
    assert logits.shape == shape[1:]
    assert logits.isfinite().all()
    assert torch.equal(logits, FINDER.covered(image))
    judged = FINDER.judged(image)
    assert judged.shape == (1,)
    assert judged.isfinite().all()


def test_every_region_is_judged_by_what_lies_in_it(photographs: list[FloatImage]) -> None:
    clean = np.concatenate([photographs[0], photographs[0]], axis=1)
    dusty = clean.copy()
    dusty[:, 192:] = dust(photographs[0], np.random.default_rng(0), fraction=0.03)
    (left, right), (_, dusted) = (FINDER.judged(_canvas(image)).tolist() for image in (clean, dusty))
    assert FINDER.judged(_canvas(dusty)).tolist()[0] == pytest.approx(left, abs=1.0)
    assert dusted > right + 2


def test_tiles_are_judged_as_one(photographs: list[FloatImage], monkeypatch: pytest.MonkeyPatch) -> None:
    image = _canvas(np.tile(photographs[0], (2, 2, 1)))
    whole = FINDER.judged(image)
    monkeypatch.setattr(overlays, "OVERLAYS", replace(OVERLAYS, tile=160))
    torch.testing.assert_close(FINDER.judged(image), whole, rtol=0, atol=0.5)


def test_gray_images_are_those_whose_channels_are_equal() -> None:
    gray = torch.rand(1, 48, 48) * 2 - 1
    torch.testing.assert_close(
        FINDER.covered(gray),
        FINDER.covered(gray.expand(3, -1, -1)),
        rtol=0,
        atol=0.1,
    )


def test_tiles_leave_no_seam(photographs: list[FloatImage], monkeypatch: pytest.MonkeyPatch) -> None:
    image = _canvas(dust(photographs[0], np.random.default_rng(0)))
    whole = FINDER.covered(image)
    monkeypatch.setattr(overlays, "OVERLAYS", replace(OVERLAYS, tile=96))
    tiled = FINDER.covered(image)
    assert not torch.equal(tiled, whole)
    difference = (tiled - whole).abs()
    assert difference.median() < 0.1
    assert difference[94:98].median() < 0.2
    assert ((tiled > OVERLAYS.sure) == (whole > OVERLAYS.sure)).float().mean() > 0.99


def test_dust_is_told_from_what_photographs_show(photographs: list[FloatImage]) -> None:
    for seed, image in enumerate(photographs):
        dusty = dust(image, np.random.default_rng(seed), fraction=0.02)
        covered = torch.from_numpy(np.abs(dusty - image).max(axis=2) > 0.2)
        logits = FINDER.covered(_canvas(dusty))
        assert FINDER.judged(_canvas(dusty)).max() > FINDER.judged(_canvas(image)).max()
        assert logits[covered].mean() > logits[~covered].mean() + 1


def test_what_is_likely_counts_where_it_adjoins_what_is_sure() -> None:
    logits = torch.full((20, 20), OVERLAYS.likely - 1)
    logits[3:9, 4] = (OVERLAYS.likely + OVERLAYS.sure) / 2
    logits[5, 4] = OVERLAYS.sure + 1
    logits[14:18, 15] = (OVERLAYS.likely + OVERLAYS.sure) / 2
    expected = torch.zeros(20, 20, dtype=torch.bool)
    expected[3:9, 4] = True
    assert torch.equal(overlay_mask(logits), expected)

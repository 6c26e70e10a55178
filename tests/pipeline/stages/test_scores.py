"""Scores of images of any size and depth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.stages.scores import SCORED, scores

WITHOUT_REFERENCE = {"noise_level", "sharpness", "blockiness"}


def _noisy(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 2), (64, 48)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_has_scores(shape: tuple[int, int], channels: int) -> None:
    found = scores(_noisy(*shape, channels))
    assert found.keys() == WITHOUT_REFERENCE
    assert all(math.isfinite(value) for value in found.values())


def test_depth_changes_no_score() -> None:
    image = _noisy(40, 40)
    deep = image.astype(np.uint16) * 257
    assert scores(image) == pytest.approx(scores(deep), rel=1e-4)


def test_a_reference_tells_how_near_an_image_is() -> None:
    reference = _noisy(40, 40) // 2
    near, far = reference + 1, reference + 9
    assert scores(reference, reference)["psnr"] == math.inf
    assert scores(near, reference)["psnr"] == pytest.approx(20 * math.log10(255), abs=0.01)
    assert scores(far, reference)["psnr"] < scores(near, reference)["psnr"]
    assert scores(near, reference).keys() == WITHOUT_REFERENCE | {"psnr", "ssim"}


def test_of_a_large_image_the_middle_is_looked_at() -> None:
    image = np.zeros((SCORED + 64, SCORED + 64, 1), np.uint8)
    image[:16] = _noisy(16, SCORED + 64, 1)
    assert scores(image)["sharpness"] == 0
    image[SCORED // 2 :][:64] = _noisy(64, SCORED + 64, 1)
    assert scores(image)["sharpness"] > 0

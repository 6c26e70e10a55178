"""The benchmark of large canvases, on small ones: it undoes what it says it measures."""

from __future__ import annotations

from collections.abc import Iterator

import canvas
import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A measurement sets how many it takes."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_is_measured_is_what_is_undone() -> None:
    peak = canvas.peak("photo-64", "blur", 400)
    assert peak["bytes"] > 100 << 20
    assert peak["forms"] == ["gaussian_blur"]
    assert "lag" in peak["seen"]


def test_borders_are_what_two_tiles_share() -> None:
    mask = canvas.borders(canvas.TileGrid(100, 64, (64, 64), 16))
    assert mask[48:64].all()
    assert mask.sum() == 16 * 64


def test_a_made_up_look_asks_the_network_for_one_tile() -> None:
    hasty = canvas.Hasty(canvas.restorer("photo-64", tile=32, overlap=0).evaluator)
    asked = []
    hasty.prior.eps = lambda x, sigma: asked.append(len(x)) or x  # type: ignore[method-assign,func-returns-value]
    grid = canvas.TileGrid(96, 32, (32, 32), 0)
    for _ in range(3):
        [noise] = hasty.noise([grid], [torch.zeros(3, 96, 32)], [1.0])
        assert np.isfinite(noise.numpy()).all()
    assert asked == [1] * 7

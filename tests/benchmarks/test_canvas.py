"""The benchmark of large canvases, on small ones: it undoes what it says it measures."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks import canvas


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """A measurement sets how many it takes."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_is_measured_is_what_is_undone() -> None:
    grown = canvas.growth("photo-64", "blur", 400, 500)
    assert 4 * 400 * 500 * 3 * 4 < grown["bytes"] < 4 << 30
    assert grown["forms"] == ["gaussian_blur"]
    assert {"blur", "low resolution"} & set(grown["seen"])


@pytest.mark.parametrize("kind", ["clean", "noise", "stains"])
def test_a_scan_is_one_period_over_and_over(kind: str) -> None:
    image = canvas.scan(kind, 500, 800)
    assert image.shape == (500, 800, 3)
    assert image.dtype == np.float32
    assert np.array_equal(image[canvas.PERIOD :], image[: 500 - canvas.PERIOD])
    assert np.array_equal(image[:, canvas.PERIOD :], image[:, : 800 - canvas.PERIOD])


def test_borders_are_what_two_tiles_share() -> None:
    mask = canvas.borders(canvas.TileGrid(100, 64, (64, 64), 16))
    assert mask[48:64].all()
    assert mask.sum() == 16 * 64


def test_in_haste_the_network_sees_one_period() -> None:
    prior = canvas.load_prior("photo-64")
    hasty, asked = canvas.Hasty(prior, lambda height, width: 1), []
    prior.eps = lambda x, sigma: asked.append(x.shape) or 2 * x  # type: ignore[method-assign,func-returns-value]
    image = torch.from_numpy(canvas.scan("noise", 500, 800)).permute(2, 0, 1)
    [noise] = hasty.noise([canvas.TileGrid.whole(500, 800)], [image], [0.1])
    assert torch.equal(noise, 2 * image)
    assert asked == [(1, 3, canvas.PERIOD, canvas.PERIOD)]

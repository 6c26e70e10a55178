"""What bends is detail, however soft; what slopes is none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2r.forms import GaussianBlur
from i2r.screening.detail import detailed

SIDE = 16


def _rounded(image: Tensor, bits: int) -> Tensor:
    most = 2**bits - 1
    return ((image + 1) / 2 * most).round() / most * 2 - 1


@pytest.mark.parametrize("bits", [8, 16])
def test_gradients_show_none(bits: int) -> None:
    down, across = torch.meshgrid(torch.linspace(-1, 1, 192), torch.linspace(-1, 1, 192), indexing="ij")
    for gradient in (across, torch.hypot(down, across) - 0.5, -(down**2 + across**2) / 2):
        assert not detailed(_rounded(gradient[None], bits), SIDE).any()


@pytest.mark.parametrize("width", [0.0, 1.5, 3.0])
def test_edges_show_it_however_blurred(width: float) -> None:
    """On both sides of an edge of half the range, and not away from it."""
    edge = torch.cat([torch.full((3, 192, 97), -0.5), torch.full((3, 192, 95), 0.5)], dim=-1)
    blurred = GaussianBlur(width).forward(edge) if width else edge
    found = detailed(_rounded(blurred, 8), SIDE).view(12, 12)
    assert found[:, 5:7].all()
    assert not found[:, [0, 1, 2, 3, 8, 9, 10, 11]].any()

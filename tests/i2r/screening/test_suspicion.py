"""Suspicion: what looks most like damage comes first, among regions with edges and texture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from i2r.screening.statistics import Scope, names
from i2r.screening.suspicion import SUSPICIONS


@pytest.fixture(scope="module")
def scenes() -> Tensor:
    """Shades, coarse texture, hard edges, and both: (4, 3, 192, 200)."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 24, 25, generator=generator) - 0.5
    texture = torch.nn.functional.interpolate(coarse, size=(192, 200), mode="bicubic")[0]
    shades = torch.linspace(-0.6, 0.6, 200).expand(3, 192, 200)
    edges = torch.where(torch.arange(200) % 64 < 32, -0.5, 0.5).expand(3, 192, 200)
    return torch.stack([shades, texture, edges, (texture + edges).clamp(-1, 1)])


def _damaged(scene: Tensor, kind: str) -> Tensor:
    generator, damaged = torch.Generator().manual_seed(2), scene.clone()
    if kind == "tails":
        damaged[:, torch.rand(damaged.shape[1:], generator=generator) < 0.01] = 1.0
    elif kind == "streaks":
        for start in range(10, 180, 20):
            for row in range(start, start + 30):
                if row < 192:
                    damaged[:, row, (start * 7 + row // 3) % 200] = 0.95
    else:
        damaged[:, :96, :100] += 0.1 * torch.randn(3, 96, 100, generator=generator)
    return damaged.clamp(-1, 1)


@pytest.mark.parametrize("kind", sorted(SUSPICIONS))
@pytest.mark.parametrize("index", range(4))
def test_a_damaged_region_is_the_most_suspicious(scenes: Tensor, kind: str, index: int) -> None:
    suspicion = SUSPICIONS[kind](torch.cat([scenes, _damaged(scenes[index], kind)[None]]))
    assert suspicion.argmax() == len(scenes)


def test_damage_that_the_prior_confirms_has_one_each() -> None:
    """The network of overlays is cheap: it sees all of an image."""
    assert {*SUSPICIONS, "overlay"} == set(names(scope=Scope.REGION))


@pytest.mark.parametrize("kind", sorted(SUSPICIONS))
@pytest.mark.parametrize("shape", [(1, 32, 97), (3, 33, 288), (4, 193, 191)])
def test_regions_of_any_shape_have_one(kind: str, shape: tuple[int, int, int]) -> None:
    found = SUSPICIONS[kind](torch.rand(2, *shape, generator=torch.Generator().manual_seed(1)) - 0.5)
    assert found.shape == (2,)
    assert found.isfinite().all()

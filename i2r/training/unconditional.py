"""Draw images from a prior alone, to see what it knows.

python -m i2r.training.unconditional --prior photo-64 --out drawn.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from i2r.diffusion.sampling import drive, generate, levels
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.prior.network import Prior, load_prior


def draw(
    prior: Prior, count: int, side: int, *, steps: int = 40, seed: int = 0, deepest: float = 80.0
) -> Tensor:
    """Draw ``count`` images by DDIM from normal noise at the highest level.

    Args:
        prior: any prior.
        count: number of images.
        side: of an image, in pixels.
        steps: number of DDIM steps.
        seed: of the noise.
        deepest: noise level to start from, if the schedule reaches it; 80 hides the image entirely (Karras et
            al., arXiv 2206.00364).

    Returns:
        (count, C, side, side) in [-1, 1].
    """
    deepest = min(prior.schedule.sigma_max, deepest)
    generator = torch.Generator().manual_seed(seed)
    pixels = TileGrid.whole(side, side)
    grid = prior.space.grid(pixels)
    shape = count, prior.network.config["in_channels"], grid.height, grid.width
    noise = (deepest * torch.randn(shape, generator=generator)).to(prior.device)
    sigmas = levels(max(prior.schedule.sigma_min, 0.01), deepest, steps - 1)
    evaluator = FixedShapeEvaluator(prior, lambda *_: min(16, count))
    canvases = drive([generate(z, sigmas) for z in noise], [grid] * count, evaluator)
    return torch.stack([prior.space.decode(canvas, pixels) for canvas in canvases]).clamp(-1, 1)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m i2r.training.unconditional", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--prior", default="photo-64", help="a built-in prior or a local folder")
    parser.add_argument("--out", type=Path, default=Path("drawn.png"))
    parser.add_argument("--rows", type=int, default=4, help="rows of eight images (default: 4)")
    parser.add_argument("--side", type=int, default=64, help="side of an image in pixels (default: 64)")
    options = parser.parse_args(arguments)
    images = draw(load_prior(options.prior), 8 * options.rows, options.side)
    rows = [torch.cat(list(row), dim=2) for row in images.split(8)]
    sheet = ((torch.cat(rows, dim=1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    Image.fromarray(sheet.squeeze(-1) if sheet.shape[-1] == 1 else sheet).save(options.out)


if __name__ == "__main__":
    main()

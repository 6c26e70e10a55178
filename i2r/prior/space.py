"""The space that a prior's diffusion runs in: pixels, or the latents of an autoencoder.

The method works on a canvas and never asks which it is. A canvas of latents is covered by as many tiles as
the canvas of pixels that it was encoded from, each ``factor`` times smaller, so that images of any size go
through the autoencoder in tiles of one fixed shape too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from i2r.diffusion.tiling import TileGrid

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel


class Space(Protocol):
    """Where a canvas lives.

    Attributes:
        factor: pixels a side of what one element of the canvas stands for.
        of_pixels: whether a canvas is the image itself, so that what is known of images holds for it.
    """

    factor: int
    of_pixels: bool

    def grid(self, pixels: TileGrid) -> TileGrid:
        """The tiles of the canvas of an image whose own tiles are ``pixels``."""
        ...

    def encode(self, image: Tensor, pixels: TileGrid) -> Tensor:
        """The canvas of an image, (3, *pixels.canvas_shape) in [-1, 1]."""
        ...

    def decode(self, canvas: Tensor, pixels: TileGrid) -> Tensor:
        """The image, (3, *pixels.canvas_shape), of a canvas."""
        ...


class PixelSpace:
    """A canvas is the image."""

    factor = 1
    of_pixels = True

    def grid(self, pixels: TileGrid) -> TileGrid:
        return pixels

    def encode(self, image: Tensor, pixels: TileGrid) -> Tensor:
        return image

    def decode(self, canvas: Tensor, pixels: TileGrid) -> Tensor:
        return canvas


class LatentSpace:
    """A canvas holds an autoencoder's latents (Rombach et al., arXiv 2112.10752).

    Args:
        autoencoder: a ``VQModel``, whose latents are quantised when they are decoded, or an
            ``AutoencoderKL``, of whose posterior the mode is taken, so that nothing is random.
        scaling: by what latents are multiplied for the diffusion.
        factor: pixels a side of one latent.
        device: where the autoencoder is evaluated.
    """

    of_pixels = False

    def __init__(
        self, autoencoder: VQModel | AutoencoderKL, scaling: float, factor: int, device: torch.device
    ) -> None:
        self.autoencoder = autoencoder.to(device).eval().requires_grad_(False)
        self.scaling, self.factor, self.device = scaling, factor, device

    def grid(self, pixels: TileGrid) -> TileGrid:
        height, width = (-(-side // self.factor) for side in (pixels.height, pixels.width))
        down, across = (side // self.factor for side in pixels.tile)
        return TileGrid(height, width, (down, across), pixels.overlap // self.factor)

    @torch.inference_mode()
    def encode(self, image: Tensor, pixels: TileGrid) -> Tensor:
        latents = [self._encode(tile[None]) for tile in pixels.split(image)]
        return self.scaling * self.grid(pixels).blend(torch.cat(latents).to(image.device))

    @torch.inference_mode()
    def decode(self, canvas: Tensor, pixels: TileGrid) -> Tensor:
        tiles = self.grid(pixels).split(canvas / self.scaling)
        decoded = [self.autoencoder.decode(tile[None].to(self.device)).sample.float() for tile in tiles]
        return pixels.blend(torch.cat(decoded).to(canvas.device))

    def _encode(self, image: Tensor) -> Tensor:
        encoded = self.autoencoder.encode(image.to(self.device))
        return (encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()).float()

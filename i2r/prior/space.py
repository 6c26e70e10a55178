"""The space that a prior's diffusion runs in: pixels, or the latents of an autoencoder.

A canvas is the tensor (C, H, W) that the method works on, in either space. A latent canvas is covered by as
many tiles as the pixel canvas it was encoded from, each ``factor`` times smaller a side, so that the
autoencoder too sees tiles of one fixed shape, whatever the size of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from i2r.diffusion.tiling import TileGrid

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, VQModel


class Space(Protocol):
    """Converts between images and canvases.

    Attributes:
        factor: side in pixels of one canvas element.
        of_pixels: whether a canvas is the image itself.
    """

    factor: int
    of_pixels: bool

    def grid(self, pixels: TileGrid) -> TileGrid:
        """Return the tiles of the canvas of an image that is tiled by ``pixels``."""
        ...

    def encode(self, image: Tensor, pixels: TileGrid) -> Tensor:
        """Return the canvas of an image (3, *pixels.canvas_shape) in [-1, 1]."""
        ...

    def decode(self, canvas: Tensor, pixels: TileGrid) -> Tensor:
        """Return the image (3, *pixels.canvas_shape) of a canvas."""
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
        autoencoder: a ``VQModel``, which quantises latents when it decodes them, or an ``AutoencoderKL``,
            encoded to the mode of its posterior, so that nothing is random.
        scaling: factor that scales the latents for the diffusion.
        factor: side in pixels of one latent.
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

"""Discrete cosine and sine transforms of images: the Fourier transform of the image mirrored at its borders.

A mirrored image is even about its borders, so that it is a sum of cosines. As many real coefficients as
pixels contain the same information as a Fourier transform of the four times larger mirrored image (DCT-II:
Ahmed, Natarajan and Rao 1974). The waves are orthonormal: :func:`synthesise` is both the inverse and the
adjoint of :func:`analyse`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Kind = tuple[bool, bool]
"""Whether the waves are sines instead of cosines, (down, across)."""

COSINES: Kind = (False, False)


def frequencies(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the frequencies of the waves of (..., H, W) in cycles per pixel: down (H, 1), across (1, W)."""
    down, across = (
        torch.arange(side, device=image.device, dtype=image.dtype) / (2 * side) for side in image.shape[-2:]
    )
    return down[:, None], across[None]


def analyse(image: Tensor, kind: Kind = COSINES) -> Tensor:
    """Transform (..., H, W) to the coefficients of the waves, in the order of :func:`frequencies`."""
    down, across = kind
    return _analyse(_analyse(image.mT, down).mT, across)


def synthesise(waves: Tensor, kind: Kind = COSINES) -> Tensor:
    """Transform coefficients of waves to the image (..., H, W)."""
    down, across = kind
    return _synthesise(_synthesise(waves.mT, down).mT, across)


def _analyse(x: Tensor, sines: bool) -> Tensor:
    """Transform along the last axis, by a Fourier transform of the same length (Makhoul 1980).

    A sine of k half turns over n values equals a cosine of n - k half turns with every other sign flipped.
    """
    length = x.shape[-1]
    even, odd = x[..., ::2], x[..., 1::2].flip(-1)
    turned = torch.fft.rfft(torch.cat([even, -odd if sines else odd], dim=-1)) * _turns(x)
    first, last = (-turned.imag, turned.real) if sines else (turned.real, -turned.imag)
    return torch.cat([first, last[..., 1 : (length + 1) // 2].flip(-1)], dim=-1)


def _synthesise(waves: Tensor, sines: bool) -> Tensor:
    """The inverse of :func:`_analyse`."""
    length = waves.shape[-1]
    first = waves[..., : length // 2 + 1]
    last = torch.cat([torch.zeros_like(waves[..., :1]), waves.flip(-1)[..., : length // 2]], dim=-1)
    turned = torch.complex(last, -first) if sines else torch.complex(first, -last)
    ordered = torch.fft.irfft(turned * _turns(waves).reciprocal(), n=length)
    even, odd = ordered[..., : (length + 1) // 2], ordered[..., (length + 1) // 2 :].flip(-1)
    pairs = torch.stack([even, F.pad(-odd if sines else odd, (0, length % 2))], dim=-1)
    return pairs.flatten(-2)[..., :length]


def _turns(x: Tensor) -> Tensor:
    """Scale and phase that turn a Fourier transform of the even, then reversed odd values into cosines."""
    length = x.shape[-1]
    waves = torch.arange(length // 2 + 1, device=x.device, dtype=torch.float64)
    scale = torch.full_like(waves, math.sqrt(2 / length))
    scale[0] = math.sqrt(1 / length)
    return torch.polar(scale, -math.pi / (2 * length) * waves).to(x.dtype.to_complex())

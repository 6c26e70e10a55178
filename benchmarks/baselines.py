"""The columns beside ours: what a user would pick instead, and the nearest published methods on our prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, estimate_sigma
from torch import Tensor

from benchmarks.bird import STEPS, bird
from benchmarks.deep_image_prior import deep_image_prior
from benchmarks.diip import diip
from benchmarks.dreamclean import NFE, dreamclean
from benchmarks.scenes import SEED, Case
from i2r import Prior
from i2r.training.degradation import FloatImage

TV_WEIGHTS = (0.03, 0.06, 0.1, 0.15, 0.25)
FAST_STRENGTHS = (3, 6, 10, 15, 20, 30)
"""In 255ths; the first is OpenCV's own."""
RICHARDSON_LUCY_STOPS = (10, 30, 100)
BIRD_STOPS = (20, 40, 60)
UNTRAINED_STOPS = (100, 200, 400)


@dataclass(frozen=True)
class Attempt:
    """What a method made of a case.

    Attributes:
        images: (H, W, C) in [0, 1]. Of several, the table takes the one nearest to the original, which
            nobody could pick blindly.
        nfe: evaluations of the prior's network, for all of them together.
        seen: what else to keep of it, plain JSON.
        shares: of the time and the evaluations, what each image alone takes.
    """

    images: list[FloatImage]
    nfe: float = 0
    seen: dict[str, Any] = field(default_factory=dict)
    shares: Sequence[float] = (1.0,)


Method = Callable[[Case], Attempt]


def no_method(case: Case) -> Attempt:
    return Attempt([case.degraded])


def non_local_means(case: Case) -> Attempt:
    y = case.degraded
    sigma = float(np.mean(estimate_sigma(y, channel_axis=-1)))
    window = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
    filtered = denoise_nl_means(y, h=0.8 * sigma, sigma=sigma, channel_axis=-1, **window)
    return Attempt([filtered.reshape(y.shape)])  # of one channel it drops the axis


def wavelet(case: Case) -> Attempt:
    y = case.degraded
    return Attempt([denoise_wavelet(y, channel_axis=-1, convert2ycbcr=y.shape[-1] == 3, rescale_sigma=True)])


def total_variation(case: Case) -> Attempt:
    images = [denoise_tv_chambolle(case.degraded, weight=w, channel_axis=-1) for w in TV_WEIGHTS]
    return Attempt(images, shares=apart(TV_WEIGHTS))


def fast_non_local_means(case: Case) -> Attempt:
    """OpenCV's, of an image of colour, which it rounds to 8 bits; luma and chroma at one strength."""
    levels = np.rint(case.degraded * 255).astype(np.uint8)[..., ::-1].copy()
    filtered = (cv2.fastNlMeansDenoisingColored(levels, None, h, h) for h in FAST_STRENGTHS)
    images = [image[..., ::-1].astype(np.float32) / np.float32(255) for image in filtered]
    return Attempt(images, shares=apart(FAST_STRENGTHS))


def richardson_lucy(case: Case) -> Attempt:
    """With the true kernel (Richardson 1972, Lucy 1974)."""
    y, blur = to_tensor(case.degraded).clamp_min(1e-4), convolution(case)
    x, images = y.clone(), []
    for iteration in range(1, RICHARDSON_LUCY_STOPS[-1] + 1):
        # The kernels are symmetric, so that blurring is its own transpose.
        x = x * blur(y / blur(x).clamp_min(1e-4))
        if iteration in RICHARDSON_LUCY_STOPS:
            images.append(to_image(x))
    return Attempt(images, shares=up_to(RICHARDSON_LUCY_STOPS))


FILTERS: Mapping[str, Method] = {
    "non-local means": non_local_means,
    "wavelet": wavelet,
    "total variation": total_variation,
}


@dataclass(frozen=True)
class OnPrior:
    """A method that sees images in [-1, 1] through the prior.

    Attributes:
        prior: evaluated on the whole image.
        solve: from prior and case to the images (C, H, W) in [-1, 1] of one solution, in their order, and
            the NFE until each.
    """

    prior: Prior
    solve: Callable[[Prior, Case], tuple[list[Tensor], list[int]]]

    def __call__(self, case: Case) -> Attempt:
        images, nfe = self.solve(self.prior, case)
        return Attempt([to_image((x + 1) / 2) for x in images], nfe[-1], shares=up_to(nfe))


def solve_bird(prior: Prior, case: Case) -> tuple[list[Tensor], list[int]]:
    """Knows the true kernel of a blur, and of the others nothing."""
    degrade = convolution(case) if case.how.blur else torch.clone
    images = list(bird(prior, signed(case, prior), BIRD_STOPS[-1], degrade, seed=SEED))
    return [images[stop - 1] for stop in BIRD_STOPS], [STEPS * stop for stop in BIRD_STOPS]


def solve_diip(prior: Prior, case: Case) -> tuple[list[Tensor], list[int]]:
    image, nfe = diip(prior, signed(case, prior), seed=SEED)
    return [image], [nfe]


def solve_dreamclean(prior: Prior, case: Case) -> tuple[list[Tensor], list[int]]:
    return [dreamclean(prior, signed(case, prior), seed=SEED)], [NFE]


def untrained_network(case: Case) -> Attempt:
    images = list(deep_image_prior(to_tensor(case.degraded), UNTRAINED_STOPS[-1], seed=SEED))
    return Attempt([to_image(images[stop - 1]) for stop in UNTRAINED_STOPS], shares=up_to(UNTRAINED_STOPS))


def apart(tries: Sequence[object]) -> list[float]:
    """The shares of tries that cost the same."""
    return [1 / len(tries)] * len(tries)


def up_to(stops: Sequence[int]) -> list[float]:
    """The shares of one run that was looked at on the way."""
    return [stop / stops[-1] for stop in stops]


def convolution(case: Case) -> Callable[[Tensor], Tensor]:
    """The blur of a case as a function of (C, H, W), with the borders reflected; differentiable."""
    kernel = torch.from_numpy(np.ascontiguousarray(case.kernel))
    reach = len(kernel) // 2
    rows, columns = (
        torch.from_numpy(np.pad(np.arange(side), reach, mode="symmetric")) for side in case.clean.shape[:2]
    )
    wide = len(rows), len(columns)
    response = torch.fft.rfft2(kernel, s=wide)

    def blur(x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x[:, rows][:, :, columns]) * response.to(x.device)
        return torch.fft.irfft2(spectrum, s=wide)[:, 2 * reach :, 2 * reach :]

    return blur


def signed(case: Case, prior: Prior) -> Tensor:
    """The degraded image as the prior sees it, (C, H, W) in [-1, 1]."""
    return to_tensor(case.degraded).to(prior.device) * 2 - 1


def to_tensor(image: FloatImage) -> Tensor:
    """(H, W, C) to (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def to_image(x: Tensor) -> FloatImage:
    """(C, H, W) to (H, W, C), held to [0, 1]."""
    return np.ascontiguousarray(x.clamp(0, 1).permute(1, 2, 0).cpu().numpy())

"""The prior: a pretrained diffusion model as one function ``eps(x, sigma)``.

Whatever the network is conditioned on and predicts, :class:`Prior` returns the noise, in the
variance-exploding view: its input is ``x + sigma eps``, never scaled.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DModel, VQModel
from safetensors import SafetensorError
from torch import Tensor

from i2r.device import Device, precision_on
from i2r.diffusion.noise_schedule import NoiseSchedule
from i2r.errors import PriorError
from i2r.prior.folder import PREDICTION_TYPES, SCORE, PriorFolder, find_prior
from i2r.prior.space import LatentSpace, PixelSpace, Space
from i2r.screening.calibration import Calibration
from i2r.settings import BY_DEVICE

_SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
_SCORE_LEVELS = 1000
_LEVELS_EMBEDDING = "time_proj"  # stays float32: it holds frequencies, whose rounding shifts the phases
_MAPS = 20  # feature maps held at once; photo-64: 14.5 in float32, 18 in bfloat16, with convolution buffers
_SIZES = 16  # tile sizes whose colour noise is cached


class Prior:
    """A noise predictor ``eps(x, sigma)`` in the variance-exploding view.

    Args:
        network: called as ``network(sample, timestep).sample``.
        schedule: the noise levels that the network was trained on.
        prediction_type: ``epsilon``, ``v_prediction`` or ``sample`` for a network that sees a
            variance-preserving sample and its timestep, ``score`` for one that sees a variance-exploding
            sample of range [0, 1] and its noise level.
        name: the prior's name in manifests.
        sha256: digest of the weights, configurations and calibration.
        device: where the network is evaluated.
        calibration: statistics of the noise that this prior predicts in clean photographs; needed only to
            restore images.
        space: the space that ``x`` lies in; by default pixels.
        precision: dtype of computation and weights: ``auto`` (the faster one on the device), ``float32`` or
            ``bfloat16``.

    Raises:
        PriorError: there is no such prediction type.
        SettingsError: there is no such precision.
    """

    def __init__(
        self,
        network: UNet2DModel,
        schedule: NoiseSchedule,
        prediction_type: str,
        *,
        name: str,
        sha256: str,
        device: torch.device,
        calibration: Calibration | None = None,
        space: Space | None = None,
        precision: str = BY_DEVICE,
    ) -> None:
        if prediction_type not in (*PREDICTION_TYPES, SCORE):
            raise PriorError(f"prediction type {prediction_type!r} is none of {', '.join(PREDICTION_TYPES)}")
        self.precision = precision_on(device, precision)
        network = network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        for part_name, part in network.named_children():
            if part_name != _LEVELS_EMBEDDING:
                part.to(self.precision)
        self.network = network
        self.schedule = schedule.to(device)
        self.prediction_type = prediction_type
        self.name = name
        self.sha256 = sha256
        self.device = device
        self.space = space or PixelSpace()
        self._calibration = calibration

    @property
    def calibration(self) -> Calibration:
        """Statistics of the noise that this prior predicts in clean photographs.

        Raises:
            PriorError: the prior was never calibrated.
        """
        if self._calibration is None:
            raise PriorError(
                f"the prior {self.name} is not calibrated: "
                "run `i2r priors calibrate FOLDER --data PHOTOS` on its folder"
            )
        return self._calibration

    @calibration.setter
    def calibration(self, measured: Calibration) -> None:
        self._calibration = measured

    @property
    def stride(self) -> int:
        """Pixels that tile sides must be multiples of: the networks halve them once per level."""
        return int(self.space.factor * 2 ** (len(self.network.config["block_out_channels"]) - 1))

    @property
    def bytes_a_pixel(self) -> int:
        """About the memory that an evaluation takes per pixel: ``_MAPS`` feature maps of the finest level."""
        return int(_MAPS * self.network.config["block_out_channels"][0] * self.precision.itemsize)

    @torch.inference_mode()
    def eps(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the noise in ``x``.

        Args:
            x: (B, C, H, W) float32, a canvas plus noise of level ``sigma``. A canvas is an image of range
                [-1, 1] with C 1 or 3, or latents with as many channels as the network. A gray network is
                applied to each channel of an image; for a colour network and a gray image see
                :meth:`_gray_eps`.
            sigma: (B,) noise levels on any device, each clamped to the schedule's range.

        Returns:
            (B, C, H, W) float32, of unit variance where ``x`` holds noise of that level.
        """
        if self._is_gray and x.shape[1] != 1:
            one_by_one = x.flatten(0, 1)[:, None]
            return self.eps(one_by_one, sigma.repeat_interleave(x.shape[1])).view_as(x)
        if self.sees_gray and x.shape[1] == 1:
            return self._gray_eps(x, sigma)
        timestep = self.schedule.timestep(sigma.to(self.device))
        if self.prediction_type == SCORE:
            # The network expects images in [0, 1], where noise is half as strong; the score is -eps / sigma.
            level = self.schedule.sigma(timestep) / 2
            return -level.view(-1, 1, 1, 1) * self._evaluate((x + 1) / 2, level)
        alpha, noise = (level.view(-1, 1, 1, 1) for level in self.schedule.alpha_sigma(timestep))
        sample = alpha * x
        output = self._evaluate(sample, timestep)
        return noise_of(output, sample, alpha, noise, self.prediction_type)

    @property
    def sees_gray(self) -> bool:
        """Whether this is a colour pixel prior, to which a canvas of one channel is a gray image."""
        return self.space.of_pixels and not self._is_gray

    def _gray_eps(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the noise in gray images (B, 1, H, W) with a colour network.

        A colour network predicts noise that is equal in all channels as texture. Adding the missing colour
        noise, ``x + sqrt(3) sigma (g - mean(g))`` for white ``g``, gives exactly a gray image in white noise
        of level ``sqrt(3) sigma``: the mean over three channels of white noise of variance 3 s^2 has variance
        s^2. The added noise is the same for every image, so that results are reproducible.
        """
        level = math.sqrt(3) * sigma.to(x.device)
        colour = level.view(-1, 1, 1, 1) * _colour_noise(*x.shape[2:], x.device)
        return math.sqrt(3) * self.eps(x + colour, level).mean(dim=1, keepdim=True)

    @property
    def _is_gray(self) -> bool:
        return self.space.of_pixels and getattr(self.network, "config", {}).get("in_channels") == 1

    def _evaluate(self, sample: Tensor, condition: Tensor) -> Tensor:
        """Evaluate the network; of one that also predicts the variance, return the first half."""
        shown = sample.to(self.precision, memory_format=torch.channels_last)
        return self.network(shown, condition).sample[:, : sample.shape[1]].float()


@lru_cache(maxsize=_SIZES)
def _colour_noise(height: int, width: int, device: torch.device) -> Tensor:
    """White noise (3, height, width) minus its mean over the channels."""
    white = torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))
    return (white - white.mean(dim=0)).to(device)


def noise_of(output: Tensor, sample: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """Convert a network's output to the noise in ``sample = alpha x0 + sigma eps``.

    ``v = alpha eps - sigma x0`` (Salimans and Ho, arXiv 2202.00512, appendix D).
    """
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return sigma * sample + alpha * output
    return (sample - alpha * output) / sigma


def output_of(noise: Tensor, sample: Tensor, alpha: Tensor, sigma: Tensor, prediction_type: str) -> Tensor:
    """Convert the noise in ``sample`` to a network's output: the inverse of :func:`noise_of`."""
    if prediction_type == "epsilon":
        return noise
    if prediction_type == "v_prediction":
        return (noise - sigma * sample) / alpha
    return (sample - sigma * noise) / alpha


def load_prior(
    name_or_folder: str,
    device: torch.device | None = None,
    *,
    calibrated: bool = True,
    precision: str = BY_DEVICE,
) -> Prior:
    """Load a built-in prior or a local diffusers folder.

    Args:
        name_or_folder: name of a built-in prior, or path of a folder.
        device: by default `Device.found()`.
        calibrated: whether to read the calibration; False to recalibrate a prior whose file is damaged.
        precision: see :class:`Prior`.

    Raises:
        PriorError: the folder is missing or damaged, or its model is of an unsupported kind.
        DeviceError: there is a GPU that cannot be used.
        SettingsError: there is no such precision.
    """
    folder = PriorFolder(find_prior(name_or_folder))
    folder.check()
    device = device or Device.found().where
    space: Space = PixelSpace()
    if folder.autoencoder is not None and folder.autoencoder_path is not None:
        kind = {"VQModel": VQModel, "AutoencoderKL": AutoencoderKL}[folder.autoencoder["_class_name"]]
        autoencoder = _load_weights(kind, folder.autoencoder_path)
        space = LatentSpace(autoencoder, folder.scaling, folder.factor, device)
    return Prior(
        _load_weights(UNet2DModel, folder.part("unet")),
        _noise_schedule(folder),
        folder.prediction_type,
        name=folder.name,
        sha256=folder.digest(),
        device=device,
        calibration=folder.calibration if calibrated else None,
        space=space,
        precision=precision,
    )


def _load_weights(kind: Any, path: Path) -> Any:
    try:
        network, loading = kind.from_pretrained(
            path,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200]
        raise PriorError(f"the weights in {path} cannot be read ({reason}): copy them again") from error
    if missing := loading["missing_keys"]:
        raise PriorError(
            f"the weights in {path} lack {len(missing)} tensors ({missing[0]}, …): copy them again"
        )
    return network


def _noise_schedule(folder: PriorFolder) -> NoiseSchedule:
    if folder.prediction_type == SCORE:
        return NoiseSchedule.between(*folder.score_levels, _SCORE_LEVELS)
    known = {key: folder.scheduler[key] for key in _SCHEDULE_KEYS if key in folder.scheduler}
    try:
        # Of all schedulers, DDPM supports the most beta schedules.
        return NoiseSchedule.from_alphas_cumprod(DDPMScheduler(**known).alphas_cumprod)
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise PriorError(f"the schedule in {folder.part('scheduler')} cannot be used: {error}") from error

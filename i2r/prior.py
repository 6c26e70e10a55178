"""The prior: a pretrained diffusion model behind one function of an image and a noise level.

A prior is a folder in the diffusers layout (``unet/``, ``scheduler/``) that lies on local disk. Whatever
its network predicts, :class:`Prior` answers with the noise, in the variance-exploding view: its input is
``x + sigma eps``, never scaled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DModel
from safetensors import SafetensorError
from torch import Tensor

from i2r.errors import PriorError
from i2r.schedule import NoiseSchedule
from i2r.typicality import CALIBRATION, Calibration

BUILT_IN = Path(__file__).parent / "priors"
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
_SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)


def built_in_priors() -> dict[str, Path]:
    """Folders of the priors that ship with the package, by name."""
    return {folder.parent.name: folder.parent for folder in sorted(BUILT_IN.glob("*/model_index.json"))}


def find_prior(name_or_folder: str) -> Path:
    """The folder of a built-in prior, or of one on local disk.

    Raises:
        PriorError: neither exists.
    """
    if (folder := built_in_priors().get(name_or_folder)) is not None:
        return folder
    if (Path(name_or_folder) / "model_index.json").is_file():
        return Path(name_or_folder)
    known = ", ".join(built_in_priors()) or "none"
    raise PriorError(
        f"no prior {name_or_folder!r}: "
        f"give a built-in name ({known}) or a local folder with a model_index.json"
    )


def digest_prior(folder: Path) -> str:
    """SHA-256 of what decides a prior's output: weights, configurations and calibration."""
    digest = hashlib.sha256()
    parts = sorted(p for part in ("unet", "scheduler") for p in (folder / part).glob("*") if p.is_file())
    calibration = folder / CALIBRATION
    for path in [*parts, *([calibration] if calibration.exists() else [])]:
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


class Prior:
    """A noise predictor ``eps(x, sigma)`` in the variance-exploding view.

    Args:
        network: called as ``network(sample, timestep).sample``.
        schedule: the noise levels that the network was trained on.
        prediction_type: what the network predicts: ``epsilon``, ``v_prediction`` or ``sample``.
        name: for manifests.
        sha256: digest of the weights, configurations and calibration.
        device: where the network is evaluated.
        calibration: what the noise of clean photographs looks like to it; needed for blind restoration only.
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
    ) -> None:
        if prediction_type not in PREDICTION_TYPES:
            raise PriorError(f"prediction type {prediction_type!r} is none of {', '.join(PREDICTION_TYPES)}")
        self.network = network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.name = name
        self.sha256 = sha256
        self.device = device
        self._calibration = calibration

    @property
    def calibration(self) -> Calibration:
        """What the noise of clean photographs looks like to this prior.

        Raises:
            PriorError: the prior was never calibrated.
        """
        if self._calibration is None:
            raise PriorError(
                f"the prior {self.name} is not calibrated: "
                "run `python -m i2r.calibration --prior FOLDER --data PHOTOS` on its folder"
            )
        return self._calibration

    @property
    def stride(self) -> int:
        """Canvas sides must be multiples of this: the network halves them once a level."""
        return int(2 ** (len(self.network.config["block_out_channels"]) - 1))

    @torch.inference_mode()
    def eps(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Predict the noise in ``x``.

        Args:
            x: (B, 3, H, W) float32, an image of range [-1, 1] plus noise of level ``sigma``.
            sigma: (B,) noise levels, each within the schedule's range.

        Returns:
            (B, 3, H, W) float32, of unit variance where ``x`` holds noise of that level.
        """
        timestep = self.schedule.timestep(sigma.cpu())
        alpha, noise = (
            level.view(-1, 1, 1, 1).to(self.device) for level in self.schedule.alpha_sigma(timestep)
        )
        sample = (alpha * x).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            output = self.network(sample, timestep.to(self.device)).sample.float()
        if self.prediction_type == "epsilon":
            return output
        if self.prediction_type == "v_prediction":
            return noise * sample + alpha * output
        return (sample - alpha * output) / noise


def load_prior(name_or_folder: str, device: torch.device | None = None) -> Prior:
    """Load a built-in prior or a local diffusers folder.

    Raises:
        PriorError: the folder is missing or damaged, or its model is of a kind that cannot be used.
    """
    folder = find_prior(name_or_folder)
    scheduler = _read_json(folder / "scheduler" / "scheduler_config.json")
    config = _read_json(folder / "unet" / "config.json")
    if (kind := config.get("_class_name")) != "UNet2DModel":
        raise PriorError(f"{folder} holds a {kind}: only UNet2DModel priors can be used")
    channels = config.get("in_channels"), config.get("out_channels")
    if channels != (3, 3):
        raise PriorError(
            f"{folder} has {channels[0]} channels in, {channels[1]} out: only RGB priors can be used"
        )
    try:
        network, loading = UNet2DModel.from_pretrained(
            folder / "unet",
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200]
        raise PriorError(
            f"the weights in {folder / 'unet'} cannot be read ({reason}): copy them again"
        ) from error
    if missing := loading["missing_keys"]:
        raise PriorError(
            f"the weights in {folder / 'unet'} lack {len(missing)} tensors ({missing[0]}, …): copy them again"
        )
    return Prior(
        network,
        _noise_schedule(scheduler, folder),
        scheduler.get("prediction_type", "epsilon"),
        name=folder.resolve().name,
        sha256=digest_prior(folder),
        device=device or torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        calibration=Calibration.load(folder) if (folder / CALIBRATION).exists() else None,
    )


def _noise_schedule(scheduler: Mapping[str, Any], folder: Path) -> NoiseSchedule:
    known = {key: scheduler[key] for key in _SCHEDULE_KEYS if key in scheduler}
    try:
        return NoiseSchedule.from_alphas_cumprod(DDIMScheduler(**known).alphas_cumprod)
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        raise PriorError(f"the schedule in {folder / 'scheduler'} cannot be used: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PriorError(
            f"{path} is missing or not JSON: a prior is a folder in the diffusers layout"
        ) from error
    if not isinstance(content, dict):
        raise PriorError(f"{path} is not a configuration: a prior is a folder in the diffusers layout")
    return content

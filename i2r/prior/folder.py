"""A prior as a folder on local disk, in the diffusers layout, and the checks of it that do not need torch.

    model_index.json
    unet/         config.json, *.safetensors: the network
    scheduler/    scheduler_config.json: the noise levels it was trained on, and its prediction type
    vqvae/, vae/  config.json, *.safetensors: the autoencoder of a latent prior
    calibration.json

Older pipelines of one network keep the files of ``unet/`` and ``scheduler/`` in the folder itself. A run
checks here whether its prior can be used before it loads any weights.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from i2r.errors import PriorError
from i2r.screening.calibration import CALIBRATION, Calibration

BUILT_IN = Path(__file__).parents[1] / "priors"
INDEX = "model_index.json"
PARTS = ("unet", "scheduler", "vqvae", "vae")
"""Subfolders of a prior whose files decide its output."""

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
"""Prediction types of variance-preserving networks: eps, v and x0."""
SCORE = "score"
"""Prediction type of variance-exploding networks."""

PRESERVING = {
    f"{name}Scheduler"
    for name in (
        *("DDIM", "DDIMInverse", "DDIMParallel", "DDPM", "DDPMParallel", "DEISMultistep", "PNDM", "RePaint"),
        *("DPMSolverMultistep", "DPMSolverMultistepInverse", "DPMSolverSinglestep", "UniPCMultistep"),
        *("EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete", "LMSDiscrete"),
        *("KDPM2Discrete", "KDPM2AncestralDiscrete"),
    )
}
"""Schedulers of variance-preserving diffusions that are defined by their betas."""
EXPLODING = {"ScoreSdeVeScheduler": 2.0, "KarrasVeScheduler": 1.0}
"""Schedulers of score networks, whose timestep is the noise level. The value is the factor that converts
their ``sigma_min`` and ``sigma_max`` to images of range [-1, 1]; the networks themselves see [0, 1]."""
AUTOENCODERS = ("VQModel", "AutoencoderKL")

_SCORE_LEVELS = {"ScoreSdeVeScheduler": (0.01, 1348.0), "KarrasVeScheduler": (0.02, 100.0)}
"""Default ``sigma_min`` and ``sigma_max`` of each scheduler."""
_LAYOUT = "a prior is a folder in the diffusers layout"


def built_in_priors() -> dict[str, Path]:
    """Return the folders of the priors that ship with the package, by name."""
    return {index.parent.name: index.parent for index in sorted(BUILT_IN.glob(f"*/{INDEX}"))}


def find_prior(name_or_folder: str) -> Path:
    """Return the folder of a built-in prior or of one on local disk.

    Raises:
        PriorError: neither exists.
    """
    if (folder := built_in_priors().get(name_or_folder)) is not None:
        return folder
    if (Path(name_or_folder) / INDEX).is_file():
        return Path(name_or_folder)
    known = ", ".join(built_in_priors()) or "none"
    raise PriorError(
        f"no prior {name_or_folder!r}: give a built-in name ({known}) or a local folder with a {INDEX}"
    )


def digest_prior(folder: Path) -> str:
    """Compute the SHA-256 of the files that decide a prior's output: weights, configurations, calibration."""
    digest = hashlib.sha256()
    for path in prior_files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def prior_files(folder: Path) -> list[Path]:
    """List the files that decide a prior's output."""
    files = sorted(p for part in PARTS for p in (folder / part).glob("*") if p.is_file())
    if not (folder / "unet").is_dir():
        files += sorted(p for name in ("*config.json", "*.safetensors") for p in folder.glob(name))
    calibration = folder / CALIBRATION
    return [*files, *([calibration] if calibration.exists() else [])]


@dataclass(frozen=True)
class PriorFolder:
    """Configurations and headers of a prior's folder, each read on first access.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def part(self, name: str) -> Path:
        """Return the folder that holds a part's files: the subfolder of its name, or the prior's folder."""
        return self.path / name if (self.path / name).is_dir() else self.path

    @cached_property
    def network(self) -> dict[str, Any]:
        """The network's configuration."""
        return _read_json(self.part("unet") / "config.json")

    @cached_property
    def scheduler(self) -> dict[str, Any]:
        return _read_json(self.part("scheduler") / "scheduler_config.json")

    @cached_property
    def autoencoder_path(self) -> Path | None:
        """Folder of the autoencoder; None for a pixel prior."""
        return next((self.path / name for name in ("vqvae", "vae") if (self.path / name).is_dir()), None)

    @cached_property
    def autoencoder(self) -> dict[str, Any] | None:
        """The autoencoder's configuration; None for a pixel prior."""
        return _read_json(self.autoencoder_path / "config.json") if self.autoencoder_path else None

    @property
    def channels(self) -> int:
        """Channels of the network's input: 3 for pixels (1 for a gray prior), else those of the latents."""
        return int(self.network.get("in_channels", 3))

    @property
    def factor(self) -> int:
        """Side in pixels of one canvas element: 1 for a pixel prior, else that of one latent."""
        return 1 if self.autoencoder is None else _halvings(self.autoencoder, default=1)

    @property
    def stride(self) -> int:
        """Pixels that tile sides must be multiples of: the networks halve them once per level."""
        return self.factor * _halvings(self.network, default=4)

    @property
    def scaling(self) -> float:
        """Factor that scales the autoencoder's latents for the network."""
        return float((self.autoencoder or {}).get("scaling_factor", 0.18215))

    @property
    def is_score(self) -> bool:
        """Whether the network is conditioned on noise levels instead of timesteps, and predicts the score."""
        return self.scheduler.get("_class_name") in EXPLODING

    @property
    def prediction_type(self) -> str:
        """Prediction type of the network: one of ``PREDICTION_TYPES``, or ``SCORE``."""
        return SCORE if self.is_score else str(self.scheduler.get("prediction_type", "epsilon"))

    @property
    def timesteps(self) -> int:
        """Number of timesteps of the training schedule."""
        trained = self.scheduler.get("trained_betas")
        return len(trained) if trained else int(self.scheduler.get("num_train_timesteps", 1000))

    @property
    def score_levels(self) -> tuple[float, float]:
        """Lowest and highest noise level of a score network, for images of range [-1, 1].

        Raises:
            PriorError: they are not finite positive numbers with the lowest below the highest.
        """
        kind = self.scheduler["_class_name"]
        low, high = _SCORE_LEVELS[kind]
        try:
            low = EXPLODING[kind] * float(self.scheduler.get("sigma_min", low))
            high = EXPLODING[kind] * float(self.scheduler.get("sigma_max", high))
        except (TypeError, ValueError):
            low = math.nan
        if not 0 < low < high < math.inf:
            raise PriorError(
                f"the schedule in {self.part('scheduler')} has no levels from sigma_min up to sigma_max: "
                "copy it again"
            )
        return low, high

    @cached_property
    def parameters(self) -> int:
        """Number of weights, including the autoencoder's, from the headers of their files.

        Raises:
            PriorError: a file is missing, damaged or truncated.
        """
        parts = [self.part("unet"), *([self.autoencoder_path] if self.autoencoder_path else [])]
        return sum(_count_weights(part) for part in parts)

    @property
    def calibration(self) -> Calibration | None:
        """None if the prior was never calibrated. Raises PriorError if the file is damaged."""
        return Calibration.load(self.path) if (self.path / CALIBRATION).exists() else None

    def digest(self) -> str:
        """See :func:`digest_prior`."""
        return digest_prior(self.path)

    def check(self) -> dict[str, str]:
        """Check by configurations and headers alone whether the prior can be used.

        Returns:
            findings, by the name of the check.

        Raises:
            PriorError: a check failed.
        """
        return {name: look() for name, look in self.checks()}

    def checks(self) -> Iterable[tuple[str, Callable[[], str]]]:
        """Return every check as its name and a function that returns the finding or raises PriorError."""
        return (
            ("network", self._check_network),
            ("autoencoder", self._check_autoencoder),
            ("channels", self._check_channels),
            ("schedule", self._check_schedule),
            ("prediction", self._check_prediction),
            ("range", self._check_range),
            ("weights", lambda: f"{self.parameters:,} parameters"),
        )

    def _check_network(self) -> str:
        kind = self.network.get("_class_name")
        if kind != "UNet2DModel":
            raise PriorError(f"{self.path} holds a {kind}: only UNet2DModel priors can be used")
        if self.network.get("class_embed_type") or self.network.get("num_class_embeds"):
            raise PriorError(
                f"{self.path} is conditioned on the class of an image: only unconditional priors can be used"
            )
        embedding = self.network.get("time_embedding_type", "positional")
        if embedding == "learned":
            raise PriorError(
                f"{self.path} has learned an embedding for whole timesteps only: "
                "give a prior with a positional or fourier embedding"
            )
        if embedding == "fourier" and not self.is_score:
            raise PriorError(
                f"{self.path} embeds noise levels (fourier), but its scheduler counts timesteps: "
                f"its scheduler must be one of {', '.join(EXPLODING)}"
            )
        return f"{kind}, sides in multiples of {self.stride} px"

    def _check_autoencoder(self) -> str:
        if self.autoencoder is None:
            return "none: the diffusion runs in pixels"
        kind = self.autoencoder.get("_class_name")
        if kind not in AUTOENCODERS:
            raise PriorError(
                f"{self.autoencoder_path} holds a {kind}: it must be {' or '.join(AUTOENCODERS)}"
            )
        images = self.autoencoder.get("in_channels", 3), self.autoencoder.get("out_channels", 3)
        if images != (3, 3):
            raise PriorError(
                f"{self.autoencoder_path} has {images[0]} channels in, {images[1]} out: it must be RGB"
            )
        if self.autoencoder.get("shift_factor"):
            raise PriorError(f"{self.autoencoder_path} shifts its latents: LDMPipeline priors do not")
        if self.is_score:
            raise PriorError(f"{self.path} is a score network of latents: only those of pixels can be used")
        if not (math.isfinite(self.scaling) and self.scaling > 0):
            raise PriorError(f"the scaling_factor {self.scaling} of {self.autoencoder_path} is not positive")
        return f"{kind}, {self.factor} px to a latent, scaled by {self.scaling:g}"

    def _check_channels(self) -> str:
        coming, going = self.channels, int(self.network.get("out_channels", 3))
        wrong = f"{self.path} has {coming} channels in, {going} out"
        if self.autoencoder is None:
            if coming not in (1, 3):
                raise PriorError(
                    f"{wrong}: only RGB or gray priors, or latent ones with a vqvae/, can be used"
                )
        elif coming != (latents := _latent_channels(self.autoencoder)):
            raise PriorError(f"{wrong}, but its autoencoder has {latents} latent channels: copy it again")
        if going not in (coming, 2 * coming):
            raise PriorError(f"{wrong}: it must give the noise, or the noise and its variance")
        if self.is_score and coming != 3:
            raise PriorError(f"{wrong}: only RGB score networks can be used")
        return f"{coming} in, {going} out" + (", half of them variances: left out" if going > coming else "")

    def _check_schedule(self) -> str:
        config = self.scheduler
        kind = config.get("_class_name")
        if kind not in PRESERVING | EXPLODING.keys():
            raise PriorError(
                f"{self.path} was made for {kind}: "
                "only DDPM and DDIM, solvers of the same diffusion, ScoreSdeVe and KarrasVe can be used"
            )
        if config.get("use_flow_sigmas") or config.get("timestep_type") == "continuous":
            raise PriorError(f"{self.path} has a schedule that its betas do not define: it cannot be used")
        if self.is_score:
            low, high = self.score_levels
            return f"{kind}, noise levels {low:g} to {high:g}"
        betas = "trained" if config.get("trained_betas") else config.get("beta_schedule", "linear")
        return f"{kind}, {betas} betas, {self.timesteps} timesteps"

    def _check_prediction(self) -> str:
        if not self.is_score and self.prediction_type not in PREDICTION_TYPES:
            raise PriorError(
                f"prediction type {self.prediction_type!r} is none of {', '.join(PREDICTION_TYPES)}: "
                f"set it in {self.part('scheduler') / 'scheduler_config.json'}"
            )
        return self.prediction_type

    def _check_range(self) -> str:
        if self.autoencoder is not None:
            return "of the latents"
        if self.is_score:
            return "0 to 1"
        limit = self.scheduler.get("clip_sample_range", 1.0) if self.scheduler.get("clip_sample") else 1.0
        if limit != 1.0:
            raise PriorError(
                f"{self.path} clips its images to {limit:g}: only priors of images from -1 to 1 can be used"
            )
        return "-1 to 1"


def _halvings(config: Mapping[str, Any], default: int) -> int:
    channels = config.get("block_out_channels")
    return int(2 ** ((len(channels) if isinstance(channels, list) else default) - 1))


def _latent_channels(autoencoder: Mapping[str, Any]) -> int:
    if autoencoder["_class_name"] == "VQModel":
        return int(autoencoder.get("vq_embed_dim") or autoencoder.get("latent_channels", 3))
    return int(autoencoder.get("latent_channels", 4))


def _count_weights(folder: Path) -> int:
    """Count the weights by their files' headers. Raises PriorError for a damaged or truncated file."""
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise PriorError(
            f"{folder} holds no .safetensors file: copy the prior again, or save it as safetensors"
        )
    count = 0
    for file in files:
        try:
            with safe_open(file, framework="numpy") as weights:
                names = weights.keys()
                count += sum(math.prod(weights.get_slice(key).get_shape()) for key in names)
        except (SafetensorError, OSError) as error:
            raise PriorError(f"the weights {file} cannot be read ({error}): copy them again") from error
    return count


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PriorError(f"{path} is missing or not JSON: {_LAYOUT}") from error
    if not isinstance(content, dict):
        raise PriorError(f"{path} is not a configuration: {_LAYOUT}")
    return content

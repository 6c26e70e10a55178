"""`i2r priors`: lists, checks, converts and calibrates priors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.commands.command import CommandGroup

if TYPE_CHECKING:
    from i2r import PriorFolder


@click.group(cls=CommandGroup)
def priors() -> None:
    """List, check, convert and calibrate priors: the diffusion models that images are restored with."""


@priors.command("list")
def list_() -> None:
    """List the priors that are built in."""
    from i2r import PriorFolder, built_in_priors
    from jobs.views.tables import print_columns

    rows = []
    for path in built_in_priors().values():
        folder = PriorFolder(path)
        size, timesteps = f"{folder.parameters:,}", str(folder.timesteps)
        rows.append((folder.name, folder.digest()[:12], size, timesteps, folder.prediction_type))
    print_columns(("name", "digest", "parameters", "timesteps", "predicts"), rows)


@priors.command()
@click.argument("prior")
def check(prior: str) -> None:
    """Check PRIOR, a built-in name, a folder, an address or a hub id: can images be restored with it?

    Exit status: 0 it can be used; 2 it cannot, and why.
    """
    from i2r import Calibration, PriorFolder
    from pipeline import local_prior

    folder = PriorFolder(local_prior(prior))
    for name, look in folder.checks():
        _say(name, look())
    _say("denoises", _denoises(folder))
    calibration = Calibration.load(folder.path)
    _say("calibration", f"read at {calibration.level:g}, {len(calibration.entry_scale)} entry levels")
    _say("digest", folder.digest())


def _say(name: str, found: str) -> None:
    """Print a line of the table at once: the last one shows how far the checks of a broken prior came."""
    click.echo(f"{name:<12} {found}")


def _denoises(folder: PriorFolder) -> str:
    from i2r import load_prior, self_test

    left = self_test(load_prior(str(folder.path)))
    return "leaves " + ", ".join(f"{share:.1%} of noise {level:g}" for level, share in left.items())


@priors.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--head-channels", default=64, show_default=True, help="Width of an attention head.")
@click.option("--new-attention-order", is_flag=True, help="It was trained with use_new_attention_order.")
@click.option(
    "--noise-schedule",
    type=click.Choice(["linear", "cosine"]),
    default="linear",
    show_default=True,
    help="Noise schedule that it was trained with.",
)
@click.option("--timesteps", default=1000, show_default=True, help="Its diffusion steps.")
def convert(
    checkpoint: Path,
    out: Path,
    head_channels: int,
    new_attention_order: bool,
    noise_schedule: str,
    timesteps: int,
) -> None:
    """Make the prior OUT, a new folder, of CHECKPOINT: an unconditional network of OpenAI's guided-diffusion.

    The defaults are those of 256x256_diffusion_uncond. Check and calibrate the prior next.
    """
    from i2r import Unsaid, convert_checkpoint

    betas = {"linear": "linear", "cosine": "squaredcos_cap_v2"}[noise_schedule]
    convert_checkpoint(checkpoint, out, Unsaid(head_channels, new_attention_order, betas, timesteps))
    click.echo(f"{out} is written; next: i2r priors calibrate {out} --data PHOTOS; i2r priors check {out}")


@priors.command()
@click.argument("prior")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Clean photographs, searched recursively."
)
@click.option("--crops", default=240, show_default=True, help="How many crops of them to measure.")
@click.option(
    "--side", type=int, help="Side of a crop in pixels; by default 192, or more if latents need it."
)
@click.option(
    "--keep", is_flag=True, help="Keep what was measured of the noise; measure only how many are altered."
)
def calibrate(prior: str, data: Path, crops: int, side: int | None, keep: bool) -> None:
    """Measure the noise that PRIOR, a folder, predicts in clean pictures, and how many of them are altered.

    Blind restoration recognises degradations by their noise, and holds `method.max_harm` on pictures like
    these.
    """
    from i2r import PriorFolder, find_prior

    folder = PriorFolder(find_prior(prior))
    folder.check()

    from i2r import load_prior, self_test
    from i2r.alarms import with_alarms
    from i2r.screening.risk import least_risk
    from i2r.training.calibrate import calibrate as measure
    from i2r.training.calibrate import draw_crops, fitting_side
    from i2r.training.photographs import pictures

    loaded = load_prior(str(folder.path), calibrated=keep)
    self_test(loaded)
    if not keep:
        loaded.calibration = measure(loaded, draw_crops(data, crops, side or fitting_side(loaded)))
    calibration = with_alarms(loaded, pictures(data))
    calibration.save(folder.path)
    count = len(calibration.alarms)
    click.echo(
        f"{folder.path} is calibrated on {count} pictures; "
        f"the smallest max_harm that it can promise is {least_risk(count):.2g}"
    )

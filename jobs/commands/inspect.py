"""The command `i2r inspect`."""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from typing import Any

import click

from jobs.commands.options import guarded, settings_of


@click.command()
@click.argument("image")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Where to write the picture. [default: <name of the image>-inspected.png, here]",
)
@click.option("--settings", "file", type=click.Path(path_type=Path), help="YAML file with settings.")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Any setting: method.steps=5.")
@click.option("--prior", help="Built-in prior, folder or address of one, or a hub id.")
@click.option(
    "--strength", type=float, help="Depth of the corrections: 1 as measured, less keeps more of the input."
)
@click.option("--mask", metavar="IMAGE", help="Of the same size: what is white in it stays as it is.")
def inspect(
    image: str, out: Path | None, file: Path | None, pairs: tuple[str, ...], mask: str | None, **flags: Any
) -> None:
    """Restore one IMAGE, and show as one picture what the method saw in it and did to it.

    Exit status: 0 the picture is written; 2 the image cannot be read, or wrong settings or arguments; 3 the
    picture is written, but the image failed.
    """
    sys.exit(guarded(lambda: _inspect(image, out, file, pairs, mask, flags)))


def _inspect(
    image: str,
    out: Path | None,
    file: Path | None,
    pairs: tuple[str, ...],
    mask: str | None,
    flags: dict[str, Any],
) -> int:
    from pipeline.errors import SettingsError
    from pipeline.records.summary import ExitStatus

    out = out or Path(f"{PurePosixPath(image).stem}-inspected.png")
    if out.suffix.lower() != ".png":
        raise SettingsError(f"--out {out}: the picture is a PNG, name it {out.with_suffix('.png').name}")
    if not out.parent.is_dir():
        raise SettingsError(f"--out {out}: there is no folder {out.parent}, make it first")
    if out.exists() and Path(image).exists() and out.samefile(image):
        raise SettingsError(f"--out {out} is the image itself: choose another name")
    settings = settings_of(file, pairs, flags)

    from jobs.views.anatomy import dissect, draw, facts, p_values

    anatomy = dissect(image, settings, mask)
    draw(anatomy).save(out)
    for line, alarm in p_values(anatomy):
        click.echo(f"{'*' if alarm else ' '} {line}")
    for name, text in facts(anatomy).items():
        click.echo(f"{name:<12} {text}")
    click.echo(f"{'picture':<12} {out}")
    return ExitStatus.SOME_FAILED if anatomy.restoration.outcome == "failed" else ExitStatus.DONE

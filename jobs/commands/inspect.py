"""The command `i2r inspect`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from jobs.commands.options import SettingsCommand

if TYPE_CHECKING:
    from jobs.commands.options import ReadSettings


@click.command(cls=SettingsCommand, groups=["Restoration"])
@click.argument("image")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Where to write the picture. [default: <name of the image>-inspected.png, here]",
)
@click.option("--mask", metavar="IMAGE", help="Of the same size: what is white in it stays as it is.")
def inspect(image: str, out: Path | None, settings: ReadSettings, mask: str | None) -> int:
    """Restore one IMAGE, and show as one picture what the method saw in it and did to it.

    Exit status: 0 the picture is written; 2 the image cannot be read, or wrong settings or arguments; 3 the
    picture is written, but the image failed.
    """
    from pipeline.errors import SettingsError
    from pipeline.records.summary import ExitStatus

    out = out or Path(f"{PurePosixPath(image).stem}-inspected.png")
    if out.suffix.lower() != ".png":
        raise SettingsError(f"--out {out}: the picture is a PNG, name it {out.with_suffix('.png').name}")
    if not out.parent.is_dir():
        raise SettingsError(f"--out {out}: there is no folder {out.parent}, make it first")
    if out.exists() and Path(image).exists() and out.samefile(image):
        raise SettingsError(f"--out {out} is the image itself: choose another name")
    given = settings()

    from jobs.views.anatomy import dissect, draw, facts, p_values

    anatomy = dissect(image, given, mask)
    draw(anatomy).save(out)
    for line, alarm in p_values(anatomy):
        click.echo(f"{'*' if alarm else ' '} {line}")
    for name, text in facts(anatomy).items():
        click.echo(f"{name:<12} {text}")
    click.echo(f"{'picture':<12} {out}")
    return ExitStatus.SOME_FAILED if anatomy.restoration.outcome == "failed" else ExitStatus.DONE

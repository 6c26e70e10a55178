"""The command `i2r`. What a command needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="invert2restore", prog_name="i2r")
def main() -> None:
    """Restore degraded images, whole archives of them, without saying what is wrong with them."""


@main.command()
@click.argument("source")
@click.argument("dest")
@click.option("--settings", "file", type=click.Path(path_type=Path), help="YAML file with settings.")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Any setting, e.g. method.steps=5.")
@click.option("--prior", help="Built-in prior, or a local diffusers folder.")
@click.option("--format", help="File format of the outputs. [default: each input's own]")
@click.option("--include", multiple=True, metavar="GLOB", help="Only inputs whose key matches; repeatable.")
@click.option(
    "--exclude", multiple=True, metavar="GLOB", help="Leave out inputs whose key matches; repeatable."
)
@click.option("--only", type=click.Choice(["new", "changed", "failed"]), help="Only inputs of this kind.")
@click.option("--retry-failed", is_flag=True, default=None, help="Try again what failed earlier.")
@click.option("--limit", type=int, help="Handle at most so many inputs.")
@click.option("--sample", type=float, help="Share of the inputs, from 0 to 1, always the same ones.")
@click.option("--prune", is_flag=True, default=None, help="Remove restored images whose source was deleted.")
@click.option("--reference", metavar="PREFIX", help="Better versions, paired by key, to measure against.")
@click.option("--workers", type=int, help="Models at work at once. [default: what the machine holds]")
@click.option("--threads", type=int, help="CPU threads of one model.")
@click.option("--batch", type=int, help="Most images handed to a model at once.")
@click.option("--max-hours", type=float, help="Stop after this time; the same command goes on later.")
@click.option("--address", help="Ray cluster to run on. [default: this machine]")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def restore(
    source: str,
    dest: str,
    file: Path | None,
    pairs: tuple[str, ...],
    address: str | None,
    dry_run: bool,
    **flags: Any,
) -> None:
    """Restore the images at SOURCE (a folder, a prefix, a glob or one object) into DEST.

    What an earlier run has done is not done again: the same command resumes, and picks up new images.

    Exit status: 0 all is restored, unchanged or rejected; 1 the run could not finish; 2 wrong settings or
    arguments; 3 some images failed; 4 another run writes to DEST; 5 stopped early on purpose.
    """
    sys.exit(_guarded(lambda: _restore(source, dest, file, pairs, address, dry_run, flags)))


def _restore(
    source: str,
    dest: str,
    file: Path | None,
    pairs: tuple[str, ...],
    address: str | None,
    dry_run: bool,
    flags: dict[str, Any],
) -> int:
    from jobs.progress import show_progress, stop_on_signals
    from pipeline import load_settings, restore_dataset

    given = {name: list(value) if isinstance(value, tuple) else value for name, value in flags.items()}
    given = {name: value for name, value in given.items() if value not in (None, [])}
    settings = load_settings(file, os.environ, _split(pairs) | given)
    with stop_on_signals() as stop, show_progress() as on_progress:
        summary = restore_dataset(
            source, dest, settings, on_progress=on_progress, stop=stop, dry_run=dry_run, address=address
        )
    from jobs.tables import print_summary

    print_summary(summary)
    return summary.exit_status


@main.command()
@click.argument("dest")
def status(dest: str) -> None:
    """Tell what lies at DEST: its runs, the newest rows by status and settings, and who writes there now."""
    sys.exit(_guarded(lambda: _status(dest)))


def _status(dest: str) -> int:
    from jobs.tables import print_status
    from pipeline.inspection import read_status

    print_status(read_status(dest))
    return 0


@main.command()
@click.argument("dest")
@click.option("--repair", is_flag=True, help="Restore again what is missing or wrong.")
def verify(dest: str, repair: bool) -> None:
    """Check that every object which the manifest speaks of is at DEST with the right content.

    Exit status: 0 all is right; 3 something is missing or wrong.
    """
    sys.exit(_guarded(lambda: _verify(dest, repair)))


def _verify(dest: str, repair: bool) -> int:
    from jobs.progress import show_progress, stop_on_signals
    from jobs.tables import print_summary, print_verification
    from pipeline.inspection import verify_dataset
    from pipeline.repair import repair_dataset
    from pipeline.summary import ExitStatus

    verification = verify_dataset(dest)
    print_verification(verification)
    if verification.faults and repair:
        with stop_on_signals() as stop, show_progress() as on_progress:
            summary = repair_dataset(dest, verification.faults, on_progress=on_progress, stop=stop)
        print_summary(summary)
        return summary.exit_status
    return ExitStatus.SOME_FAILED if verification.faults else ExitStatus.DONE


@main.command()
@click.argument("dest")
@click.option("--yes", is_flag=True, help="Delete them; without it they are only listed.")
def clean(dest: str, yes: bool) -> None:
    """List, and with --yes delete, our objects at DEST that no newest row of the manifest mentions."""
    sys.exit(_guarded(lambda: _clean(dest, yes)))


def _clean(dest: str, yes: bool) -> int:
    from pipeline.cleaning import clean_dataset

    count = 0
    for uri in clean_dataset(dest, delete=yes):
        click.echo(uri)
        count += 1
    click.echo(f"{count} objects {'deleted' if yes else 'would be deleted: --yes does it'}")
    return 0


@main.command()
@click.argument("dest", required=False, type=click.Path(path_type=Path))
def demo(dest: Path | None) -> None:
    """Damage the sample photographs, restore them, and show what came of each; into DEST, a new folder."""
    sys.exit(_guarded(lambda: _demo(dest)))


def _demo(dest: Path | None) -> int:
    from jobs.demo import run_demo

    return run_demo(dest)


def _guarded(action: Callable[[], int]) -> int:
    """The exit status of a command; what goes wrong on purpose is one line on the standard error."""
    from pipeline.errors import LeaseHeldError, PipelineError, SettingsError
    from pipeline.summary import ExitStatus

    try:
        return action()
    except PipelineError as error:
        click.echo(f"i2r: {error}", err=True)
        if isinstance(error, SettingsError):
            return ExitStatus.BAD_SETTINGS
        return ExitStatus.LEASE_HELD if isinstance(error, LeaseHeldError) else ExitStatus.BROKEN


def _split(pairs: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` flags by name."""
    from pipeline.errors import SettingsError

    split = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingsError(f"--set {pair!r} is not NAME=VALUE: write for example --set method.steps=5")
        split[name.strip()] = value
    return split


if __name__ == "__main__":
    main()

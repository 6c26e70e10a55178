"""Shared by commands: the options of a run, the settings from them, and exit statuses of errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pipeline import ExitStatus, PipelineError, RunSettings

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--settings", "file", type=click.Path(path_type=Path), help="YAML file with settings."),
    click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="Any setting: method.steps=5."),
    click.option("--prior", help="Built-in prior, folder or address of one, or a hub id."),
    click.option(
        "--strength",
        type=float,
        help="Depth of the corrections: 1 as measured, less keeps more of the input.",
    ),
    click.option("--format", help="File format of the outputs. [default: each input's own]"),
    click.option(
        "--include", multiple=True, metavar="GLOB", help="Only inputs whose key matches; repeatable."
    ),
    click.option(
        "--exclude", multiple=True, metavar="GLOB", help="Leave out inputs whose key matches; repeatable."
    ),
    click.option("--only", type=click.Choice(["new", "changed", "failed"]), help="Only inputs of this kind."),
    click.option(
        "--retry-failed",
        is_flag=True,
        default=None,
        help="Try again what failed earlier, beside what --only names.",
    ),
    click.option("--limit", type=int, help="Handle at most so many inputs."),
    click.option("--sample", type=float, help="Share of the inputs, from 0 to 1, always the same ones."),
    click.option(
        "--prune", is_flag=True, default=None, help="Remove restored images whose source was deleted."
    ),
    click.option("--reference", metavar="PREFIX", help="Better versions, paired by key, to measure against."),
    click.option(
        "--protect", metavar="PREFIX", help="Masks, paired by key: what is white in them stays as it is."
    ),
    click.option("--workers", type=int, help="Models at work at once. [default: what the machine holds]"),
    click.option("--threads", type=int, help="CPU threads of one model."),
    click.option("--gpus", type=int, help="Do not start without so many GPUs. [default: take what is there]"),
    click.option("--gpu-minutes", type=float, help="Wait so long for a cluster that grows to bring them."),
    click.option("--batch", type=int, help="Most images handed to a model at once."),
    click.option("--max-hours", type=float, help="Stop after this time; the same command goes on later."),
)

_NESTED = {"strength": "method.strength"}
"""Options whose setting is in a group, by name."""


def run_options(command: Command) -> Command:
    """Add the options that `settings_of` takes to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_of(file: Path | None, pairs: tuple[str, ...], flags: dict[str, Any]) -> RunSettings:
    """Settings from the options of a command, which override those of the file and the environment.

    Raises:
        SettingsError: a setting is wrong.
    """
    from pipeline import load_settings

    given = {name: list(value) if isinstance(value, tuple) else value for name, value in flags.items()}
    given = {_NESTED.get(name, name): value for name, value in given.items() if value not in (None, [])}
    return load_settings(file, os.environ, split_pairs(pairs) | given)


def split_pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    """Split `NAME=VALUE` flags into names and values. Raises SettingsError."""
    from pipeline.errors import SettingsError

    split = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingsError(f"--set {pair!r} is not NAME=VALUE: write for example --set method.steps=5")
        split[name.strip()] = value
    return split


def guarded(action: Callable[[], int]) -> int:
    """Run a command and return its exit status; an expected error becomes one line on the standard error."""
    from pipeline.errors import PipelineError

    try:
        return action()
    except PipelineError as error:
        logging.getLogger(__name__).error("%s", error)
        return exit_status_of(error)


def exit_status_of(error: PipelineError) -> ExitStatus:
    """The exit status of a command after an error."""
    from pipeline.errors import LeaseHeldError, SettingsError
    from pipeline.records.summary import ExitStatus

    if isinstance(error, SettingsError):
        return ExitStatus.BAD_SETTINGS
    return ExitStatus.LEASE_HELD if isinstance(error, LeaseHeldError) else ExitStatus.BROKEN

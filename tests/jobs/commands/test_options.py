"""Options of settings: made of their model, and read into it."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from i2r import RestoreSettings
from jobs.commands.options import SettingsCommand, settings_of
from pipeline.errors import SettingsError
from pipeline.settings import RunSettings, changed_settings, settings_fields


def read(*arguments: str) -> RunSettings:
    """The settings that a command with these options gets."""
    got: list[RunSettings] = []

    @click.command(cls=SettingsCommand)
    def command(settings: Any) -> None:
        got.append(settings())

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return got[0]


@pytest.mark.parametrize(
    ("option", "value", "name", "read_as"),
    [
        ("--prior", "latent-64", "prior", "latent-64"),
        ("--strength", "0.3", "method.strength", 0.3),
        ("--format", "png", "format", "PNG"),
        ("--include", "a*,b", "include", ["a*,b"]),
        ("--exclude", "*.gif", "exclude", ["*.gif"]),
        ("--only", "failed", "only", "failed"),
        ("--retry-failed", None, "retry_failed", True),
        ("--limit", "3", "limit", 3),
        ("--max-redo", "100%", "max_redo", 1.0),
        ("--sample", "0.5", "sample", 0.5),
        ("--sample", "5%", "sample", 0.05),
        ("--prune", None, "prune", True),
        ("--max-pruned", "20%", "max_pruned", 0.2),
        ("--reference", "s3://better", "reference", "s3://better"),
        ("--reference", "2024", "reference", "2024"),
        ("--protect", "masks", "protect", "masks"),
        ("--workers", "2", "workers", 2),
        ("--threads", "2", "threads", 2),
        ("--gpus", "2", "gpus", 2),
        ("--gpu-minutes", "1.5", "gpu_minutes", 1.5),
        ("--batch", "4", "batch", 4),
        ("--max-hours", "1.5", "max_hours", 1.5),
    ],
)
def test_each_option_sets_its_setting_alone(
    option: str, value: str | None, name: str, read_as: object
) -> None:
    assert changed_settings(read(option) if value is None else read(option, value)) == {name: read_as}


def test_no_option_changes_nothing() -> None:
    assert changed_settings(read()) == {}


def test_an_option_of_several_values_takes_them_all() -> None:
    assert read("--include", "*.png", "--include", "*.jpg").include == ("*.png", "*.jpg")


def test_an_option_goes_over_a_pair() -> None:
    assert settings_of(None, ("method.strength=0.3",), {"method__strength": None}).method.strength == 0.3
    assert settings_of(None, ("method.strength=0.3",), {"method__strength": 0.5}).method.strength == 0.5


def test_help_describes_a_setting_as_its_model_does() -> None:
    command = click.command(cls=SettingsCommand, groups=["Inputs"])(lambda settings: None)
    shown = CliRunner().invoke(command, ["--help"], terminal_width=400).output
    about = str(dict(settings_fields())["sample"].description)
    assert f"{about[:1].upper()}{about[1:]}." in shown
    assert "--only [new|changed|failed]" in shown
    assert "--prior" not in shown


def test_a_value_of_the_wrong_type_is_refused_before_anything_runs() -> None:
    command = click.command(cls=SettingsCommand)(lambda settings: pytest.fail("it ran"))
    result = CliRunner().invoke(command, ["--limit", "many"])
    assert result.exit_code == 2
    assert "'many' is not a valid integer" in result.stderr


def test_the_value_of_a_pair_is_yaml() -> None:
    assert read("--set", "include=[a, b]", "--set", "limit=null", "--set", "method.steps=7") == RunSettings(
        include=("a", "b"), method=RestoreSettings(steps=7)
    )


def test_what_is_no_pair_is_refused() -> None:
    with pytest.raises(SettingsError, match="is not NAME=VALUE"):
        settings_of(None, ("batch",), {})

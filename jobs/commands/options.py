"""Options of commands that take the settings of a run, made of the settings' model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property, partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, get_args, get_origin

import click

from jobs.commands.command import Command

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from pipeline import RunSettings

    ReadSettings: TypeAlias = Callable[[], RunSettings]

_GROUPS = {
    "Restoration": ("prior", "method.strength"),
    "Inputs": ("include", "exclude", "only", "retry_failed", "max_redo", "limit", "sample"),
    "Results": ("format", "copy_failed", "prune", "max_pruned", "reference", "protect"),
    "Machines": ("workers", "threads", "gpus", "gpu_minutes", "batch", "max_hours"),
}
"""Settings with an option of their own, under the headings of the help."""
SHARE = "SHARE"
_METAVARS = {
    "include": "GLOB",
    "exclude": "GLOB",
    "reference": "PREFIX",
    "protect": "PREFIX",
    "max_redo": SHARE,
    "max_pruned": SHARE,
    "sample": SHARE,
}


class SettingsCommand(Command):
    """A command that takes settings: its function gets `settings`, which reads them when it is called.

    The options of single settings are made when the command is invoked or asked for help: the model that they
    are made of is slow to load.

    Args:
        groups: headings of the single settings that have an option.
    """

    def __init__(self, *args: Any, groups: Iterable[str] = tuple(_GROUPS), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups = groups
        self.params += [
            click.Option(
                ["--settings", "file"], type=click.Path(path_type=Path), help="YAML file with settings."
            ),
            click.Option(
                ["--set", "pairs"],
                multiple=True,
                metavar="NAME=VALUE",
                help="Give any setting by its name, such as method.steps=5.",
            ),
        ]

    @cached_property
    def _settings(self) -> Mapping[str, Sequence[click.Option]]:
        """The options of single settings by heading."""
        from pipeline.settings import settings_fields

        fields = dict(settings_fields())
        return {group: [_option(name, fields[name]) for name in _GROUPS[group]] for group in self._groups}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The arguments and options, those of single settings last."""
        return [*super().get_params(ctx), *(option for group in self._settings.values() for option in group)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help of the options, those of single settings under their headings."""
        common = [param for param in super().get_params(ctx) if isinstance(param, click.Option)]
        for heading, options in {"Options": common, **self._settings}.items():
            with formatter.section(heading):
                formatter.write_dl([record for option in options if (record := option.get_help_record(ctx))])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        single = [option.name for group in self._settings.values() for option in group]
        flags = {name: ctx.params.pop(name) for name in single if name}
        file, pairs = ctx.params.pop("file"), ctx.params.pop("pairs")
        ctx.params["settings"] = partial(settings_of, file, pairs, flags)
        return super().invoke(ctx)


def _option(name: str, field: FieldInfo) -> click.Option:
    """The option of a setting. Its own name has two underscores for the setting's dot."""
    value: Any = field.annotation
    while inner := [part for part in get_args(value) if part is not NoneType]:
        value = inner[0]  # int of Annotated[int, ...] | None, str of tuple[str, ...]
    value = str if _METAVARS.get(name) == SHARE else value  # the model reads 5% and 0.05
    multiple, about = get_origin(field.annotation) is tuple, field.description or ""
    ending = "; repeatable." if multiple else f". [default: {field.default}]" if field.default else "."
    return click.Option(
        [name.replace(".", "__"), f"--{name.rpartition('.')[2].replace('_', '-')}"],
        type=click.Choice([*map(str, value)]) if issubclass(value, StrEnum) else value,
        is_flag=value is bool,
        default=None,
        multiple=multiple,
        metavar=_METAVARS.get(name),
        help=f"{about[:1].upper()}{about[1:]}{ending}",
    )


def settings_of(file: Path | None, pairs: tuple[str, ...], flags: Mapping[str, Any]) -> RunSettings:
    """Settings from the options of a command, which override those of the file and the environment.

    Args:
        file: a YAML map, or None.
        pairs: `NAME=VALUE`, of any setting.
        flags: values of options by their own name; None and empty ones were not given.

    Raises:
        SettingsError: a setting is wrong.
    """
    from pipeline import load_settings

    given = {name: list(value) if isinstance(value, tuple) else value for name, value in flags.items()}
    given = {name.replace("__", "."): value for name, value in given.items() if value not in (None, [])}
    return load_settings(file, os.environ, split_pairs(pairs) | given)


def split_pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Split `NAME=VALUE` flags into names and values, which are read as YAML. Raises SettingsError."""
    from pipeline.errors import SettingsError
    from pipeline.settings import parse_value

    split = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise SettingsError(f"--set {pair!r} is not NAME=VALUE: write for example --set method.steps=5")
        split[name.strip()] = parse_value(name.strip(), value)
    return split

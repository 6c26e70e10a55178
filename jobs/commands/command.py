"""A command of the command line: its exit status, and how its errors are shown."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from pipeline import ExitStatus

logger = logging.getLogger(__name__)


class Command(click.Command):
    """A command whose function returns its exit status, None for 0.

    An expected error becomes one line on the standard error, and the exit status of its kind.
    """

    def invoke(self, ctx: click.Context) -> NoReturn:
        """Run the command, and exit."""
        from i2r.errors import I2RError
        from pipeline.errors import PipelineError

        try:
            status = super().invoke(ctx) or 0
        except (I2RError, PipelineError) as error:
            logger.error("%s", error)
            status = exit_status_of(error)
        ctx.exit(status)


class CommandGroup(click.Group):
    """A group of such commands."""

    command_class = Command


def exit_status_of(error: Exception) -> ExitStatus:
    """The exit status of a command after an expected error."""
    from i2r.errors import I2RError
    from pipeline.errors import LeaseHeldError, RefusedError, SettingsError
    from pipeline.records.summary import ExitStatus

    if isinstance(error, (SettingsError, I2RError)):
        return ExitStatus.BAD_SETTINGS
    if isinstance(error, RefusedError):
        return ExitStatus.REFUSED
    return ExitStatus.LEASE_HELD if isinstance(error, LeaseHeldError) else ExitStatus.BROKEN

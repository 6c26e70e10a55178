"""Commands: what they exit with, and that an expected error is one line."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from i2r.errors import PriorError
from jobs.commands.command import CommandGroup
from jobs.views.logs import configure_logs
from pipeline.errors import ErrorCode, ItemError, LeaseHeldError, RunError, SettingsError
from pipeline.records.summary import ExitStatus


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SettingsError("wrong"), ExitStatus.BAD_SETTINGS),
        (PriorError("wrong"), ExitStatus.BAD_SETTINGS),
        (LeaseHeldError("wrong"), ExitStatus.LEASE_HELD),
        (RunError("wrong"), ExitStatus.BROKEN),
        (ItemError(ErrorCode.STORAGE, "wrong"), ExitStatus.BROKEN),
    ],
)
def test_an_expected_error_is_one_line_and_the_status_of_its_kind(
    error: Exception, status: ExitStatus
) -> None:
    @click.group(cls=CommandGroup)
    def group() -> None:
        configure_logs()

    @group.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", "i2r: wrong\n")


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (ExitStatus.SOME_FAILED, 3)])
def test_a_command_exits_with_what_its_function_returns(returned: int | None, status: int) -> None:
    group = click.group(cls=CommandGroup)(lambda: None)
    group.command("give")(lambda: returned)
    assert CliRunner().invoke(group, ["give"]).exit_code == status


def test_an_unexpected_error_keeps_its_traceback() -> None:
    group = click.group(cls=CommandGroup)(lambda: None)

    @group.command()
    def fail() -> None:
        raise ZeroDivisionError

    assert isinstance(CliRunner().invoke(group, ["fail"]).exception, ZeroDivisionError)

"""The command `i2r`. What a command needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.commands.command import CommandGroup
from jobs.commands.destination import clean, history, report, status, verify
from jobs.commands.inspect import inspect
from jobs.commands.jobs import jobs_group, submit
from jobs.commands.plan import plan
from jobs.commands.priors import priors
from jobs.commands.restore import restore
from jobs.commands.schedule import schedule
from jobs.views.logs import configure_logs

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=CommandGroup, context_settings=CONTEXT)
@click.version_option(package_name="invert2restore", prog_name="i2r")
def main() -> None:
    """Restore degraded images, whole archives of them, without saying what is wrong with them."""
    configure_logs()


@main.command()
@click.argument("dest", required=False, type=click.Path(path_type=Path))
def demo(dest: Path | None) -> int:
    """Degrade the sample photographs, restore them, and show what came of each; into DEST, a new folder."""
    from jobs.demo import run_demo

    return run_demo(dest)


COMMANDS: tuple[click.Command, ...] = (
    *(restore, submit, jobs_group, schedule, plan, inspect, priors),
    *(status, history, report, verify, clean),
)
for command in COMMANDS:
    main.add_command(command)


if __name__ == "__main__":
    main()

"""The command `i2r`. What a command needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.commands.command import CommandGroup, exit_status_of
from jobs.commands.inspect import inspect
from jobs.commands.jobs import jobs_group, submit
from jobs.commands.options import SettingsCommand
from jobs.commands.plan import plan
from jobs.commands.priors import priors
from jobs.commands.records import history, report
from jobs.commands.schedule import schedule
from jobs.views.logs import configure_logs

if TYPE_CHECKING:
    from jobs.commands.options import ReadSettings

READING = "reading the manifest"
"""Stage of a command until it knows the number of objects to check."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=CommandGroup, context_settings=CONTEXT)
@click.version_option(package_name="invert2restore", prog_name="i2r")
def main() -> None:
    """Restore degraded images, whole archives of them, without saying what is wrong with them."""
    configure_logs()


main.add_command(priors)


@main.command(cls=SettingsCommand)
@click.argument("source")
@click.argument("dest")
@click.option("--address", help="Ray cluster to run on. [default: this machine]")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", help="json: objects, one a line."
)
@click.option("--webhook-env", metavar="NAME", help="Post the summary to the address in this variable.")
def restore(
    source: str,
    dest: str,
    settings: ReadSettings,
    address: str | None,
    dry_run: bool,
    log_format: str,
    webhook_env: str | None,
) -> int:
    """Restore the images at SOURCE (a folder, a prefix, a glob or one object) into DEST.

    What an earlier run has done is not done again: the same command resumes, and picks up new images.

    Exit status: 0 all is restored, unchanged or rejected; 1 the run could not finish; 2 wrong settings or
    arguments; 3 some images failed; 4 another run writes to DEST; 5 stopped early on purpose.
    """
    configure_logs(log_format)

    from jobs.views.logs import ProgressLog, log_summary
    from jobs.views.progress import show_progress, stop_on_signals
    from jobs.views.tables import print_summary
    from jobs.webhook import Webhook, error_record, summary_record
    from pipeline import restore_dataset
    from pipeline.errors import PipelineError

    webhook = Webhook(webhook_env, os.environ) if webhook_env else None
    shown = nullcontext(ProgressLog()) if log_format == "json" else show_progress()
    try:
        given = settings()
        with stop_on_signals() as stop, shown as on_progress:
            summary = restore_dataset(
                source, dest, given, on_progress=on_progress, stop=stop, dry_run=dry_run, address=address
            )
    except PipelineError as error:
        if webhook:
            webhook.post(error_record(dest, error, exit_status_of(error)))
        raise
    if log_format == "json":
        log_summary(summary)
    else:
        print_summary(summary)
    if webhook:
        webhook.post(summary_record(summary))
    return summary.exit_status


@main.command()
@click.argument("dest")
def status(dest: str) -> None:
    """Show what lies at DEST: its runs, the newest rows by status and settings, and who writes there now."""
    from jobs.views.tables import print_status
    from pipeline.records.verify import read_status

    print_status(read_status(dest))


@main.command()
@click.argument("dest")
@click.option("--repair", is_flag=True, help="Restore again what is missing or wrong.")
def verify(dest: str, repair: bool) -> int:
    """Check that every object which the manifest speaks of is at DEST with the right content.

    Exit status: 0 all is right, with --repair in the end; 3 something is missing or wrong.
    """
    from jobs.views.progress import show_progress, stop_on_signals
    from jobs.views.tables import print_repair, print_verification
    from pipeline.records.summary import ExitStatus
    from pipeline.records.verify import verify_dataset
    from pipeline.runs.repair import repair_dataset

    with show_progress(READING, lines=False) as on_check:
        verification = verify_dataset(dest, on_progress=on_check)
    print_verification(verification)
    if verification.faults and repair:
        with stop_on_signals() as stop, show_progress() as on_progress:
            repaired = repair_dataset(dest, verification.faults, on_progress=on_progress, stop=stop)
        print_repair(repaired)
        return repaired.exit_status
    return ExitStatus.SOME_FAILED if verification.faults else ExitStatus.DONE


@main.command()
@click.argument("dest")
@click.option("--yes", is_flag=True, help="Delete them; without it they are only listed.")
def clean(dest: str, yes: bool) -> None:
    """List, and with --yes delete, our objects at DEST that no newest row of the manifest mentions."""
    from jobs.views.progress import show_progress
    from pipeline.records.cleaning import clean_dataset

    count = 0
    with show_progress(READING, lines=False) as on_progress:
        for uri in clean_dataset(dest, delete=yes, on_progress=on_progress):
            click.echo(uri)
            count += 1
    click.echo(f"{count} objects {'deleted' if yes else 'would be deleted: --yes does it'}")


@main.command()
@click.argument("dest", required=False, type=click.Path(path_type=Path))
def demo(dest: Path | None) -> int:
    """Degrade the sample photographs, restore them, and show what came of each; into DEST, a new folder."""
    from jobs.demo import run_demo

    return run_demo(dest)


main.add_command(inspect)
main.add_command(history)
main.add_command(report)
main.add_command(submit)
main.add_command(jobs_group)
main.add_command(plan)
main.add_command(schedule)


if __name__ == "__main__":
    main()

"""The command `i2r restore`."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from jobs.commands.command import exit_status_of
from jobs.commands.options import SettingsCommand
from jobs.views.logs import configure_logs

if TYPE_CHECKING:
    from jobs.commands.options import ReadSettings
    from pipeline import RunSettings, RunSummary

logger = logging.getLogger(__name__)


@click.command(cls=SettingsCommand)
@click.argument("source")
@click.argument("dest")
@click.option("--address", help="Ray cluster to run on. [default: this machine]")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", help="json: objects, one a line."
)
@click.option("--webhook-env", metavar="NAME", help="Post the summary to the address in this variable.")
@click.option(
    "--retried",
    is_flag=True,
    help="For whatever retries a failed command: exit with 0 where another attempt would change nothing.",
)
def restore(
    source: str,
    dest: str,
    settings: ReadSettings,
    address: str | None,
    dry_run: bool,
    log_format: str,
    webhook_env: str | None,
    retried: bool,
) -> int:
    """Restore the images at SOURCE (a folder, a prefix, a glob or one object) into DEST.

    What an earlier run has done is not done again: the same command resumes, and picks up new images. If
    other settings, weights or another version of the method make more finished images pending again than
    --max-redo, or if --prune would remove more than --max-pruned, it asks on a terminal, and refuses anywhere
    else.

    Exit status: 0 all is restored, unchanged or rejected; 1 the run could not finish; 2 wrong settings or
    arguments; 3 some images failed; 4 another run writes to DEST; 5 stopped early on purpose; 6 it would
    restore more finished images again than --max-redo, or remove more than --max-pruned. With --retried, 0
    stands for 3, 4, and 5 after --max-hours, too.
    """
    configure_logs(log_format)

    from jobs.views.logs import ProgressLog, log_summary
    from jobs.views.progress import show_progress, stop_on_signals
    from jobs.views.tables import print_summary
    from jobs.webhook import Webhook, error_record, summary_record
    from pipeline import ExitStatus, restore_dataset
    from pipeline.errors import LeaseHeldError, PipelineError, RefusedError

    def run(given: RunSettings) -> RunSummary:
        shown = nullcontext(ProgressLog()) if log_format == "json" else show_progress()
        try:
            with stop_on_signals() as stop, shown as on_progress:
                return restore_dataset(
                    source, dest, given, on_progress=on_progress, stop=stop, dry_run=dry_run, address=address
                )
        except RefusedError as error:
            if log_format == "json" or not sys.stdin.isatty():
                raise
            click.echo(f"i2r: {error}", err=True)
            if not click.confirm(error.question, err=True):
                raise click.exceptions.Exit(ExitStatus.REFUSED) from None
            return run(given.model_copy(update={error.setting: 1.0}))

    webhook = Webhook(webhook_env, os.environ) if webhook_env else None
    try:
        summary = run(settings())
    except PipelineError as error:
        if webhook:
            webhook.post(error_record(dest, error, exit_status_of(error)))
        if retried and isinstance(error, LeaseHeldError):
            logger.warning("%s", error)
            return ExitStatus.DONE
        raise
    if log_format == "json":
        log_summary(summary)
    else:
        print_summary(summary)
    if webhook:
        webhook.post(summary_record(summary))
    return summary.status_for_retries if retried else summary.exit_status

"""Commands about what lies at a destination: status, history, report, verify and clean."""

from __future__ import annotations

import click

from jobs.commands.command import Command

READING = "reading the manifest"
"""Stage of a command until it knows the number of objects to check."""


@click.command(cls=Command)
@click.argument("dest")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with every failed image.")
def status(dest: str, as_json: bool) -> None:
    """Show what DEST holds: its runs, the newest rows by status and settings, what failed, and who writes."""
    from jobs.views.tables import print_status, print_status_as_json
    from pipeline.records.verify import read_status

    if as_json:
        print_status_as_json(read_status(dest, most_failures=None))
    else:
        print_status(read_status(dest))


@click.command(cls=Command)
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


@click.command(cls=Command)
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


@click.command(cls=Command)
@click.argument("dest")
def history(dest: str) -> None:
    """List the runs at DEST, oldest first: when, how many images ended how, and its exit status."""
    from jobs.views.history import HEADS, history_rows
    from jobs.views.tables import print_columns

    print_columns(HEADS, list(history_rows(dest)))


@click.command(cls=Command)
@click.argument("dest")
@click.option("--run", metavar="ID", help="Which run. [default: the newest that handled something]")
@click.option(
    "--out",
    metavar="FOLDER",
    help="Where to write it, such as a folder that a browser can open. [default: in DEST]",
)
@click.option(
    "--previews",
    type=click.IntRange(min=0),
    metavar="N",
    help="Most pictures that get a small preview, those at most risk. [default: 10000]",
)
def report(dest: str, run: str | None, out: str | None, previews: int | None) -> None:
    """Write a page about a run, with its pictures before and after, and print its address.

    The page is a folder that opens in a browser without a server. It lies in DEST unless --out names another
    place, and shows a run that is under way as far as it is.
    """
    from jobs.views.progress import show_progress
    from jobs.views.report.page import PREVIEWS, write_report

    with show_progress(READING) as on_progress:
        most = PREVIEWS if previews is None else previews
        address = write_report(dest, run, out=out, previews=most, on_progress=on_progress)
    click.echo(address)

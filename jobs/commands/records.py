"""`i2r history` and `i2r report`: the results of the runs at a destination."""

from __future__ import annotations

import click

from jobs.commands.command import Command


@click.command(cls=Command)
@click.argument("dest")
def history(dest: str) -> None:
    """List the runs at DEST, oldest first: when, how many images ended how, and its exit status."""
    from jobs.views.history import HEADS, nights
    from jobs.views.tables import print_columns

    print_columns(HEADS, list(nights(dest)))


@click.command(cls=Command)
@click.argument("dest")
@click.option("--run", metavar="ID", help="Which run. [default: the newest that handled something]")
def report(dest: str, run: str | None) -> None:
    """Write a page about a run into DEST, with pictures before and after, and print its address."""
    from jobs.views.report import write_report

    click.echo(write_report(dest, run))

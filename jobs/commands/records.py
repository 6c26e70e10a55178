"""`i2r history` and `i2r report`: the results of the runs at a destination."""

from __future__ import annotations

import sys

import click

from jobs.commands.options import guarded


@click.command()
@click.argument("dest")
def history(dest: str) -> None:
    """List the runs at DEST, oldest first: when, how many images ended how, and its exit status."""
    sys.exit(guarded(lambda: _history(dest)))


def _history(dest: str) -> int:
    from jobs.views.history import HEADS, nights
    from jobs.views.tables import print_columns

    print_columns(HEADS, list(nights(dest)))
    return 0


@click.command()
@click.argument("dest")
@click.option("--run", metavar="ID", help="Which run. [default: the newest that handled something]")
def report(dest: str, run: str | None) -> None:
    """Write a page about a run into DEST, with pictures before and after, and tell its address."""
    sys.exit(guarded(lambda: _report(dest, run)))


def _report(dest: str, run: str | None) -> int:
    from jobs.views.report import write_report

    print(write_report(dest, run))
    return 0

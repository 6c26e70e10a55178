"""`i2r plan`: estimates time and cost of a run before it is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.commands.options import SettingsCommand

if TYPE_CHECKING:
    from jobs.commands.options import ReadSettings
    from jobs.estimate import Estimate, Measurement, Prices


@click.command(cls=SettingsCommand)
@click.argument("source")
@click.argument("dest", required=False)
@click.option(
    "--images", type=click.IntRange(min=2), default=16, show_default=True, help="Size of the sample."
)
@click.option(
    "--prices", type=click.Path(path_type=Path), help="YAML of your nodes. [default: some examples]"
)
@click.option(
    "--deadline", type=click.FloatRange(min=0, min_open=True), metavar="HOURS", help="Be done by then."
)
@click.option("--address", help="Ray cluster to measure on. [default: this machine]")
@click.option(
    "--scratch",
    metavar="PREFIX",
    help="Where the results of the sample are kept until it ends. [default: here]",
)
def plan(
    source: str,
    dest: str | None,
    settings: ReadSettings,
    images: int,
    prices: Path | None,
    deadline: float | None,
    address: str | None,
    scratch: str | None,
) -> None:
    """Restore a small sample of SOURCE, and estimate the hours and the cost of the whole, on kinds of nodes.

    With DEST, of what is pending there, and why it is. Nothing is written to DEST.

    The estimates are for the kind of device that was measured: to plan for GPUs, measure on one (--address).
    """
    from jobs.estimate import PRICES, measure, read_prices
    from jobs.views.progress import show_progress
    from jobs.views.tables import print_summary
    from pipeline import restore_dataset

    given, known = settings(), read_prices(prices or PRICES)
    pending = None
    if dest:
        preview = restore_dataset(source, dest, given, dry_run=True)
        print_summary(preview)
        if not (pending := preview.counts["left"]):
            return
    with show_progress() as on_progress:
        measured = measure(source, given, images, scratch=scratch, address=address, on_progress=on_progress)
    print_plan(measured, known, deadline, pending)


def print_plan(
    measured: Measurement, prices: Prices, deadline: float | None, pending: int | None = None
) -> None:
    """Print a plan of the whole, or of a number of pending images."""
    from jobs.estimate import CONFIDENCE, offers
    from jobs.views.tables import print_columns

    ended = ", ".join(f"{number} {status}" for status, number in measured.statuses.items())
    print(f"the whole: {measured.images} images, {measured.bytes / 2**30:.3g} GiB")
    print(
        f"measured:  {measured.sampled} images on a {measured.device} ({ended}), one model takes "
        f"{_between(measured.seconds)} s for an image{_size(measured)}"
    )
    heads = ["node", "hours of one", f"cost in {prices.currency}"]
    heads += [] if deadline is None else [f"nodes for {deadline:g} h"]
    rows = [
        [offer.name, _between(offer.node_hours), _between(offer.cost)]
        + ([] if offer.nodes is None else [str(offer.nodes)])
        for offer in offers(measured, prices, deadline, pending)
    ]
    print_columns(heads, rows)
    print(f"in brackets: the {CONFIDENCE:.0%} confidence interval, without the time in which nodes start")
    if others := [name for name, kind in prices.nodes.items() if kind.device != measured.device]:
        print(f"of {', '.join(others)} nothing is known: measure on one with --address")


def _size(measured: Measurement) -> str:
    """How large an image is, and what a megapixel takes: of less than a tenth of one, that says nothing."""
    megapixels = measured.seconds.value / measured.seconds_per_megapixel
    if not megapixels > 0:
        return ""
    each = f", {_figure(measured.seconds_per_megapixel)} s for a megapixel" if megapixels >= 0.1 else ""
    return f" of {megapixels:.2g} megapixels{each}"


def _between(estimate: Estimate) -> str:
    return f"{_figure(estimate.value)} ({_figure(estimate.low)} to {_figure(estimate.high)})"


def _figure(value: float) -> str:
    """Three digits, and never an exponent."""
    return f"{value:.3g}" if 0.001 <= abs(value) < 1000 else f"{value:,.0f}" if abs(value) >= 1000 else "0"

"""`i2r plan`: estimates time and cost of restoring a whole source, by restoring a sample of it."""

from __future__ import annotations

import math
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import Progress, RunSettings, SettingsError, on_cpu, open_source, restore_dataset
from pipeline.records.listing import Listing
from pipeline.records.manifest import Status
from pipeline.records.verify import newest_rows
from pipeline.storage.store import Store, open_store

PRICES = Path(__file__).parent / "prices.yaml"
CONFIDENCE = 0.95
RESAMPLES = 4000
COMPUTING = ("decode", "restore", "encode")
"""Stages that keep a core or a GPU busy; fetching and storing mostly wait, and overlap with them."""


class NodeKind(BaseModel):
    """A kind of node, with its price and speed; see `prices.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    price: Annotated[float, Field(ge=0)]
    device: Literal["cpu", "gpu"]
    models: Annotated[int, Field(ge=1)]
    speed: Annotated[float, Field(gt=0)] = 1.0


class Prices(BaseModel):
    """Prices of nodes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str
    nodes: Annotated[dict[str, NodeKind], Field(min_length=1)]


@dataclass(frozen=True)
class Estimate:
    """A value, and bounds that contain it with `CONFIDENCE`."""

    value: float
    low: float
    high: float

    def __mul__(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Measurement:
    """Size of a source, and measurements of a sample of it.

    Attributes:
        images, bytes: of the whole source.
        sampled: images that were measured.
        device: `cpu` or `gpu`.
        seconds: of one model for one image.
        seconds_per_megapixel: of one model for a million pixels; NaN if no image could be decoded.
        statuses: number of sampled images by status.
    """

    images: int
    bytes: int
    sampled: int
    device: str
    seconds: Estimate
    seconds_per_megapixel: float
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class Offer:
    """Time and cost of the whole source on a kind of node.

    Attributes:
        name: of the kind.
        node_hours: on one node; more nodes share them.
        cost: in the currency of the prices.
        nodes: number that meets the deadline, by the upper bound of the time; None without a deadline.
    """

    name: str
    node_hours: Estimate
    cost: Estimate
    nodes: int | None


def read_prices(file: Path) -> Prices:
    """Read prices from a YAML file. Raises SettingsError."""
    try:
        return Prices.model_validate(yaml.safe_load(file.read_text()))
    except OSError as error:
        raise SettingsError(f"cannot read the prices {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"the prices {file} are not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise SettingsError(f"the prices {file}: {place}: {problem['msg'].lower()}; see {PRICES}") from error


def measure(
    source: str,
    settings: RunSettings,
    count: int,
    *,
    scratch: str | None = None,
    address: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Measurement:
    """Restore about `count` images of a source, sampled from all of it, and measure the time that they take.

    Args:
        source: as for `restore_dataset`.
        settings: of the run that is planned.
        count: images to restore.
        scratch: prefix for their results, which are deleted at the end; by default a folder on this machine.
        address: of a Ray cluster to measure on.
        on_progress: called with the progress of the sample's run.

    Raises:
        SettingsError: an argument is wrong, or the source has too few images to measure.
        RunError: the sample could not be restored.
    """
    narrowed = {"limit", "sample", "only", "retry_failed", "max_hours"} & settings.model_fields_set
    if narrowed:
        raise SettingsError(f"a plan is of the whole SOURCE: leave out {', '.join(sorted(narrowed))}")
    images, size = _whole(source, settings)
    if images < 2:
        raise SettingsError(f"SOURCE {source} holds {images or 'no'} images: check the address, or --include")
    # A share gives now more, now fewer: one that hardly ever gives too few, up to the number.
    share = min(1.0, (count + 4 * math.sqrt(count) + 4) / images)
    sample = settings.model_copy(update={"sample": share, "limit": count})
    with _scratch(scratch) as dest:
        restore_dataset(source, dest.uri(), sample, on_progress=on_progress, address=address)
        rows = _rows(dest)
    if len(rows) < 2:
        raise SettingsError(f"{len(rows)} of {images} images could be measured: raise --images")
    seconds = np.array([sum(row["timings"][stage] or 0.0 for stage in COMPUTING) for row in rows])
    pixels = sum((row["width"] or 0) * (row["height"] or 0) for row in rows)
    return Measurement(
        images=images,
        bytes=size,
        sampled=len(rows),
        device="cpu" if all(row["device"] is None or on_cpu(row["device"]) for row in rows) else "gpu",
        seconds=mean_of(seconds),
        seconds_per_megapixel=float(seconds.sum() / pixels * 1e6) if pixels else math.nan,
        statuses={status: n for status in Status if (n := sum(row["status"] == status for row in rows))},
    )


def mean_of(seconds: NDArray[np.float64]) -> Estimate:
    """The mean and its bounds, by bootstrapping, which assumes no distribution."""
    draws = np.random.default_rng(0).choice(seconds, (RESAMPLES, len(seconds)))
    low, high = np.quantile(draws.mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(seconds.mean()), float(low), float(high))


def offers(
    measured: Measurement, prices: Prices, deadline_hours: float | None, pending: int | None = None
) -> Sequence[Offer]:
    """Time and cost on each kind of node with the device that was measured, cheapest first.

    They are of the whole source, or of a number of pending images.
    """
    hours = measured.seconds * ((measured.images if pending is None else pending) / 3600)
    found = []
    for name, kind in prices.nodes.items():
        if kind.device != measured.device:
            continue
        node_hours = hours * (1 / (kind.models * kind.speed))
        nodes = None if deadline_hours is None else max(1, math.ceil(node_hours.high / deadline_hours))
        found.append(Offer(name, node_hours, node_hours * kind.price, nodes))
    return sorted(found, key=lambda offer: offer.cost.value)


def _whole(source: str, settings: RunSettings) -> tuple[int, int]:
    """Number of images in a source, and their bytes."""
    with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
        listing = Listing(open_store(folder), "listing")
        listing.fill(open_source(source, private=settings.private_addresses), settings)
        size = sum(pc.sum(batch["source_size"]).as_py() for batch in listing.batches())
        return listing.count, max(int(size), 0)


@contextmanager
def _scratch(address: str | None) -> Iterator[Store]:
    """A temporary destination."""
    if address is None:
        with tempfile.TemporaryDirectory(prefix="i2r-") as folder:
            yield open_store(folder)
        return
    store = open_store(f"{address.rstrip('/')}/plan-{secrets.token_hex(4)}")
    try:
        yield store
    finally:
        store.delete_folder("")


def _rows(dest: Store) -> list[dict[str, Any]]:
    columns = ("status", "width", "height", "timings", "device")
    return [row for batch in newest_rows(dest, columns) for row in batch.to_pylist()]

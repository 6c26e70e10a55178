"""`i2r report`: an HTML page about one run, with some of its images before and after.

The page, made of the template `report.html`, is one file without scripts or external resources: images are
embedded, charts are SVG.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import io
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from i2r import Action, Finding
from jobs.views.findings import in_words
from jobs.views.progress import duration
from pipeline import Decoder, Fetcher, from_float, open_source, to_float
from pipeline.errors import PipelineError, SettingsError
from pipeline.records.findings import COLUMN, by_action, of_column
from pipeline.records.manifest import STAGES, Status, manifest_files, read_batches
from pipeline.records.summary import read_records, run_folder
from pipeline.records.verify import open_dataset
from pipeline.storage.store import PRIVATE, Store

PAIRS = {Status.RESTORED: 12, Status.REJECTED: 6, Status.UNCHANGED: 4}
"""Most images of each status that are shown before and after."""
FAILURES = 20
"""Most failed images that are named."""
SUSPECTED = 20
"""Most images that are named because something is suspected, the surest first."""
THUMBNAIL = 240
"""Most pixels along a side of a thumbnail."""
VALUES = 20_000
"""Most values that a chart is drawn from: a random sample if there are more."""
BARS = 24

MEASURES = {
    "seconds": "seconds an image took",
    "megapixels": "megapixels of an image",
    "typicality_before": "typicality before",
    "typicality_after": "typicality after",
    "consistency_psnr": "consistency with the source, dB",
    "nfe": "network evaluations",
}

_COLUMNS = (
    "source_uri",
    "source_key",
    "output_uri",
    "status",
    "error_code",
    "error_message",
    "width",
    "height",
    "nfe",
    "typicality_before",
    "typicality_after",
    "consistency_psnr",
    COLUMN,
    "timings",
)
_LISTED = ("source_uri", "source_key", "source_size", "kind", "container", "offset")


@dataclass(frozen=True)
class Thumbnail:
    """A picture of the page as base64 of a JPEG, or the reason why there is none."""

    jpeg: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Chart:
    """A histogram: heights in [0, 1], and the values at its ends."""

    title: str
    heights: Sequence[float]
    ends: tuple[float, float]


class Overview:
    """Counts, values and chosen rows of a run for its page, collected in one pass in bounded memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.findings: Counter[tuple[str, str]] = Counter()
        self.doubtful = 0
        self.values: dict[str, list[float]] = {name: [] for name in MEASURES}
        self._suspected: list[tuple[float, int, str, Sequence[Finding]]] = []
        self._seen: Counter[str] = Counter()
        self._chosen: dict[str, list[tuple[int, int, Mapping[str, Any]]]] = {status: [] for status in Status}
        self._random = random.Random(0)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of the manifest."""
        status = row["status"]
        self.counts[status] += 1
        if status == Status.FAILED:
            self.errors[row["error_code"]] += 1
        self._find(row)
        self._choose(row, FAILURES if status == Status.FAILED else PAIRS[Status(status)])
        for name, value in self._measured(row):
            if value is not None and np.isfinite(value):
                self._keep(name, float(value))

    def chosen(self, status: Status) -> list[Mapping[str, Any]]:
        """The chosen rows of a status, sorted by key."""
        return sorted((row for *_, row in self._chosen[status]), key=lambda row: str(row["source_key"]))

    def suspected(self) -> list[tuple[str, Sequence[Finding]]]:
        """The keys of the images in which something is most surely suspected, and what."""
        return [(key, findings) for _, _, key, findings in sorted(self._suspected, reverse=True)]

    def _find(self, row: Mapping[str, Any]) -> None:
        """Count the findings of a row, and keep it if it is among those with the surest suspicion."""
        findings = of_column(row.get(COLUMN))
        self.findings.update((found.action.value, found.what.value) for found in findings)
        doubts = [found for found in findings if found.action is Action.SUSPECTED]
        if doubts:
            self.doubtful += 1
            surest = max(found.confidence for found in doubts)
            heapq.heappush(self._suspected, (surest, -self.doubtful, row["source_key"], doubts))
            if len(self._suspected) > SUSPECTED:
                heapq.heappop(self._suspected)

    def _choose(self, row: Mapping[str, Any], most: int) -> None:
        """Keep the rows whose addresses have the smallest hashes: an unbiased and reproducible choice."""
        order = -int.from_bytes(hashlib.sha256(row["source_uri"].encode()).digest()[:8])
        heap = self._chosen[row["status"]]
        heapq.heappush(heap, (order, self.counts.total(), row))
        if len(heap) > most:
            heapq.heappop(heap)

    def _measured(self, row: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
        yield "seconds", sum(row["timings"][stage] or 0.0 for stage in STAGES)
        if row["width"] and row["height"]:
            yield "megapixels", row["width"] * row["height"] / 1e6
        for name in ("typicality_before", "typicality_after", "consistency_psnr", "nfe"):
            yield name, row.get(name)

    def _keep(self, name: str, value: float) -> None:
        """Keep a random sample of the values (reservoir sampling)."""
        kept = self.values[name]
        self._seen[name] += 1
        if len(kept) < VALUES:
            kept.append(value)
        elif (place := self._random.randrange(self._seen[name])) < VALUES:
            kept[place] = value


def write_report(dest: str, run_id: str | None = None) -> str:
    """Write the page of a run. Returns its address.

    Args:
        dest: a destination.
        run_id: of a finished run; by default the newest that handled an input, or else the newest.

    Raises:
        SettingsError: there is no such run.
        RunError, ItemError: the destination takes no writes, or cannot be read.
    """
    store = open_dataset(dest)
    record = _record(store, run_id)
    overview = Overview()
    for file in manifest_files(store, record["run_id"]):
        for batch in read_batches(store, file.key, _COLUMNS):
            for row in batch.to_pylist():
                overview.add(row)
    key = f"{PRIVATE}/report/{record['run_id']}/index.html"
    store.write(key, render(record, overview, Pictures(store, record, overview)).encode())
    return store.uri(key)


def _record(store: Store, run_id: str | None) -> Mapping[str, Any]:
    records = read_records(store)
    if run_id is not None:
        records = [record for record in records if record["run_id"] == run_id]
    if not records:
        raise SettingsError(
            f"{store.uri()} has no finished run{f' {run_id}' if run_id else ''}: `i2r history` lists them"
        )
    busy = [record for record in records if any(record["counts"][status] for status in Status)]
    return (busy or records)[-1]


class Pictures:
    """Thumbnails of the chosen images, before and after.

    Args:
        dest: the destination.
        record: of the run.
        overview: of its rows.
    """

    def __init__(self, dest: Store, record: Mapping[str, Any], overview: Overview) -> None:
        self._dest = dest
        settings = record["details"]["settings"]
        self._memory, self._seconds = settings["decode_memory_mib"] << 20, settings["decode_seconds"]
        self._pixels = settings["max_pixels"]
        wanted = {row["source_uri"] for status in PAIRS for row in overview.chosen(status)}
        self._listed = _listed(dest, record["run_id"], wanted)
        self._source: Fetcher | None = None
        try:
            self._source = Fetcher(open_source(record["details"]["source"]).store, self._memory)
        except PipelineError:
            return  # the source no longer exists; the results can still be shown

    def of(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Thumbnail, Thumbnail]]:
        """Yield the keys of rows with their thumbnails before and after."""
        with Decoder(self._memory, self._seconds) as decoder:
            for row in rows:
                key = row["output_uri"].removeprefix(f"{self._dest.uri()}/")
                after = self._thumbnail(decoder, partial(self._dest.read, key))
                yield row["source_key"], self._before(decoder, row), after

    def _before(self, decoder: Decoder, row: Mapping[str, Any]) -> Thumbnail:
        listed = self._listed.get(row["source_uri"])
        if self._source is None or listed is None:
            return Thumbnail(reason="the source is gone")
        return self._thumbnail(decoder, partial(self._source.fetch, listed))

    def _thumbnail(self, decoder: Decoder, read: Callable[[], bytes]) -> Thumbnail:
        try:
            pixels = decoder.decode(read(), max_pixels=self._pixels).pixels
        except PipelineError as error:
            return Thumbnail(reason=str(error))
        image = Image.fromarray(from_float(to_float(pixels), np.dtype(np.uint8)).squeeze())
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=88)
        return Thumbnail(base64.b64encode(stream.getvalue()).decode())


def _listed(store: Store, run_id: str, wanted: set[str]) -> dict[str, Mapping[str, Any]]:
    """The wanted rows of a run's listing, by address."""
    folder = f"{run_folder(run_id)}/listing"
    found: dict[str, Mapping[str, Any]] = {}
    for name in store.names(folder):
        for batch in read_batches(store, f"{folder}/{name}", _LISTED):
            mask = pc.is_in(batch["source_uri"], value_set=pa.array(sorted(wanted), pa.string()))
            found |= {row["source_uri"]: row for row in batch.filter(mask).to_pylist()}
    return found


def render(record: Mapping[str, Any], overview: Overview, pictures: Pictures) -> str:
    """The page as HTML. All text from the archive is escaped."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html")
    details = record["details"]
    return template.render(
        record=record,
        facts={
            "from": details["source"],
            "to": record["dest"],
            "prior": details["prior"],
            "took": duration(record["seconds"]),
            "stopped early": record["stopped"] or "no",
            "finished": details["finished_at"][:16].replace("T", " ") + " UTC",
        },
        charts=[_histogram(MEASURES[name], values) for name, values in overview.values.items() if values],
        counts=overview.counts,
        findings=[
            (action, ", ".join(f"{number} {what}" for what, number in found.items()))
            for action, found in by_action(overview.findings).items()
        ],
        doubtful=overview.doubtful,
        suspected=[(key, "; ".join(map(in_words, doubts))) for key, doubts in overview.suspected()],
        pairs={status: list(pictures.of(rows)) for status in PAIRS if (rows := overview.chosen(status))},
        errors=overview.errors.most_common(),
        failed=[(row["source_key"], row["error_message"] or "") for row in overview.chosen(Status.FAILED)],
    )


def _histogram(title: str, values: Sequence[float]) -> Chart:
    low, high = min(values), max(values)
    heights, edges = np.histogram(values, BARS, (low, high) if low < high else (0, 2 * high or 1))
    return Chart(title, (heights / heights.max()).tolist(), (edges[0], edges[-1]))

"""`i2r report`: an HTML page about one run, with some of its images before and after.

The page is one file without scripts or external resources: images are embedded, charts are SVG.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import io
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from jobs.views.progress import duration
from pipeline import Decoder, Fetcher, from_float, open_source, to_float
from pipeline.errors import PipelineError, SettingsError
from pipeline.records.manifest import STAGES, Status, manifest_files, read_batches
from pipeline.records.summary import read_records, run_folder
from pipeline.records.verify import open_dataset
from pipeline.storage.store import PRIVATE, Store

PAIRS = {Status.RESTORED: 12, Status.REJECTED: 6, Status.UNCHANGED: 4}
"""Most images of each status that are shown before and after."""
FAILURES = 20
"""Most failed images that are named."""
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
    "timings",
)
_LISTED = ("source_uri", "source_key", "source_size", "kind", "container", "offset")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top }
.charts, .pairs { display: flex; flex-wrap: wrap; gap: 1.2rem }
figure { margin: 0; max-width: 32rem; overflow-wrap: anywhere } figcaption { font-size: .85rem; color: #555 }
img { max-width: 15rem; background: #eee } rect { fill: #4a6fa5 } text { font-size: 11px; fill: #555 }
"""


class Digest:
    """Counts, values and chosen rows of a run for its page, collected in one pass in bounded memory."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.values: dict[str, list[float]] = {name: [] for name in MEASURES}
        self._seen: Counter[str] = Counter()
        self._chosen: dict[str, list[tuple[int, int, Mapping[str, Any]]]] = {status: [] for status in Status}
        self._random = random.Random(0)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of the manifest."""
        status = row["status"]
        self.counts[status] += 1
        if status == Status.FAILED:
            self.errors[row["error_code"]] += 1
        self._choose(row, FAILURES if status == Status.FAILED else PAIRS[Status(status)])
        for name, value in self._measured(row):
            if value is not None and np.isfinite(value):
                self._keep(name, float(value))

    def chosen(self, status: Status) -> list[Mapping[str, Any]]:
        """The chosen rows of a status, sorted by key."""
        return sorted((row for *_, row in self._chosen[status]), key=lambda row: str(row["source_key"]))

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
    digest = Digest()
    for file in manifest_files(store, record["run_id"]):
        for batch in read_batches(store, file.key, _COLUMNS):
            for row in batch.to_pylist():
                digest.add(row)
    key = f"{PRIVATE}/report/{record['run_id']}/index.html"
    store.write(key, render(record, digest, Pictures(store, record, digest)).encode())
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
        digest: of its rows.
    """

    def __init__(self, dest: Store, record: Mapping[str, Any], digest: Digest) -> None:
        self._dest = dest
        settings = record["details"]["settings"]
        self._memory, self._seconds = settings["decode_memory_mib"] << 20, settings["decode_seconds"]
        self._pixels = settings["max_pixels"]
        wanted = {row["source_uri"] for status in PAIRS for row in digest.chosen(status)}
        self._listed = _listed(dest, record["run_id"], wanted)
        self._source: Fetcher | None = None
        try:
            self._source = Fetcher(open_source(record["details"]["source"]).store, self._memory)
        except PipelineError:
            return  # the source no longer exists; the results can still be shown

    def of(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], str, str]]:
        """Yield rows with their thumbnails before and after, as HTML."""
        with Decoder(self._memory, self._seconds) as decoder:
            for row in rows:
                yield row, self._before(decoder, row), self._after(decoder, row)

    def _before(self, decoder: Decoder, row: Mapping[str, Any]) -> str:
        listed = self._listed.get(row["source_uri"])
        if self._source is None or listed is None:
            return "the source is gone"
        try:
            return self._picture(decoder, self._source.fetch(listed))
        except PipelineError as error:
            return escape(str(error))

    def _after(self, decoder: Decoder, row: Mapping[str, Any]) -> str:
        try:
            return self._picture(
                decoder, self._dest.read(row["output_uri"].removeprefix(f"{self._dest.uri()}/"))
            )
        except PipelineError as error:
            return escape(str(error))

    def _picture(self, decoder: Decoder, data: bytes) -> str:
        pixels = decoder.decode(data, max_pixels=self._pixels).pixels
        image = Image.fromarray(from_float(to_float(pixels), np.dtype(np.uint8)).squeeze())
        image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=88)
        return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}">'


def _listed(store: Store, run_id: str, wanted: set[str]) -> dict[str, Mapping[str, Any]]:
    """The wanted rows of a run's listing, by address."""
    folder = f"{run_folder(run_id)}/listing"
    found: dict[str, Mapping[str, Any]] = {}
    for name in store.names(folder):
        for batch in read_batches(store, f"{folder}/{name}", _LISTED):
            mask = pc.is_in(batch["source_uri"], value_set=pa.array(sorted(wanted), pa.string()))
            found |= {row["source_uri"]: row for row in batch.filter(mask).to_pylist()}
    return found


def render(record: Mapping[str, Any], digest: Digest, pictures: Pictures) -> str:
    """The page as HTML. All text from the archive is escaped."""
    title = f"Run {escape(record['run_id'])}"
    facts = {
        "from": record["details"]["source"],
        "to": record["dest"],
        "prior": record["details"]["prior"],
        "took": duration(record["seconds"]),
        "stopped early": record["stopped"] or "no",
        "finished": record["details"]["finished_at"][:16].replace("T", " ") + " UTC",
    }
    parts = [f"<h1>{title}</h1>", _table(facts.items()), "<h2>How its inputs ended</h2>"]
    parts.append(_table((name, number) for name, number in record["counts"].items()))
    charts = [_histogram(MEASURES[name], values) for name, values in digest.values.items() if values]
    parts.append(f'<h2>What was measured</h2><div class="charts">{"".join(charts)}</div>')
    for status in PAIRS:
        if rows := digest.chosen(status):
            shown = "".join(_pair(*pair) for pair in pictures.of(rows))
            parts.append(f"<h2>{status.value.capitalize()}: {len(rows)} of {digest.counts[status]}</h2>")
            parts.append(f'<div class="pairs">{shown}</div>')
    if digest.errors:
        parts.append("<h2>Failed, by reason</h2>" + _table(digest.errors.most_common()))
        failed = digest.chosen(Status.FAILED)
        parts.append(_table((row["source_key"], row["error_message"] or "") for row in failed))
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _table(rows: Iterable[tuple[Any, Any]]) -> str:
    cells = (f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>" for name, value in rows)
    return f"<table>{''.join(cells)}</table>"


def _pair(row: Mapping[str, Any], before: str, after: str) -> str:
    return f"<figure>{before} {after}<figcaption>{escape(row['source_key'])}</figcaption></figure>"


def _histogram(title: str, values: Sequence[float]) -> str:
    """A histogram of values with their range under it, as SVG."""
    low, high = min(values), max(values)
    heights, edges = np.histogram(values, BARS, (low, high) if low < high else (0, 2 * high or 1))
    step, height = 12, 90
    bars = "".join(
        f'<rect x="{index * step}" y="{height - tall:.1f}" width="{step - 2}" height="{tall:.1f}"/>'
        for index, tall in enumerate(heights / heights.max() * height)
    )
    width = BARS * step
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {width} {height + 16}" width="{width}" role="img">{bars}'
        f'<text x="0" y="{height + 13}">{edges[0]:.3g}</text>'
        f'<text x="{width}" y="{height + 13}" text-anchor="end">{edges[-1]:.3g}</text></svg></figure>'
    )

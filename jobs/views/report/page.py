"""`i2r report`: a page about one run, with all its pictures before and after.

The page is a folder of static files, which opens by a double click or from a bucket: `index.html` says what
came of the run, and `data-000.js` and following hold its pictures, those at most risk first. Nothing else is
requested, except pictures of a source that lies on the web.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jobs.views import glossary
from jobs.views.findings import counts_in_words
from jobs.views.history import is_under_way
from jobs.views.progress import duration
from jobs.views.report.links import SHOWN, is_shown, origin, relative
from jobs.views.report.pictures import Overview, Picture, overview_of
from jobs.views.report.previews import Previews, Side, files_of
from jobs.views.report.sentence import sentence
from jobs.views.report.site import Site
from pipeline import Fetcher, open_source
from pipeline.errors import ErrorCode, ItemError, PipelineError, SettingsError
from pipeline.records.findings import by_action
from pipeline.records.manifest import Status, manifest_files, read_batches
from pipeline.records.summary import RUNS, OnProgress, read_record, run_folder, silent
from pipeline.records.verify import open_dataset
from pipeline.settings import RunSettings
from pipeline.storage.store import Store

TEMPLATES = Path(__file__).parent / "page"
FILES = ("page.css", "words.js", "pictures.js", "grid.js", "stage.js", "card.js", "main.js")
"""Files of a page that are the same for every run."""
ROWS_PER_CHUNK = 1_000
PREVIEWS = 10_000
"""Most pictures that have previews; the page shows the files of the others."""
MOST_ORIGINS = 16
"""Most hosts on the web that a page may show pictures of."""

_LISTED = ("source_uri", "source_key", "source_size", "kind", "container", "offset")
_OBJECT, _ADDRESS = "object", "address"


@dataclass(frozen=True)
class Run:
    """A run, as far as its page needs it.

    Attributes:
        id: of the run.
        record: of it, None until it has ended.
        under_way: whether it is.
        listed: rows of its listing, by address, of those pictures that have previews.
        source: its public address, None if it is not known.
    """

    id: str
    record: Mapping[str, Any] | None
    under_way: bool
    listed: Mapping[str, Mapping[str, Any]]
    source: str | None

    @property
    def settings(self) -> RunSettings:
        """Its settings, or the defaults."""
        limits = ("decode_memory_mib", "decode_seconds", "max_pixels", "private_addresses")
        stored = self.record["details"]["settings"] if self.record else {}
        return RunSettings.model_validate({name: stored[name] for name in limits if name in stored})


def write_report(
    dest: str,
    run_id: str | None = None,
    *,
    out: str | None = None,
    previews: int = PREVIEWS,
    on_progress: OnProgress = silent,
) -> str:
    """Write the page of a run. Returns its address.

    Args:
        dest: a destination.
        run_id: of a run, which may be under way; by default the newest that has handled an input, or else the
            newest.
        out: address of a folder for the page; by default it lies at the destination.
        previews: most pictures that get previews, those at most risk.
        on_progress: called as previews are made.

    Raises:
        SettingsError: there is no such run, or the page cannot lie at `out`.
        RunError, ItemError: the page cannot be written, or the destination cannot be read.
    """
    store = open_dataset(dest)
    chosen = _chosen(store, run_id)
    overview = overview_of(store, chosen)
    shown = overview.pictures[:previews]
    run = _run(store, chosen, {picture.row["source_uri"] for picture in overview.pictures})
    site = Site.at(out, run.source) if out else Site.of_run(store, chosen)
    links = Links(site.address, store.uri(), run)
    before = Side(_source_reader(run), links.shows_before)
    after = Side(partial(_stored, store), links.shows_after)
    made = Previews(site, run.settings)
    made.make(shown, before, after, on_progress)
    chunks: list[str] = []
    for number in range(0, len(overview.pictures), ROWS_PER_CHUNK):
        some = overview.pictures[number : number + ROWS_PER_CHUNK]
        rows = [{**picture.described(), **files_of(picture, made), **links.of(picture)} for picture in some]
        chunks.append(f"data-{len(chunks):03d}.js")
        site.write(chunks[-1], f"pictures.add({json.dumps(rows, separators=(',', ':'))});\n")
    for name in FILES:
        site.write(name, (TEMPLATES / name).read_bytes())
    refusals = {"before": before.refusal, "after": after.refusal}
    for name, text in _pages(run, store.uri(), overview, links, chunks, refusals).items():
        site.write(name, text)
    site.close()
    return site.uri("index.html")


class Links:
    """Where the page finds the files of pictures.

    Args:
        page: address of the page's folder.
        dest: address of the destination.
        run: that the page is about.

    Attributes:
        after, before: addresses that keys are relative to, None where the page reaches no files.
        origins: hosts on the web whose pictures the page shows.
    """

    def __init__(self, page: str, dest: str, run: Run) -> None:
        self._dest, self._listed = dest, run.listed
        self.after = relative(page, dest)
        roots = {_root(row) for row in run.listed.values() if row["kind"] == _OBJECT}
        self.before = relative(page, roots.pop()) if len(roots) == 1 else None
        on_the_web = {
            uri: host
            for uri, row in run.listed.items()
            if row["kind"] in (_OBJECT, _ADDRESS) and (host := origin(uri))
        }
        self.origins = sorted(set(on_the_web.values()))[:MOST_ORIGINS]
        self._on_the_web = {uri for uri, host in on_the_web.items() if host in self.origins}

    def of(self, picture: Picture) -> dict[str, Any]:
        """What the page is told of a picture's files: its key at the destination, its source's address."""
        uri = picture.row["source_uri"]
        told: dict[str, Any] = {}
        if (stored := self._stored_key(picture)) and stored != picture.row["source_key"]:
            told["out"] = stored
        if uri in self._on_the_web:
            told["source"] = uri
        elif self.before and self._listed.get(uri, {}).get("kind") == _OBJECT:
            told["source"] = "key"
        return told

    def shows_before(self, picture: Picture) -> bool:
        """Whether the page shows the file of a picture's source."""
        return "source" in self.of(picture) and is_shown(picture.row["source_key"])

    def shows_after(self, picture: Picture) -> bool:
        """Whether the page shows the file that is stored."""
        stored = self._stored_key(picture)
        return self.after is not None and stored is not None and is_shown(stored)

    def _stored_key(self, picture: Picture) -> str | None:
        uri = picture.row["output_uri"]
        return uri and uri.removeprefix(f"{self._dest}/")


def _chosen(store: Store, run_id: str | None) -> str:
    """The run that a page is about. Raises SettingsError."""
    runs = sorted({name.removesuffix(".json") for name in store.names(RUNS)})
    if run_id is not None:
        if run_id not in runs:
            raise SettingsError(f"{store.uri()} has no run {run_id}: `i2r history` lists them")
        return run_id
    if not runs:
        raise SettingsError(f"{store.uri()} has no run yet: one has begun, and has listed nothing so far")
    busy = (run for run in reversed(runs) if manifest_files(store, run))
    return next(busy, runs[-1])


def _run(store: Store, run_id: str, wanted: set[str]) -> Run:
    record = read_record(store, run_id)
    listed = _listed(store, run_id, wanted)
    source = record["details"]["source"] if record else None
    if source is None:
        roots = {_root(row) for row in listed.values() if row["kind"] == _OBJECT}
        source = roots.pop() if len(roots) == 1 else None
    return Run(run_id, record, record is None and is_under_way(store, run_id), listed, source)


def _listed(store: Store, run_id: str, wanted: set[str]) -> dict[str, Mapping[str, Any]]:
    """The wanted rows of a run's listing, by address."""
    folder, addresses = f"{run_folder(run_id)}/listing", pa.array(sorted(wanted), pa.string())
    return {
        row["source_uri"]: row
        for name in store.names(folder)
        for batch in read_batches(store, f"{folder}/{name}", _LISTED)
        for row in batch.filter(pc.is_in(batch["source_uri"], value_set=addresses)).to_pylist()
    }


def _root(row: Mapping[str, Any]) -> str:
    """The address that the key of an object is relative to."""
    return str(row["source_uri"]).removesuffix(f"/{row['source_key']}")


def _source_reader(run: Run) -> Any:
    """Reads the bytes of a picture's source."""
    fetcher, reason = None, "its source is not known until the run has ended"
    if run.source is not None:
        try:
            store = open_source(run.source, private=run.settings.private_addresses).store
            fetcher = Fetcher(store, run.settings.decode_memory_mib << 20)
        except PipelineError as error:
            reason = str(error)

    def read(picture: Picture) -> bytes:
        listed = run.listed.get(picture.row["source_uri"])
        if fetcher is None or listed is None:
            raise ItemError(ErrorCode.NOT_FOUND, reason if fetcher is None else "it is not in the listing")
        return fetcher.fetch(listed)

    return read


def _stored(store: Store, picture: Picture) -> bytes:
    return store.read(picture.row["output_uri"].removeprefix(f"{store.uri()}/"))


def _pages(
    run: Run,
    dest: str,
    overview: Overview,
    links: Links,
    chunks: Sequence[str],
    refusals: Mapping[str, str | None],
) -> dict[str, str]:
    """The HTML files of a page, by name. All text from the archive is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": True, "separators": (",", ":")}
    shared = {"glossary": glossary, "origins": links.origins, "dest": dest, "run": run}
    total = overview.counts.total()
    index = environment.get_template("index.html").render(
        **shared,
        sentence=sentence(run.record, overview.counts, under_way=run.under_way),
        findings=counts_in_words(by_action(overview.findings)),
        bar=_bar(overview.counts),
        errors=[
            (code, number, *glossary.FAILURES[ErrorCode(code)])
            for code, number in overview.errors.most_common()
        ],
        notices=_notices(overview, refusals),
        facts=_facts(run, dest),
        data={
            "total": len(overview.pictures),
            "chunks": list(chunks),
            "before": links.before,
            "after": links.after,
            "shown": SHOWN,
        },
        choices=[
            (action, [(what, f"{number:,}") for what, number in found.items()])
            for action, found in by_action(overview.findings).items()
        ],
        folders=[(folder, f"{number:,}") for folder, number in overview.folders],
        total=total,
    )
    return {"index.html": index, "glossary.html": environment.get_template("glossary.html").render(**shared)}


def _bar(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Parts of the bar: places and widths in thousandths, statuses without pictures left out."""
    total, start = sum(counts.values()), 0.0
    parts: list[dict[str, Any]] = []
    for status in Status:
        if number := counts.get(status, 0):
            width = 1000 * number / total
            parts.append(
                {
                    "status": status.value,
                    "number": f"{number:,}",
                    "x": round(start, 2),
                    "width": round(width, 2),
                }
            )
            start += width
    return parts


def _notices(overview: Overview, refusals: Mapping[str, str | None]) -> list[str]:
    """Sentences about what the page lacks."""
    found = []
    if (left := overview.counts.total() - len(overview.pictures)) > 0:
        found.append(f"{left:,} pictures at less risk are counted, and not shown: the manifest has them all.")
    names = {"before": "The source", "after": "The destination"}
    found += [
        f"{names[side]} refuses to be read, so its previews are missing: {why}"
        for side, why in refusals.items()
        if why
    ]
    return found


def _facts(run: Run, dest: str) -> dict[str, str]:
    facts = {"run": run.id, "from": run.source or "not known until the run has ended", "to": dest}
    if run.record:
        details = run.record["details"]
        facts |= {
            "prior": details["prior"],
            "took": duration(run.record["seconds"]),
            "finished": details["finished_at"][:16].replace("T", " ") + " UTC",
        }
        if run.record["stopped"]:
            facts["stopped early"] = run.record["stopped"]
    return facts

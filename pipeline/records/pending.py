"""Finds the pending inputs of a run: an anti-join of its listing with the newest rows of the manifest.

Resuming after a crash, restoring only new files and retrying only failed ones are the same anti-join with
different predicates. It runs before any image is fetched, in memory that does not grow with the archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from tempfile import TemporaryFile

import numpy as np
import pyarrow as pa

from pipeline.errors import HOPELESS, OF_THE_WORLD, ItemError
from pipeline.records.database import create_table, manifest_database, query
from pipeline.records.intents import announced
from pipeline.records.keys import output_key
from pipeline.records.listing import ROWS_PER_BATCH, Listing
from pipeline.records.manifest import ManifestFile
from pipeline.settings import Only, RunSettings
from pipeline.sources.walk import Source
from pipeline.storage.store import PRIVATE, Store

_COLUMNS = ("source_version", "settings_sha256", "status", "error_code", "output_uri", "output_size")


def _listed(values: Iterable[str]) -> str:
    return f"({', '.join(map(repr, sorted(map(str, values))))})"


_KEPT = f"""
md5_number_lower(source_version) AS version, md5_number_lower(settings_sha256) AS settings,
status = 'failed' AS failed, failed AND error_code IN {_listed(OF_THE_WORLD)} AS blameless,
failed AND error_code IN {_listed(HOPELESS)} AS hopeless, md5_number(output_uri) AS output,
output_size AS size, output_uri IS NOT NULL AND starts_with(output_uri, '{{}}') AS here
"""

_INPUT = pa.schema(
    [(name, pa.string()) for name in ("source_uri", "source_version", "output_uri", "source_key")]
)
_KEPT_OF_INPUT = """
md5_number(source_uri) AS source, md5_number_lower(source_version) AS version,
md5_number(output_uri) AS output, ends_with(output_uri, '/' || source_key) AS same_name,
md5_number_lower(source_key) AS key
"""

_OUTPUTS = """
CREATE TABLE outputs AS
SELECT output, source, false AS newest FROM rows WHERE output IS NOT NULL
UNION ALL SELECT output, source, true FROM newest WHERE output IS NOT NULL
UNION ALL SELECT md5_number(unnest($announced::VARCHAR[])), NULL, false
"""
"""Outputs that rows or notes of runs mention: if they exist, we wrote them."""

_STORED = pa.schema([("uri", pa.string()), ("size", pa.int64())])
_KEPT_OF_STORED = "md5_number(uri) AS output, size"
_LOST = """
CREATE TABLE lost AS
SELECT newest.source FROM newest LEFT JOIN stored ON newest.output = stored.output
WHERE
    newest.here AND NOT newest.failed
    AND (stored.output IS NULL OR stored.size >= 0 AND stored.size <> newest.size)
"""
"""Sources whose output is missing, or has another size than was recorded; older rows do not hold the size.
Of a destination that has moved nothing is known: its rows name the old place."""

_KINDS = """
CREATE TABLE kinds AS
SELECT
    inputs.rowid AS number,
    CASE
        WHEN newest.epoch = $epoch THEN 'handled'
        WHEN inputs.source IN (SELECT md5_number(unnest($redo::VARCHAR[]))) THEN 'outdated'
        WHEN $redo IS NOT NULL THEN 'done'
        WHEN newest.source IS NULL THEN 'new'
        WHEN newest.version IS DISTINCT FROM inputs.version THEN 'changed'
        WHEN newest.settings IS DISTINCT FROM md5_number_lower($settings) THEN 'outdated'
        WHEN newest.blameless THEN 'again'
        WHEN newest.hopeless THEN 'hopeless'
        WHEN newest.failed THEN 'failed'
        WHEN inputs.source IN (FROM lost) THEN 'lost'
        ELSE 'done'
    END AS kind,
    newest.settings AS settings,
    newest.source IS NOT NULL AND NOT newest.failed AS finished,
    coalesce(newest.failed, false) AS last_failed,
    last_failed AND newest.version IS NOT DISTINCT FROM inputs.version AS failed_before,
    $sample IS NULL OR inputs.source / 2::DOUBLE ** 128 < $sample AS sampled,
    row_number() OVER (PARTITION BY inputs.source ORDER BY inputs.rowid) > 1 AS repeated
FROM inputs LEFT JOIN newest ON inputs.source = newest.source
"""
"""Kinds of inputs by their newest rows; `handled`: by this very run; of what failed, `again`: no image is to
blame, `hopeless`: a new attempt cannot change it. `finished` and `last_failed`: the newest row is no failure,
or is one, whatever its version and settings, which `settings` numbers. `repeated`: an earlier input of the
listing has its address."""

_PLACES = """
CREATE TABLE found AS
SELECT
    inputs.rowid AS number, inputs.output, inputs.same_name, inputs.key,
    count(outputs.output) > 0 AS owned,
    coalesce(bool_or(outputs.source = inputs.source), false) AS wrote,
    coalesce(bool_or(newest) AND NOT bool_or(newest AND outputs.source = inputs.source), false) AS taken
FROM inputs LEFT JOIN outputs ON inputs.output = outputs.output
GROUP BY ALL;
CREATE TABLE places AS
SELECT
    number, owned,
    output IS NOT NULL AND (
        taken OR row_number() OVER (
            PARTITION BY output ORDER BY wrote DESC, same_name DESC, key, number
        ) > 1
    ) AS collides
FROM found
"""
"""`taken`: the object there is the newest of other sources, which need not be listed. `wrote`: an object of
this source was there. Of the sources of one output the one of its name keeps it, or else a digest of their
keys decides, which is the same on every kind of store. Each statement joins once, since everything in it
shares the memory."""

_TALLY = """
SELECT
    count(*) FILTER (pending),
    count(*) FILTER (kind IN ('done', 'failed', 'hopeless') AND NOT pending AND NOT repeated),
    count(*) FILTER (kind IN ('failed', 'hopeless') AND NOT pending AND NOT repeated),
    count(*) FILTER (
        kind IN ('new', 'changed', 'outdated', 'again', 'lost') AND NOT pending AND NOT repeated
    ),
    count(*) FILTER (repeated),
    count(*) FILTER (finished AND NOT repeated),
    count(*) FILTER (finished AND kind = 'changed' AND pending),
    count(*) FILTER (kind = 'lost' AND pending)
FROM flags
"""

_OUTDATED = """
SELECT settings, count(*) FROM flags WHERE finished AND kind = 'outdated' AND pending GROUP BY settings
"""

_PENDING = """
SELECT number, (1 + 2 * owned::INT + 4 * collides::INT + 8 * failed_before::INT)::UTINYINT AS flags
FROM flags JOIN places USING (number) WHERE pending
"""


@dataclass(frozen=True)
class Wanted:
    """The predicate of the anti-join: which inputs count as done, and which are wanted.

    Attributes:
        settings_sha256: digest of the settings that outputs should have.
        epoch: of this run, whose own rows are final whatever their status; None before it has one.
        only, retry_failed, sample: as in `RunSettings`.
        redo: addresses of sources that are wanted whatever the manifest says, and no others; or None.
    """

    settings_sha256: str
    epoch: int | None = None
    only: Only | None = None
    retry_failed: bool = False
    sample: float | None = None
    redo: frozenset[str] | None = None

    @classmethod
    def of(
        cls,
        settings: RunSettings,
        settings_sha256: str,
        epoch: int | None = None,
        redo: frozenset[str] | None = None,
    ) -> Wanted:
        """The predicate of a run's settings."""
        return cls(settings_sha256, epoch, settings.only, settings.retry_failed, settings.sample, redo)

    def condition(self) -> str:
        """The SQL condition of pending inputs."""
        kinds = {"new", "changed", "outdated", "again", "lost"}
        if self.redo is not None:
            kinds = {"outdated"}
        elif self.only is not None:
            kinds &= {self.only.value}
        elif self.retry_failed:
            kinds |= {"failed"}
        wanted = f"kind IN {_listed(kinds)}" if kinds else "false"
        if self.only is Only.FAILED:
            wanted = f"({wanted} OR last_failed AND kind <> 'handled')"
        elif self.only and self.retry_failed:
            wanted = f"({wanted} OR last_failed AND kind NOT IN ('handled', 'hopeless'))"
        return f"{wanted} AND sampled AND NOT repeated"


@dataclass
class Tally:
    """Counts of an anti-join, over every input of the listing.

    Attributes:
        pending: inputs that this run handles.
        carried: inputs that an earlier run has done.
        carried_failed: those of `carried` that are recorded as failed.
        deferred: inputs that are not done, and not wanted now.
        repeated: inputs with the same address as an earlier input of the listing, left out for it.
        finished: inputs whose newest row is no failure, pending or not.
        changed: those of `finished` that are pending, for their source changed; a run's limit aside.
        lost: those of `finished` that are pending, for their output is missing or has another size; a run's
            limit aside.
        outdated: number of those of `finished` that are pending, for they were made with other settings, by
            `md5_number_lower` of the digest of these; a run's limit aside.
    """

    pending: int = 0
    carried: int = 0
    carried_failed: int = 0
    deferred: int = 0
    repeated: int = 0
    finished: int = 0
    changed: int = 0
    lost: int = 0
    outdated: dict[int | None, int] = field(default_factory=dict)


def pending_batches(
    store: Store,
    listing: Listing,
    manifest: Sequence[ManifestFile],
    wanted: Wanted,
    *,
    tally: Tally,
    extension: str | None,
    check_outputs: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Yield the pending inputs: rows of the listing, with three more columns.

    `owned`: an object that we wrote is at the output's key. `collides`: another input, of this listing or of
    an earlier one, has the same output key; the input whose object is there keeps the key. `failed_before`:
    its newest row is a failure of this very version.

    Args:
        store: the destination.
        listing: of the run.
        manifest: parts to join with.
        wanted: the predicate.
        tally: filled before the first batch.
        extension: of the outputs if the format is set, or None.
        check_outputs: whether finished inputs are pending whose output is missing or has another size.
    """
    kept = _KEPT.format(f"{store.uri()}/".replace("'", "''"))
    with manifest_database(store, manifest, _COLUMNS, kept) as database, TemporaryFile() as file:
        create_table(database, "inputs", _INPUT, _inputs(listing, store.uri(), extension), _KEPT_OF_INPUT)
        stored = _stored(store) if check_outputs and manifest else iter(())
        create_table(database, "stored", _STORED, stored, _KEPT_OF_STORED)
        database.execute(_LOST if check_outputs else "CREATE TABLE lost AS SELECT source FROM newest LIMIT 0")
        notes = [store.uri(key) for keys in announced(store) for key in keys]
        database.execute(_OUTPUTS, {"announced": notes})
        parameters = {
            "epoch": wanted.epoch,
            "redo": None if wanted.redo is None else list(wanted.redo),
            "settings": wanted.settings_sha256,
            "sample": wanted.sample,
        }
        database.execute(_KINDS, parameters)
        database.execute(_PLACES)
        database.execute(f"CREATE VIEW flags AS SELECT *, {wanted.condition()} AS pending FROM kinds")
        [counts] = database.sql(_TALLY).fetchall()
        tally.pending, tally.carried, tally.carried_failed, tally.deferred, tally.repeated = counts[:5]
        tally.finished, tally.changed, tally.lost = counts[5:]
        tally.outdated = dict(database.sql(_OUTDATED).fetchall())
        flags = np.memmap(file, np.uint8, "w+", shape=max(listing.count, 1))
        for batch in query(database, _PENDING):
            flags[batch["number"].to_numpy()] = batch["flags"].to_numpy()
        start = 0
        for batch in listing.batches():
            chosen = np.asarray(flags[start : start + batch.num_rows])
            start += batch.num_rows
            if chosen.any():
                batch = batch.append_column("owned", pa.array(chosen & 2 != 0))
                batch = batch.append_column("collides", pa.array(chosen & 4 != 0))
                batch = batch.append_column("failed_before", pa.array(chosen & 8 != 0))
                yield batch.filter(pa.array(chosen != 0))


def _stored(store: Store) -> Iterator[pa.RecordBatch]:
    """Yield address and size of every object at a destination but our own records."""
    objects = (
        found for found in Source("", store, None).objects() if not found.key.startswith(f"{PRIVATE}/")
    )
    while some := list(islice(objects, ROWS_PER_BATCH)):
        uris = [found.uri.encode(errors="backslashreplace").decode() for found in some]
        columns = [pa.array(uris), pa.array([found.size for found in some])]
        yield pa.record_batch(columns, schema=_STORED)


def _inputs(listing: Listing, prefix: str, extension: str | None) -> Iterator[pa.RecordBatch]:
    """Yield address, version, address of the output, null if its key is refused, and key of every input."""
    for batch in listing.batches():
        keys = (_output(key, extension) for key in batch["source_key"].to_pylist())
        places = pa.array([key and f"{prefix}/{key}" for key in keys], pa.string())
        columns = [batch["source_uri"], batch["source_version"], places, batch["source_key"]]
        yield pa.record_batch(columns, schema=_INPUT)


def _output(key: str, extension: str | None) -> str | None:
    """The key of an input's output, or None if its own is refused."""
    try:
        return output_key(key, extension)
    except ItemError:
        return None

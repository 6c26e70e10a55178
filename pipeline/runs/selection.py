"""The selection of a run: the inputs of its listing that are not done, up to its limit."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records.causes import find_outdated
from pipeline.records.intents import DELETES
from pipeline.records.listing import ROWS_PER_BATCH, Listing
from pipeline.records.manifest import manifest_files, to_parquet
from pipeline.records.outdated import Outdated
from pipeline.records.pending import Tally, Wanted, pending_batches
from pipeline.records.sizes import PixelSizes
from pipeline.records.summary import RUNS, read_records, run_folder
from pipeline.settings import RunSettings
from pipeline.sources.containers import Kind
from pipeline.storage.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pending:
    """Inputs to handle.

    Attributes:
        parts: keys of the Parquet parts that hold them.
        tally: counts of all inputs.
        pixels: bytes of the pixels of one that is larger than most of them.
        in_tables: whether some are rows of tables.
    """

    parts: list[str]
    tally: Tally
    pixels: int
    in_tables: bool


@dataclass(frozen=True)
class Selection:
    """Selects the pending inputs of a run.

    Attributes:
        dest: destination of the run, whose manifest says what is done.
        run_id: of the run.
        settings: of the run.
        digest: of the settings that change the bytes of outputs.
        extension: of the outputs if the format is set, or None.
        redo: addresses of sources to restore again, and no others; None to follow the manifest.
    """

    dest: Store
    run_id: str
    settings: RunSettings
    digest: str
    extension: str | None
    redo: frozenset[str] | None = None

    def count(self, listing: Listing) -> Tally:
        """Count the pending inputs; writes nothing."""
        tally = Tally()
        for _ in self._batches(listing, tally, None):
            pass
        self._warn(tally)
        return tally

    def outdated(self, tally: Tally, decisive: Mapping[str, Any]) -> Outdated:
        """The finished inputs that are pending again, without those that this run was told to redo.

        Args:
            tally: of this selection.
            decisive: what decides the bytes of this run's outputs, see `RunSettings.decisive`.
        """
        if self.redo is not None:
            return Outdated(tally.finished)
        records = read_records(self.dest) if tally.outdated else ()
        return find_outdated(self.dest, tally, decisive, records, self.settings.max_redo)

    def store(self, listing: Listing, epoch: int, attempt: int) -> Pending:
        """Store the pending inputs: those that neither an earlier run nor a row of this run has done."""
        tally, parts, sizes, in_tables = Tally(), [], PixelSizes(), False
        for number, batch in enumerate(with_whole_row_groups(self._batches(listing, tally, epoch))):
            part = f"{run_folder(self.run_id)}/pending/{attempt}-{number:06d}.parquet"
            self.dest.write(part, to_parquet(pa.Table.from_batches([batch])))
            parts.append(part)
            sizes.add(batch)
            in_tables = in_tables or Kind.TABLE in batch["kind"].unique().to_pylist()
        if attempt == 1:
            self._warn(tally)
        return Pending(parts, tally, sizes.large(), in_tables)

    def forget(self) -> None:
        """Remove the stored pending inputs of this run and of killed runs: none of them has a record."""
        names = set(self.dest.names(RUNS))
        ended = {name.removesuffix(".json") for name in names if name.endswith(".json")}
        with ThreadPoolExecutor(DELETES) as threads:
            folders = [f"{run_folder(name)}/pending" for name in names - ended if not name.endswith(".json")]
            list(threads.map(self.dest.delete_folder, folders))

    def _batches(self, listing: Listing, tally: Tally, epoch: int | None) -> Iterator[pa.RecordBatch]:
        """Pending inputs up to the limit; counts all inputs in the tally."""
        left = self.settings.limit
        wanted = Wanted.of(self.settings, self.digest, epoch, self.redo)
        for batch in pending_batches(
            self.dest,
            listing,
            manifest_files(self.dest),
            wanted,
            tally=tally,
            extension=self.extension,
            check_outputs=self.settings.check_outputs and self.redo is None,
        ):
            kept = batch if left is None else batch.slice(0, left)
            if left is not None:
                left -= kept.num_rows
                tally.pending -= batch.num_rows - kept.num_rows
                tally.deferred += batch.num_rows - kept.num_rows
            if kept.num_rows:
                yield kept

    def _warn(self, tally: Tally) -> None:
        """Log how many inputs are left out because an earlier input has the same address."""
        if tally.repeated:
            logger.warning(
                f"{tally.repeated} inputs are left out, for each has the address of another one: "
                "list web addresses that differ in more than their query",
                extra={"run_id": self.run_id},
            )


def with_whole_row_groups(
    batches: Iterator[pa.RecordBatch], most: int = ROWS_PER_BATCH
) -> Iterator[pa.RecordBatch]:
    """Move rows of a table whose row group goes on in the next batch into that batch, up to `most` of them.

    One process reads a part of the pending inputs: so it reads a row group once, or once for so many rows.
    """
    held: pa.RecordBatch | None = None
    for batch in batches:
        if held is not None:
            batch = pa.concat_batches([held, batch])
        cut = _start_of_last_row_group(batch)
        cut = cut if batch.num_rows - cut < most else batch.num_rows
        held = batch.slice(cut) if cut < batch.num_rows else None
        if cut:
            yield batch.slice(0, cut)
    if held is not None:
        yield held


def _start_of_last_row_group(batch: pa.RecordBatch) -> int:
    """Number of rows before those of the row group of the last row; of all rows if that is in no table."""
    kind, container, group = (batch[name] for name in ("kind", "container", "row_group"))
    if kind[-1].as_py() != Kind.TABLE:
        return batch.num_rows
    same = pc.and_(pc.equal(container, container[-1]), pc.equal(group, group[-1]))
    others = np.flatnonzero(~same.to_numpy(zero_copy_only=False))
    return int(others[-1]) + 1 if len(others) else 0

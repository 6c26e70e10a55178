"""The listing of a run: every input of its source, in Parquet parts stored with the run."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.codecs.codec import SUPPORTED_EXTENSIONS
from pipeline.records.manifest import read_batches
from pipeline.settings import RunSettings
from pipeline.sources.containers import Found, Kind
from pipeline.sources.masks import with_masks
from pipeline.sources.walk import Source, matches
from pipeline.storage.store import Store

ROWS_PER_BATCH = 5_000
BATCHES_PER_PART = 10
MAX_EXTENSIONS = 200
"""Distinct extensions by which ignored objects are counted; any more are counted as `OTHER`."""
OTHER = "other"
FOLDER_LINK = "(link to a folder)"
APPLE_DOUBLE = "._*"
"""Files of macOS that keep what a foreign disk or archive cannot, each named after the file beside it."""

SOURCE_COLUMNS = ("source_uri", "source_key", "source_size", "source_version")
"""Columns that a row of the manifest copies from the listing."""

NAMED = {Kind.TABLE, Kind.ADDRESS, Kind.SIGNED, Kind.BROKEN}
"""Kinds that are inputs whatever their extension."""

SCHEMA = pa.schema(
    [
        ("source_uri", pa.string()),
        ("source_key", pa.string()),
        ("source_size", pa.int64()),
        ("source_version", pa.string()),
        ("kind", pa.string()),
        ("container", pa.string()),
        ("offset", pa.int64()),
        ("row_group", pa.int64()),
    ]
)


class Listing:
    """The stored listing of one run.

    Args:
        store: where the listing is stored.
        folder: key of its folder.

    Attributes:
        store: where the listing is stored.
        count: number of inputs.
        parts: key and row count of each stored part.
        ignored: number of objects that are no inputs, by extension; links to folders, which are not
            followed, are counted under `FOLDER_LINK`.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self._folder = store, folder
        self.parts: list[tuple[str, int]] = []
        self.count = 0
        self.ignored: Counter[str] = Counter()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the inputs, in the order in which they were listed."""
        for part, _ in self.parts:
            yield from read_batches(self.store, part)

    def fill(
        self,
        source: Source,
        settings: RunSettings,
        masks: Source | None = None,
        must_stop: Callable[[], object] = lambda: None,
    ) -> None:
        """List a source, with the masks of its images if there are any; stores parts as it goes.

        It calls `must_stop` every `ROWS_PER_BATCH` objects, and ends the listing early if it returns a true
        value.
        """
        batches = self._listed(source, settings, masks, must_stop)
        for first in batches:
            self.store_part(chain([first], islice(batches, BATCHES_PER_PART - 1)))

    def _listed(
        self,
        source: Source,
        settings: RunSettings,
        masks: Source | None,
        must_stop: Callable[[], object],
    ) -> Iterator[pa.RecordBatch]:
        """Yield the inputs of a source in batches, and count objects that are no inputs."""
        rows: list[Found] = []
        # With pruning, a container that cannot be read must not make its members look deleted.
        inputs = source.inputs(strict=settings.prune)
        for number, found in enumerate(with_masks(inputs, masks) if masks else inputs):
            if number % ROWS_PER_BATCH == 0 and must_stop():
                break
            if found.kind is Kind.LINK:
                self.ignored[FOLDER_LINK] += 1
                continue
            named = source.pattern == found.key or found.kind in NAMED
            if not is_input(found.key, settings.include, settings.exclude, named=named):
                self._ignore(found.key)
                continue
            rows.append(found)
            if len(rows) == ROWS_PER_BATCH:
                yield to_batch(rows)
                rows = []
        if rows:
            yield to_batch(rows)

    def store_part(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Append inputs, in batches of `SCHEMA`, as one part. A batch is freed once it is compressed."""
        part, rows = f"{self._folder}/part-{len(self.parts):06d}.parquet", 0
        stream = io.BytesIO()
        with pq.ParquetWriter(stream, SCHEMA, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
        self.store.write(part, stream.getvalue())
        self.parts.append((part, rows))
        self.count += rows

    def _ignore(self, key: str) -> None:
        extension = APPLE_DOUBLE if _is_apple_double(key) else PurePosixPath(key).suffix.lower() or "(none)"
        known = extension in self.ignored or len(self.ignored) < MAX_EXTENSIONS
        self.ignored[_text(extension) if known else OTHER] += 1


def to_batch(rows: Sequence[Found]) -> pa.RecordBatch:
    """Convert inputs to a batch of `SCHEMA`, which takes a fifth of their memory."""
    columns = [
        [_text(row.uri) for row in rows],
        [_text(row.key) for row in rows],
        [row.size for row in rows],
        [row.version for row in rows],
        [row.kind.value for row in rows],
        [_text(row.container) for row in rows],
        [row.offset for row in rows],
        [row.row_group for row in rows],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=SCHEMA)


def is_input(key: str, include: Sequence[str], exclude: Sequence[str], *, named: bool = False) -> bool:
    """Whether an object is an input: not excluded, no companion of macOS, and with a supported extension or
    `named`.

    Args:
        key: of the object.
        include: globs; if there are any, an input is an object that matches one of them.
        exclude: globs of objects that are no inputs.
        named: whether the source names this very object.
    """
    if any(matches(key, pattern) for pattern in exclude) or (_is_apple_double(key) and not named):
        return False
    if include:
        return any(matches(key, pattern) for pattern in include)
    return named or PurePosixPath(key).suffix.lower() in SUPPORTED_EXTENSIONS


def _is_apple_double(key: str) -> bool:
    return PurePosixPath(key).name.startswith("._")


def _text(name: str) -> str:
    """A name as UTF-8. Invalid bytes become backslash escapes, so that the key is refused later."""
    return name.encode("utf-8", "backslashreplace").decode()

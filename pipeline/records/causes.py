"""Why finished inputs are pending again.

Their rows hold the digest of what made them, and the records of runs say what is behind a digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.records.database import manifest_database
from pipeline.records.manifest import manifest_files
from pipeline.records.outdated import Cause, Outdated
from pipeline.records.pending import Tally
from pipeline.storage.store import Store

SOURCE_CHANGED = "their source changed"
NO_RECORD = "made by runs that left no record"
_NAMES = {
    "method_version": "version of the method",
    "prior_sha256": "weights or calibration of the prior",
}
_SHOWN = 12
"""Characters of a digest that are shown."""
_COLUMNS = ("settings_sha256", "status", "width", "height", "timings")
_COSTS = """
SELECT
    md5_number_lower(settings_sha256), settings_sha256, grouping(settings_sha256) = 1,
    coalesce(avg(width::DOUBLE * height / 1e6), 0),
    avg(coalesce(timings.decode, 0) + timings.restore + coalesce(timings.encode, 0))
FROM newest WHERE status <> 'failed' GROUP BY GROUPING SETS ((settings_sha256), ())
"""
"""Mean megapixels of an input and seconds of a model, by what made it and over all."""


def find_outdated(
    store: Store,
    tally: Tally,
    decisive: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    max_redo: float,
) -> Outdated:
    """Find out why finished inputs are pending again, and at what cost.

    Args:
        store: the destination.
        tally: of the inputs.
        decisive: what decides the bytes of outputs now, see `RunSettings.decisive`.
        records: of the destination's runs.
        max_redo: as in `RunSettings`.
    """
    if not tally.changed and not tally.outdated:
        return Outdated(tally.finished, lost=tally.lost)
    known = {record["settings_sha256"]: decisive_of(record) for record in records}
    redone, changed = [], None
    with manifest_database(store, manifest_files(store), _COLUMNS) as database:
        for number, digest, overall, megapixels, seconds in database.sql(_COSTS).fetchall():
            inputs = tally.changed if overall else tally.outdated.get(number, 0)
            why = SOURCE_CHANGED if overall else difference(known.get(digest), decisive)
            cause = Cause(why, inputs, inputs * megapixels, seconds and inputs * seconds)
            if inputs and overall:
                changed = cause
            elif inputs:
                redone.append(cause)
    causes = sorted(redone, key=lambda cause: -cause.inputs)
    return Outdated(tally.finished, changed, causes, max_redo, tally.lost)


def decisive_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """What decided the bytes of a run's outputs, from its record; version 1 of the method is in none."""
    details = record["details"]
    settings = {name: details["settings"][name] for name in ("method", "format", "threads")}
    version = details.get("method_version", 1)
    return {"method_version": version, "prior_sha256": details["prior_sha256"], **settings}


def difference(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    """What differs between two of what decides the bytes of outputs, in words; `old` is None if unknown."""
    if old is None:
        return NO_RECORD
    before, after = dict(_flat(old)), dict(_flat(new))
    return ", ".join(
        f"{_NAMES.get(name, name)} {before.get(name, 'unset')} -> {after.get(name, 'unset')}"
        for name in {**before, **after}
        if before.get(name, "unset") != after.get(name, "unset")
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values as text."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)[:_SHOWN] if name == "prior_sha256" else str(value)

"""What is still to be done: the anti-join against the law that the newest row decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from older_manifests import as_version_1

from pipeline.records import database
from pipeline.records.listing import Listing, to_batch
from pipeline.records.manifest import folder_of, manifest_files, to_parquet, to_table
from pipeline.records.pending import Tally, Wanted, pending_batches
from pipeline.settings import Only
from pipeline.sources.containers import Found
from pipeline.storage.store import Store, open_store

NAMES = [f"{letter}.png" for letter in "abcdef"]


def listed(store: Store, source: Store, found: list[tuple[str, str]]) -> Listing:
    """A stored listing of (key, version)."""
    listing = Listing(store, "_i2r/runs/r/listing")
    if found:
        listing.store_part(
            [to_batch([Found(key, source.path(key), 1, version, source.uri(key)) for key, version in found])]
        )
    return listing


def record(store: Store, name: str, rows: list[dict[str, Any]], *, older: bool = False) -> None:
    table = as_version_1(to_table(rows)) if older else to_table(rows)
    store.write(f"{folder_of(name)}/part-000000.parquet", to_parquet(table))


def pending(
    store: Store, listing: Listing, wanted: Wanted, tally: Tally | None = None
) -> list[dict[str, Any]]:
    batches = pending_batches(
        store, listing, manifest_files(store), wanted, tally=tally or Tally(), extension=None
    )
    return [row for batch in batches for row in batch.to_pylist()]


ROW = st.fixed_dictionaries(
    {
        "key": st.sampled_from(NAMES),
        "version": st.sampled_from("12"),
        "settings": st.sampled_from("AB"),
        "code": st.sampled_from([None, "numerical", "storage", "truncated"]),
        "epoch": st.integers(1, 3),
        "attempts": st.integers(1, 2),
        "second": st.integers(0, 3),
    }
)


@given(
    rows=st.lists(
        ROW, max_size=12, unique_by=lambda row: (row["key"], row["epoch"], row["attempts"], row["second"])
    ),
    versions=st.dictionaries(st.sampled_from(NAMES), st.sampled_from("12")),
    wanted=st.builds(
        Wanted,
        st.sampled_from("AB"),
        st.sampled_from([None, 3]),
        st.sampled_from([None, *Only]),
        st.booleans(),
    ),
)
def test_the_newest_row_decides(rows: list[dict[str, Any]], versions: dict[str, str], wanted: Wanted) -> None:
    with TemporaryDirectory() as folder:
        source, dest = open_store(f"{folder}/source"), open_store(f"{folder}/dest")
        start = datetime(2026, 1, 1, tzinfo=UTC)
        for number, row in enumerate(rows):
            record(
                dest,
                str(number % 2) + str(number),
                [
                    {
                        "source_uri": source.uri(row["key"]),
                        "source_version": row["version"],
                        "settings_sha256": row["settings"],
                        "status": "failed" if row["code"] else "restored",
                        "error_code": row["code"],
                        "epoch": row["epoch"],
                        "attempts": row["attempts"],
                        "finished_at": start + timedelta(seconds=row["second"]),
                        "output_uri": None if row["code"] else dest.uri(row["key"]),
                    }
                ],
                older=number % 3 == 0,
            )
        expected = {key for key, version in versions.items() if is_wanted(key, version, rows, wanted)}
        tally = Tally()
        found = pending(dest, listed(dest, source, list(versions.items())), wanted, tally)
        assert {row["source_key"] for row in found} == expected
        assert tally.pending == len(expected)
        stored = {row["key"] for row in rows if not row["code"]}
        assert all(row["owned"] == (row["source_key"] in stored) for row in found)
        assert {row["source_key"] for row in found if row["failed_before"]} == {
            key
            for key in expected
            if (newest := newest_of(key, rows)) and newest["code"] and newest["version"] == versions[key]
        }


def newest_of(key: str, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The newest row of a key, or None."""
    mine = [row for row in rows if row["key"] == key]
    return max(mine, key=lambda row: (row["epoch"], row["attempts"], row["second"]), default=None)


def is_wanted(key: str, version: str, rows: list[dict[str, Any]], wanted: Wanted) -> bool:
    """The law, said plainly."""
    newest = newest_of(key, rows)
    if newest is None:
        return wanted.only in (None, Only.NEW)
    code = newest["code"]
    if newest["epoch"] == wanted.epoch:
        return False
    if code and wanted.only is Only.FAILED:
        return True
    same = newest["version"] == version and newest["settings"] == wanted.settings_sha256
    if code and wanted.only and wanted.retry_failed and not (code == "truncated" and same):
        return True
    if newest["version"] != version:
        return wanted.only in (None, Only.CHANGED)
    if wanted.only is not None:
        return False
    if newest["settings"] != wanted.settings_sha256 or code == "storage":
        return True
    return code == "numerical" and wanted.retry_failed


@pytest.mark.parametrize(("only", "keys"), [(Only.NEW, "fn"), (Only.CHANGED, "cf"), (Only.FAILED, "f")])
def test_what_failed_is_tried_again_beside_what_a_run_is_restricted_to(
    tmp_path: Path, only: Only, keys: str
) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    common = {
        "settings_sha256": "A",
        "epoch": 1,
        "attempts": 1,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    known = [("f", "1", "failed"), ("c", "0", "restored"), ("d", "1", "restored")]
    record(
        dest,
        "first",
        [
            common | {"source_uri": source.uri(key), "source_version": version, "status": status}
            for key, version, status in known
        ],
    )
    listing = listed(dest, source, [(key, "1") for key in "cdfn"])
    tally = Tally()
    found = pending(dest, listing, Wanted("A", only=only, retry_failed=True), tally)
    assert "".join(row["source_key"] for row in found) == keys
    assert (tally.carried, tally.carried_failed) == (1, 0)


def test_an_object_listed_twice_is_one_input(tmp_path: Path) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    listing, tally = listed(dest, source, [(f"{name}.png", "1") for name in "abaa"]), Tally()
    found = pending(dest, listing, Wanted("A"), tally)
    assert [row["source_key"] for row in found] == ["a.png", "b.png"]
    assert tally == Tally(pending=2, repeated=2)


def test_finished_inputs_that_are_pending_again_are_counted_by_why(tmp_path: Path) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    times = {"epoch": 1, "attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
    known = [
        ("same", "1", "A", "restored"),
        ("changed", "0", "B", "unchanged"),
        ("older", "1", "B", "rejected"),
        ("oldest", "1", "C", "restored"),
        ("failed", "1", "B", "failed"),
    ]
    rows = [
        {"source_uri": source.uri(key), "source_version": version, "settings_sha256": made, "status": status}
        for key, version, made, status in known
    ]
    record(dest, "first", [row | times for row in rows])
    keys = [key for key, *_ in known]
    listing, tally = listed(dest, source, [(key, "1") for key in [*keys, "new", "older"]]), Tally()
    assert len(pending(dest, listing, Wanted("A"), tally)) == 5
    assert (tally.finished, tally.changed, sorted(tally.outdated.values())) == (4, 1, [1, 1])
    pending(dest, listing, Wanted("A", only=Only.NEW), tally)
    assert (tally.finished, tally.changed, tally.outdated) == (4, 0, {})
    pending(dest, listing, Wanted("B"), tally)
    assert (tally.changed, sorted(tally.outdated.values())) == (1, [1, 1])


def test_two_sources_of_one_output_collide(tmp_path: Path) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    listing = listed(dest, source, [("a.png", "1"), ("a.jpg", "1"), ("b.jpg", "1")])
    batches = pending_batches(dest, listing, [], Wanted("A"), tally=Tally(), extension=".webp")
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert sorted(row["source_key"][0] for row in rows if row["collides"]) == ["a"]


@pytest.mark.parametrize("scheme", ["file", "memory"])
@pytest.mark.parametrize(("extension", "loser"), [(".png", "a.jpg"), (".webp", "a.jpg")])
def test_which_of_two_sources_keeps_the_output_does_not_depend_on_the_store(
    tmp_path: Path, scheme: str, extension: str, loser: str
) -> None:
    source, dest = open_store(f"{scheme}://{tmp_path}/s"), open_store(str(tmp_path / "d"))
    for names in (["a.jpg", "a.png"], ["a.png", "a.jpg"]):
        listing = listed(dest, source, [(name, "1") for name in names])
        batches = pending_batches(dest, listing, [], Wanted("A"), tally=Tally(), extension=extension)
        rows = [row for batch in batches for row in batch.to_pylist()]
        assert [row["source_key"] for row in rows if row["collides"]] == [loser]


def test_a_sample_is_always_the_same_and_of_its_share(tmp_path: Path) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    listing = listed(dest, source, [(f"{number}.png", "1") for number in range(2000)])
    first = {row["source_key"] for row in pending(dest, listing, Wanted("A", sample=0.25))}
    assert 400 < len(first) < 600
    assert {row["source_key"] for row in pending(dest, listing, Wanted("A", sample=0.5))} > first
    assert pending(dest, listing, Wanted("A", sample=0.0)) == []


@pytest.mark.parametrize("freed", [False, True])
def test_the_output_of_a_source_that_is_not_listed_is_not_taken(tmp_path: Path, freed: bool) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    times = {"attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
    other = {"source_uri": "s3://elsewhere/a.png", "source_version": "1", "settings_sha256": "A"}
    rows = [other | times | {"epoch": 1, "status": "restored", "output_uri": dest.uri("a.png")}]
    if freed:
        rows.append(other | times | {"epoch": 2, "status": "failed"})
    record(dest, "first", rows)
    (found,) = pending(dest, listed(dest, source, [("a.png", "1")]), Wanted("A"))
    assert (found["owned"], found["collides"]) == (True, not freed)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_of_two_sources_of_one_output_the_one_that_has_it_keeps_it(tmp_path: Path, name: str) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    row = {"source_uri": source.uri(name), "status": "restored", "output_uri": dest.uri("a.webp")}
    times = {"epoch": 1, "attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
    record(dest, "first", [row | times])
    listing = listed(dest, source, [("a.png", "1"), ("a.jpg", "1")])
    batches = pending_batches(
        dest, listing, manifest_files(dest), Wanted("A"), tally=Tally(), extension=".webp"
    )
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert {row["source_key"]: row["collides"] for row in rows} == {
        "a.png": name == "a.jpg",
        "a.jpg": name == "a.png",
    }


def test_more_inputs_than_fit_in_memory_are_joined_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MEMORY", "24MB")
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "d"))
    keys = [f"{number}.png" for number in range(100_000)]
    times = {"epoch": 1, "attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
    done = {"source_version": "1", "settings_sha256": "A", "status": "restored"} | times
    record(
        dest,
        "first",
        [done | {"source_uri": source.uri(key), "output_uri": dest.uri(key)} for key in keys[::-1][::2]],
    )
    found = pending(dest, listed(dest, source, [(key, "1") for key in keys]), Wanted("A"))
    assert [row["source_key"] for row in found] == keys[::2]


def test_finished_inputs_whose_output_is_gone_or_was_cut_are_pending_again(tmp_path: Path) -> None:
    source, dest = open_store(str(tmp_path / "s")), open_store(str(tmp_path / "it's"))
    times = {"epoch": 1, "attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC)}
    done = {"source_version": "1", "settings_sha256": "A", "status": "restored", "output_size": 4} | times
    names = ["whole", "halved", "gone", "older", "moved", "failed"]
    rows = [done | {"source_uri": source.uri(name), "output_uri": dest.uri(name)} for name in names]
    rows[3]["output_size"] = None
    rows[4]["output_uri"] = "s3://before/moved"
    rows[5] |= {"status": "failed", "error_code": "truncated", "output_uri": None}
    record(dest, "first", rows)
    for name, content in (("whole", b"1234"), ("halved", b"12"), ("older", b"123"), ("other", b"1")):
        dest.write(name, content)
    listing, tally = listed(dest, source, [(name, "1") for name in names]), Tally()
    batches = pending_batches(
        dest, listing, manifest_files(dest), Wanted("A"), tally=tally, extension=None, check_outputs=True
    )
    found = [row for batch in batches for row in batch.to_pylist()]
    assert sorted(row["source_key"] for row in found) == ["gone", "halved"]
    assert all(row["owned"] for row in found)
    assert (tally.lost, tally.carried, tally.carried_failed, tally.finished) == (2, 4, 1, 5)
    assert pending(dest, listing, Wanted("A")) == []

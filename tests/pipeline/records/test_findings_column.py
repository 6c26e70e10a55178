"""Findings in the manifest: what is written is read, and rows without them count as nothing found."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from older_manifests import as_version_1

from i2r import Action, Finding, What
from pipeline.records.findings import COLUMN, by_action, counted, of_column, to_column
from pipeline.records.manifest import read_batches, to_parquet, to_table
from pipeline.storage.store import open_store

SHARES = st.floats(0, 1)
BOXES = st.lists(st.tuples(*[st.integers(0, 1 << 20)] * 4).map(list), max_size=8)
FINDINGS = st.lists(
    st.builds(
        Finding,
        st.sampled_from(What),
        SHARES,
        SHARES,
        st.sampled_from(Action),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.fixed_dictionaries({"boxes": BOXES, "blur": st.fixed_dictionaries({"width": SHARES})}),
    ),
    max_size=4,
)


@given(st.lists(FINDINGS, min_size=1, max_size=4))
def test_findings_survive_the_way_through_parquet(images: list[list[Finding]]) -> None:
    store = open_store("memory://findings")
    rows = [{COLUMN: to_column(findings), "status": "restored"} for findings in images]
    store.write("part.parquet", to_parquet(to_table(rows)))
    [batch] = read_batches(store, "part.parquet", [COLUMN])
    assert [of_column(value) for value in batch[COLUMN].to_pylist()] == images


def test_rows_without_findings_hold_none() -> None:
    rows = [{"status": "unchanged", COLUMN: []}, {"status": "failed", COLUMN: None}, {"status": "failed"}]
    table = to_table(rows)
    assert [of_column(value) for value in table[COLUMN].to_pylist()] == [[], [], []]
    assert counted(table) == counted(as_version_1(table)) == {}


def test_images_are_counted_by_what_came_of_what() -> None:
    noise = Finding(What.NOISE, 1.0, 1.0, Action.CORRECTED)
    blur = Finding(What.BLUR, 0.99, 1.0, Action.CORRECTED)
    marks = Finding(What.MARKS, 0.96, 0.1, Action.SUSPECTED)
    rows = [{COLUMN: to_column(some)} for some in ([blur], [noise, marks], [], [noise])]
    assert by_action(counted(to_table(rows))) == {
        "corrected": {"noise": 2, "blur": 1},
        "suspected": {"marks": 1},
    }


def test_older_and_newer_parts_are_read_as_one_table_by_sql() -> None:
    newer = to_table([{"source_uri": "b", COLUMN: to_column([Finding(What.BLUR, 0.9, 1.0, Action.REMAINS)])}])
    older = as_version_1(to_table([{"source_uri": "a"}]))
    with duckdb.connect() as database:
        for name, table in {"older": older, "newer": newer}.items():
            database.register(name, table)
        union = "(FROM older UNION ALL BY NAME FROM newer)"
        named = f"SELECT source_uri, list_transform({COLUMN}, lambda f: f.what) FROM {union} ORDER BY ALL"
        assert database.sql(named).fetchall() == [("a", None), ("b", ["blur"])]
    assert pa.types.is_list(newer.schema.field(COLUMN).type)

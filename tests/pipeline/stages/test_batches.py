"""What single stages do with an image, without Ray."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from standin import Answer, BoxBlur, StandIn

from i2r import Degraded
from pipeline.codecs.codec import decode
from pipeline.records.listing import to_batch
from pipeline.settings import RunSettings
from pipeline.sources.walk import open_source
from pipeline.stages import batches
from pipeline.stages.batches import EncodeAndStore, FetchAndDecode, Job, RestoreItems, seed_of
from pipeline.stages.item import Item, as_table, items_of
from pipeline.stages.scores import scores
from pipeline.stages.shares import within
from pipeline.storage.store import open_store

COMMON = {"run_id": "run", "epoch": 0}
"""What all rows of a run share."""


@pytest.mark.parametrize("status", ["restored", "unchanged", "rejected"])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_what_a_restoration_did_without_is_told(tmp_path: Path, status: str, format: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (90, 120, 30)).save(stream, "PNG")
    row = {"run_id": "run", "source_key": "a.png", "source_uri": "file:///a.png", "status": status}
    item = Item(row, owned=False, data=stream.getvalue(), picture=decode(stream.getvalue(), max_pixels=1000))
    item.losses = ("smaller tile",)
    extension = {"PNG": ".png", "JPEG": ".jpg"}[format]
    store = open_store(str(tmp_path))
    job = Job(store, store, RunSettings(format=format), COMMON, extension)
    (found,) = EncodeAndStore(job)(as_table([item])).to_pylist()
    assert (found["status"], found["losses"]) == (status, ["smaller tile"])
    assert (tmp_path / f"a{extension}").exists()


class Failing(BoxBlur):
    """Fails every image, and not for the image's sake."""

    def restore(self, degraded: Sequence[Degraded]) -> list[Answer]:
        raise OSError("no room on the disk of this node")


def test_a_model_that_fails_all_is_not_faster_than_one_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAUSE", 0.5)
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "PNG")
    picture = decode(stream.getvalue(), max_pixels=1000)
    stage, began = RestoreItems(lambda: Failing(StandIn())), time.monotonic()
    for _ in range(2):
        (item,) = items_of(stage(as_table([Item({}, owned=False, picture=picture)])))
        assert item.row["error_code"] == "internal"
    assert time.monotonic() - began >= batches.PAUSE


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 5), (3000, [2, 2, 1]), (1 << 20, [5])])
def test_large_images_do_not_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, sizes: list[int]
) -> None:
    monkeypatch.setattr(batches, "BLOCK_BYTES", limit)
    for number in range(5):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.bmp")
    source = open_source(str(tmp_path))
    listed = to_batch(list(source.inputs()))
    no = np.zeros(listed.num_rows, bool)
    batch = {name: listed[name].to_numpy(zero_copy_only=False) for name in listed.schema.names}
    job = Job(source.store, source.store, RunSettings(), {}, None)
    tables = list(FetchAndDecode(job)(batch | {"owned": no, "collides": no, "failed_before": no}))
    assert [table.num_rows for table in tables] == sizes
    keys = [item.row["source_key"] for table in tables for item in items_of(table)]
    assert keys == listed["source_key"].to_pylist()


def test_what_is_measured_afterwards_is_the_file_that_was_written(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=95)
    picture = decode(stream.getvalue(), max_pixels=10_000)
    row = {"run_id": "run", "source_key": "a.jpg", "source_uri": "file:///a.jpg", "status": "restored"}
    item = Item(row, owned=False, data=stream.getvalue(), picture=picture, before=scores(picture.pixels))
    store = open_store(str(tmp_path))
    (found,) = EncodeAndStore(Job(store, store, RunSettings(), COMMON, None))(as_table([item])).to_pylist()
    written = decode((tmp_path / "a.jpg").read_bytes(), max_pixels=10_000).pixels
    assert found["metrics"]["noise_level_after"] == scores(written)["noise_level"]
    assert found["metrics"]["noise_level_after"] != scores(picture.pixels)["noise_level"]
    assert found["output_size"] == (tmp_path / "a.jpg").stat().st_size


@pytest.mark.parametrize("there", [None, b"the last good one"])
@pytest.mark.parametrize("copies", [True, False])
def test_what_fails_is_copied_where_nothing_else_is(
    tmp_path: Path, copies: bool, there: bytes | None
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"\xff\xd8\xff broken")
    source, dest = open_source(str(tmp_path / "in")), open_store(str(tmp_path / "out"))
    if there:
        dest.write("a.jpg", there)
    listed = to_batch(list(source.inputs()))
    batch = {name: listed[name].to_numpy(zero_copy_only=False) for name in listed.schema.names}
    no = np.array([False])
    settings = RunSettings(copy_failed=copies, format="PNG")
    job = Job(source.store, dest, settings, COMMON, ".png")
    [table] = FetchAndDecode(job)(batch | {"owned": no, "collides": no, "failed_before": no})
    (row,) = EncodeAndStore(job)(table).to_pylist()
    copied = copies and not there
    assert (row["status"], row["output_uri"]) == ("failed", dest.uri("a.jpg") if copied else None)
    assert (row["output_size"], row["error_code"]) == (10 if copied else None, "truncated")
    kept = there or (b"\xff\xd8\xff broken" if copied else None)
    assert (dest.read("a.jpg") if kept else None) == kept
    assert not dest.exists("a.png")


def test_a_source_whose_output_another_has_is_told_which_output(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.jpg")
    source = open_source(str(tmp_path))
    listed = to_batch(list(source.inputs()))
    batch = {name: listed[name].to_numpy(zero_copy_only=False) for name in listed.schema.names}
    flags = {"owned": np.array([False]), "collides": np.array([True]), "failed_before": np.array([False])}
    job = Job(source.store, source.store, RunSettings(format="WEBP"), {}, ".webp")
    [table] = FetchAndDecode(job)(batch | flags)
    [item] = items_of(table)
    assert item.row["error_code"] == "bad_key"
    assert item.row["error_message"].startswith("another source has the output 'a.webp' too")


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [([], []), ([9], [[9]]), ([1, 2, 3, 4], [[1, 2], [3], [4]]), ([-1, 4, -1, 0, 1], [[-1, 4, -1, 0], [1]])],
)
def test_files_are_fetched_by_their_bytes(sizes: list[int], groups: list[list[int]]) -> None:
    found = within(({"source_size": size} for size in sizes), 4)
    assert [[row["source_size"] for row in group] for group in found] == groups


def test_a_seed_comes_from_the_bytes_alone() -> None:
    assert seed_of(b"x") == seed_of(b"x") != seed_of(b"y")
    assert 0 <= seed_of(b"x") < 2**63

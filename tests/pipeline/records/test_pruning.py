"""What is left of deleted sources: removed only if it is ours, and told by a row."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from archives import contents
from small_images import write_image
from standin import StandIn
from test_run import images, restore, rows

from pipeline.errors import PruneError, RunError, SettingsError
from pipeline.records.orphaned import Orphaned
from pipeline.records.verify import verify_dataset
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings

pytestmark = pytest.mark.usefixtures("ray_here")


def dry_run(source: Path, dest: Path, **settings: Any) -> Any:
    return restore_dataset(
        str(source),
        str(dest),
        RunSettings.model_validate({"prune": True, "max_pruned": 1, **settings}),
        restorer_factory=StandIn(),
        dry_run=True,
    )


def test_what_is_left_of_a_deleted_source_is_pruned_on_demand(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, dest)
    gone, kept_back = source / "album-0/0.png", source / "album-1/1.png"
    scribbled = source / "album-0/2.png"
    for path in (gone, kept_back, scribbled):
        path.unlink()
    (dest / "album-0/2.png").write_text("put in the place of ours")
    (dest / "mine.png").write_text("not of a run")

    assert restore(source, dest).pruned == 0
    preview = dry_run(source, dest, exclude=["album-1/**"])
    assert (preview.pruned, list(preview.prunable)) == (1, [f"file://{dest}/album-0/0.png"])
    assert (dest / "album-0/0.png").exists()
    assert restore(source, dest, prune=True, max_pruned=1, exclude=["album-1/**"]).pruned == 1
    assert images(dest) == {f"album-{n % 2}/{n}.png" for n in range(1, 6)} | {"mine.png"}
    row = rows(dest)["album-0/0.png"]
    assert (row["status"], row["error_code"], row["output_uri"]) == ("failed", "not_found", None)
    assert "pruned" in row["error_message"]
    assert [fault.uri for fault in verify_dataset(str(dest)).faults] == [f"file://{dest}/album-0/2.png"]

    assert restore(source, dest, prune=True, max_pruned=1).pruned == 1
    assert restore(source, dest, prune=True, max_pruned=1).pruned == 0
    write_image(gone, seed=0)
    assert restore(source, dest, prune=True, max_pruned=1).counts["restored"] == 1
    assert rows(dest)["album-0/0.png"]["status"] == "restored"


def test_only_where_the_run_looked_is_pruned(source: Path, tmp_path: Path) -> None:
    dest, shard = tmp_path / "dest", source / "shard.tar"
    with tarfile.open(shard, "w") as archive:
        archive.add(source / "album-0", arcname=".")
    restore(source, dest)
    restore(shard, dest)
    (source / "album-1/1.png").unlink()
    assert dry_run(source / "album-0" / "*", dest).pruned == 0
    assert dry_run(shard, dest).pruned == 0
    with tarfile.open(shard, "w") as archive:
        archive.add(source / "album-0/0.png", arcname="0.png")
    assert dry_run(shard, dest).pruned == 2
    assert list(dry_run(source, dest).prunable) == [f"file://{dest}/album-1/1.png"]


def test_an_object_that_went_before_its_row_came_has_its_row_in_the_end(source: Path, tmp_path: Path) -> None:
    """As after a kill between the deletion and the row."""
    dest = tmp_path / "dest"
    restore(source, dest)
    for folder in (source, dest):
        (folder / "album-0/0.png").unlink()
    assert len(verify_dataset(str(dest)).faults) == 1
    assert restore(source, dest, prune=True, max_pruned=1).pruned == 1
    assert verify_dataset(str(dest)).faults == []


def test_a_source_that_lists_nothing_prunes_nothing(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, dest)
    for path in source.rglob("*.png"):
        path.unlink()
    with pytest.raises(RunError, match="would remove every restored one"):
        restore(source, dest, prune=True, max_pruned=1)
    assert len(images(dest)) == 6


def test_a_list_does_not_say_what_was_deleted(source: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{source}/album-0/0.png\n")
    with pytest.raises(SettingsError, match="--prune needs a SOURCE"):
        restore(tmp_path / "list.txt", tmp_path / "dest", prune=True, max_pruned=1)


def test_a_half_that_is_not_mounted_takes_nothing_with_it(source: Path, tmp_path: Path) -> None:
    dest, away = tmp_path / "dest", tmp_path / "away"
    restore(source, dest)
    (source / "album-0").rename(away)
    write_image(source / "album-1/new.png", seed=9)
    before = contents(dest)
    with pytest.raises(PruneError) as caught:
        restore(source, dest, prune=True)
    assert str(caught.value) == (
        "nothing was done: 3 of 6 restored images are to be removed: their source is gone; "
        "this is above --max-pruned 5%: check that SOURCE is whole, as a disk that is not mounted lists "
        "nothing, or allow it once with --max-pruned 100%"
    )
    assert contents(dest) == before
    assert dry_run(source, dest, max_pruned="5%").orphaned.is_refused

    away.rename(source / "album-0")
    (source / "album-0/0.png").unlink()
    told = restore(source, dest, prune=True, max_pruned="20%")
    assert (told.pruned, told.orphaned) == (1, Orphaned(1, 6, 0.2))

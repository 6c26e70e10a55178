"""Whole runs through Ray Data, with a cheap stand-in for the model."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import tarfile
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_images import write_image
from standin import BAD, BROKEN, CLEAN, DEADLY, StandIn

from pipeline.errors import LeaseHeldError, RunError, SettingsError
from pipeline.records.cleaning import clean_dataset
from pipeline.records.intents import announce, announced
from pipeline.records.lease import FOLDER, identity
from pipeline.records.manifest import SCHEMA, STAGES
from pipeline.records.summary import AWAITING_GPUS, STARTING, Progress, RunSummary
from pipeline.records.verify import newest_rows, read_status, verify_dataset
from pipeline.runs.repair import repair_dataset
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.storage.store import open_store

pytestmark = pytest.mark.usefixtures("ray_here")


def restore(source: Path | str, dest: Path | str, kind: StandIn | None = None, **settings: Any) -> RunSummary:
    run_settings = RunSettings.model_validate({"batch": 4, "workers": 1, **settings})
    return restore_dataset(str(source), str(dest), run_settings, restorer_factory=kind or StandIn())


def rows(dest: Path | str) -> dict[str, dict[str, Any]]:
    """The newest row of every key."""
    store = open_store(str(dest))
    found = [row for batch in newest_rows(store, SCHEMA.names) for row in batch.to_pylist()]
    assert len({row["source_key"] for row in found}) == len(found)
    return {row["source_key"]: row for row in found}


def images(dest: Path) -> set[str]:
    """Everything at a destination that is not ours, as keys."""
    files = (path.relative_to(dest).as_posix() for path in dest.rglob("*") if path.is_file())
    return {key for key in files if not key.startswith("_i2r/")}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_with_broken_files_is_restored_in_full(source: Path, tmp_path: Path) -> None:
    write_image(source / "clean.png", 50, mark=CLEAN)
    write_image(source / "bad.png", 51, mark=BAD)
    write_image(source / "broken.png", 52, mark=BROKEN)
    (source / "x.jpg").write_text("hello")
    (source / "cut.png").write_bytes((source / "clean.png").read_bytes()[:900])
    (source / "empty.png").touch()
    (source / "notes.txt").write_text("hello")
    dest = tmp_path / "dest"
    told: list[Progress] = []
    summary = restore_dataset(
        str(source), str(dest), RunSettings(), restorer_factory=StandIn(), on_progress=told.append
    )

    assert summary.exit_status == 3
    assert summary.counts == {
        "restored": 6, "unchanged": 1, "rejected": 1, "failed": 4, "carried": 0, "left": 0, "ignored": 1,
        "repeated": 0,
    }  # fmt: skip
    found = rows(dest)
    assert len(found) == 12
    codes = {key: row["error_code"] for key, row in found.items() if row["status"] == "failed"}
    assert codes == {
        "x.jpg": "unreadable",
        "cut.png": "truncated",
        "empty.png": "unreadable",
        "broken.png": "numerical",
    }
    assert all(row["error_message"] for row in found.values() if row["status"] == "failed")
    assert images(dest) == set(found) - set(codes)
    for key in ("clean.png", "bad.png"):
        assert (dest / key).read_bytes() == (source / key).read_bytes()
    for key in set(found) - set(codes):
        assert found[key]["output_sha256"] == hashlib.sha256((dest / key).read_bytes()).hexdigest()
        assert found[key]["content_sha256"] == hashlib.sha256((source / key).read_bytes()).hexdigest()
    row = found["album-0/0.png"]
    assert (row["width"], row["height"], row["format"], row["mode"]) == (24, 24, "PNG", "RGB")
    assert row["prior"] == "stand-in"
    assert row["metrics"]["noise_level_before"] > row["metrics"]["noise_level_after"]
    assert set(row["timings"]) == {"fetch", "decode", "restore", "encode", "store"}
    assert pq.read_schema(next((dest / "_i2r/manifest").rglob("*.parquet"))).equals(SCHEMA)
    record = json.loads((dest / f"_i2r/runs/{summary.run_id}.json").read_text())
    assert record["counts"] == summary.counts
    assert record["details"]["settings"]["prior"] == "photo-64"
    assert record["details"]["versions"]["torch"] == metadata.version("torch")
    assert {"python", "ray", "pillow", "imagecodecs", "diffusers"} < set(record["details"]["versions"])
    assert 0 < record["details"]["seconds_to_first_row"] <= summary.seconds
    decoded = sum(row["width"] * row["height"] for row in found.values() if row["width"])
    assert told[-1].megapixels == pytest.approx(decoded / 1e6)
    assert record["details"]["megapixels"] == pytest.approx(decoded / 1e6)
    assert told[-1].stage == "recording"
    assert told[-1].done == told[-1].total == told[-2].total == 12
    assert told[-1].rate > 0
    assert told[-1].counts == {"restored": 6, "unchanged": 1, "rejected": 1, "failed": 4}
    assert told[-1].slowest_stage in STAGES

    assert (summary.new_failed, record["new_failed"]) == (4, 4)

    again = restore(source, dest)
    assert (again.counts["carried"], again.carried_failed, again.new_failed) == (12, 4, 0)
    assert again.exit_status == 3
    third = restore(source, dest, retry_failed=True)  # but for what breaks off, which no attempt completes
    assert (third.counts["failed"], third.counts["carried"], third.carried_failed) == (3, 9, 1)
    assert (third.new_failed, third.exit_status) == (0, 3)
    fourth = restore(source, dest, only="failed")
    assert (fourth.counts["failed"], fourth.new_failed) == (4, 0)
    assert verify_dataset(str(dest)).faults == []


def test_it_says_what_the_first_image_waits_for(source: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    slow = StandIn(seconds=3.0, loading=3.0)
    restore_dataset(
        str(source),
        str(tmp_path / "dest"),
        RunSettings(limit=1),
        restorer_factory=slow,
        on_progress=told.append,
    )
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == [
        "listing",
        "starting Ray",
        "loading the model",
        "restoring the first image",
        "restoring",
        "recording",
    ]
    assert {progress.total for progress in told[1:]} == {1}


def test_the_same_bytes_come_out_of_every_grouping(source: Path, tmp_path: Path) -> None:
    restore(source, tmp_path / "one", batch=1)
    restore(source, tmp_path / "two", batch=16)
    first, second = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert {key: row["output_sha256"] for key, row in first.items()} == {
        key: row["output_sha256"] for key, row in second.items()
    }


def test_settings_a_then_b_then_a_restore_three_times(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    for version in ("A", "B", "A"):
        assert restore(source, dest, StandIn(version), max_redo=1).counts["restored"] == 6
        assert verify_dataset(str(dest)).faults == []
    assert restore(source, dest, StandIn("A")).counts["carried"] == 6


def test_the_status_tells_generations_apart(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, dest, StandIn("A"))
    restore(source, dest, StandIn("B"), limit=2, max_redo=1)
    status = read_status(str(dest))
    told = [(generation.inputs, generation.superseded) for generation in status.generations]
    assert (status.inputs, told) == (6, [(4, 2), (2, 0)])


def test_only_what_changed_or_came_is_done(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    assert restore(source, dest, limit=4).counts["left"] == 2
    assert restore(source, dest).counts["carried"] == 4
    write_image(source / "album-0/0.png", 99)
    write_image(source / "new.png", 98)
    assert restore(source, dest, only="new").counts["restored"] == 1
    summary = restore(source, dest)
    assert (summary.counts["restored"], summary.counts["carried"]) == (1, 6)
    assert verify_dataset(str(dest)).faults == []


def test_a_dry_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    summary = restore_dataset(str(source), str(dest), RunSettings(), restorer_factory=StandIn(), dry_run=True)
    assert (summary.counts["left"], summary.exit_status) == (6, 0)
    assert not dest.exists()


def test_a_foreign_object_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (dest / "album-0").mkdir(parents=True)
    (dest / "album-0/0.png").write_text("mine")
    summary = restore(source, dest)
    assert (dest / "album-0/0.png").read_text() == "mine"
    assert summary.counts["failed"] == 1
    assert "not ours" in rows(dest)["album-0/0.png"]["error_message"]
    (dest / "album-0/0.png").unlink()
    assert restore(source, dest).counts["restored"] == 1


def test_an_object_whose_row_was_lost_is_ours_all_the_same(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, tmp_path / "other")
    (dest / "album-0").mkdir(parents=True)
    (dest / "album-0/0.png").write_bytes((tmp_path / "other/album-0/0.png").read_bytes())
    assert restore(source, dest).counts["restored"] == 6


def test_what_a_killed_run_stored_is_ours_even_under_other_settings(source: Path, tmp_path: Path) -> None:
    """As after a kill between an object and its row: the note is there, the row is not."""
    dest = open_store(str(tmp_path / "dest"))
    announce(dest, "20260101T000000-dead", ["album-0/0.png"])
    dest.write("album-0/0.png", b"made with other settings")
    dest.write("album-0/2.png", b"mine")
    assert restore(source, tmp_path / "dest").counts["failed"] == 1
    assert "not ours" in rows(tmp_path / "dest")["album-0/2.png"]["error_message"]
    assert dest.read("album-0/2.png") == b"mine"
    assert list(announced(dest)) == []


def test_a_narrower_run_leaves_the_notes_on_what_it_does_not_see(source: Path, tmp_path: Path) -> None:
    dest = open_store(str(tmp_path / "dest"))
    announce(dest, "20260101T000000-dead", ["album-1/1.png"])
    announce(dest, "20260101T000000-dead", ["album-0/0.png", "album-1/absent.png"])
    dest.write("album-1/1.png", b"made with other settings")
    assert restore(source, tmp_path / "dest", include=["album-0/**"]).counts["left"] == 0
    assert list(announced(dest)) == [["album-1/1.png"]]
    stored = f"file://{tmp_path}/dest/album-1/1.png"
    assert list(clean_dataset(str(tmp_path / "dest"), delete=False)) == [stored]
    assert restore(source, tmp_path / "dest").counts["restored"] == 3
    assert list(announced(dest)) == []
    assert list(clean_dataset(str(tmp_path / "dest"), delete=True)) == []


def test_a_destination_with_failures_alone_has_nothing_to_clean(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.png").write_bytes(b"broken")
    assert restore(source, tmp_path / "dest").counts["failed"] == 1
    assert list(clean_dataset(str(tmp_path / "dest"), delete=False)) == []


def test_what_was_pending_for_a_killed_run_is_removed_by_the_next(source: Path, tmp_path: Path) -> None:
    dest = open_store(str(tmp_path / "dest"))
    dest.write("_i2r/runs/20260101T000000-dead/pending/1-000000.parquet", b"")
    dest.write("_i2r/runs/20260101T000000-dead/listing/000000.parquet", b"")
    restore(source, tmp_path / "dest", limit=1)
    assert dest.names("_i2r/runs/20260101T000000-dead") == ["listing"]
    assert list((tmp_path / "dest").rglob("pending")) == []


def test_what_a_source_gave_before_it_broke_stays_until_it_is_cleaned(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, dest)
    kept = (dest / "album-0/0.png").read_bytes()
    (source / "album-0/0.png").write_bytes(b"broken now")
    assert restore(source, dest).counts["failed"] == 1
    assert (dest / "album-0/0.png").read_bytes() == kept
    verification = verify_dataset(str(dest))
    assert (verification.checked, verification.faults, verification.failed) == (5, [], 1)
    assert list(clean_dataset(str(dest), delete=True)) == [f"file://{dest}/album-0/0.png"]


def test_an_image_that_kills_its_process_is_one_failed_row(source: Path, tmp_path: Path) -> None:
    write_image(source / "deadly.png", 60, mark=DEADLY)
    summary = restore(source, tmp_path / "dest", batch=16)
    assert (summary.counts["restored"], summary.counts["failed"]) == (6, 1)
    assert rows(tmp_path / "dest")["deadly.png"]["error_code"] == "crashed"
    assert rows(tmp_path / "dest")["deadly.png"]["attempts"] > 1


def test_a_run_that_is_stopped_records_what_is_finished(source: Path, tmp_path: Path) -> None:
    dest, stop = tmp_path / "dest", threading.Event()

    def stop_after_one(progress: Progress) -> None:
        if progress.done:
            stop.set()

    summary = restore_dataset(
        str(source),
        str(dest),
        RunSettings(batch=1),
        restorer_factory=StandIn(seconds=0.5),
        on_progress=stop_after_one,
        stop=stop,
    )
    done = summary.counts["restored"]
    assert summary.exit_status == 5
    assert 1 <= done == len(rows(dest)) < 6
    assert summary.counts["left"] == 6 - done
    assert restore(source, dest).counts["carried"] == done


def test_a_run_that_is_stopped_while_it_lists_ends_before_it_restores(source: Path, tmp_path: Path) -> None:
    stages, stop = [], threading.Event()

    def stop_at_once(progress: Progress) -> None:
        stages.append(progress.stage)
        stop.set()

    summary = restore_dataset(
        str(source), str(tmp_path / "dest"), restorer_factory=StandIn(), on_progress=stop_at_once, stop=stop
    )
    assert summary.exit_status == 5
    assert stages == ["listing", "recording"]
    assert images(tmp_path / "dest") == set()
    assert restore(source, tmp_path / "dest").counts["restored"] == 6


def test_another_format(source: Path, tmp_path: Path) -> None:
    write_image(source / "clean.png", 50, mark=CLEAN)
    restore(source, tmp_path / "dest", format="jpg")
    assert {Path(key).suffix for key in images(tmp_path / "dest")} == {".jpg"}
    assert (tmp_path / "dest/clean.jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_destination_that_another_run_writes_to_is_refused(source: Path, tmp_path: Path) -> None:
    dest = open_store(str(tmp_path / "dest"))
    dest.write(
        f"{FOLDER}/0000000001", json.dumps({"seconds": 60, **identity(), "host": "elsewhere"}).encode()
    )
    before = snapshot(tmp_path / "dest")
    with pytest.raises(LeaseHeldError, match="elsewhere"):
        restore(source, tmp_path / "dest")
    assert snapshot(tmp_path / "dest") == before


@pytest.mark.parametrize("dest", ["source/inside", ".", "file/below", "/proc/nothing"])
def test_a_wrong_destination_is_refused_before_anything_is_written(
    source: Path, tmp_path: Path, dest: str
) -> None:
    (tmp_path / "file").touch()
    before = snapshot(tmp_path)
    with pytest.raises(SettingsError, match="DEST"):
        restore(source, tmp_path / dest)
    assert snapshot(tmp_path) == before


def test_a_restorer_that_cannot_start_stops_the_run(source: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="weights are gone"):
        restore(source, tmp_path / "dest", StandIn(version="broken"))


def test_what_is_missing_or_wrong_is_repaired(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, dest, limit=5)
    done = sorted(images(dest))
    (dest / done[0]).unlink()
    (dest / done[1]).write_bytes(b"scribbled over")
    faults = verify_dataset(str(dest)).faults
    assert {fault.problem for fault in faults} == {"missing", "changed"}
    repair = repair_dataset(str(dest), faults, restorer_factory=StandIn())
    assert [summary.counts["restored"] for summary in repair.summaries] == [2]
    assert (repair.left, repair.exit_status) == ([], 0)
    assert verify_dataset(str(dest)).faults == []
    assert len(rows(dest)) == 5


def test_each_object_is_repaired_from_the_source_that_it_was_made_from(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    for number, name in enumerate("abc"):
        write_image(tmp_path / name / f"{name}.png", seed=number)
        restore(tmp_path / name, dest)
        if name != "c":
            (dest / f"{name}.png").write_bytes(b"scribbled over")
    faults = verify_dataset(str(dest)).faults
    assert len(faults) == 2
    repair = repair_dataset(str(dest), faults, restorer_factory=StandIn())
    assert [summary.counts["restored"] for summary in repair.summaries] == [1, 1]
    assert (repair.left, repair.exit_status) == ([], 0)


def test_what_cannot_be_repaired_is_named(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    write_image(tmp_path / "gone/0.png", seed=0)
    restore(tmp_path / "gone", dest)
    restore(source, dest)
    shutil.rmtree(tmp_path / "gone")
    (source / "album-0/0.png").unlink()
    for key in ("0.png", "album-0/0.png", "album-0/2.png"):
        (dest / key).write_bytes(b"scribbled over")
    repair = repair_dataset(str(dest), verify_dataset(str(dest)).faults, restorer_factory=StandIn())
    assert {fault.uri for fault in repair.left} == {
        f"file://{dest}/{key}" for key in ("0.png", "album-0/0.png")
    }
    assert repair.refused == [f"SOURCE file://{tmp_path}/gone does not exist: check the address"]
    assert repair.exit_status == 3


def test_only_our_superfluous_objects_are_cleaned(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, dest, limit=3)
    before = images(dest)
    assert list(clean_dataset(str(dest), delete=True)) == []
    restore(source, dest, format="webp", max_redo=1.0)
    (dest / "mine.png").write_text("not of a run")
    foreign = sorted(before)[0]
    (dest / foreign).write_text("put in the place of ours")
    superfluous = {f"file://{dest}/{key}" for key in before - {foreign}}
    assert set(clean_dataset(str(dest), delete=False)) == superfluous
    assert set(clean_dataset(str(dest), delete=True)) == superfluous
    assert images(dest) & (before | {"mine.png"}) == {foreign, "mine.png"}
    assert verify_dataset(str(dest)).faults == []


def test_an_address_among_the_settings_is_recorded_without_its_signature(
    source: Path, tmp_path: Path
) -> None:
    restore(source, tmp_path / "dest", prior="https://u:secret@host/p?sig=secret", limit=1)
    record = next((tmp_path / "dest/_i2r/runs").glob("*.json")).read_text()
    assert "https://host/p" in record
    assert "secret" not in record


def test_a_reference_is_measured_against(source: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference"
    (reference / "album-0").mkdir(parents=True)
    (reference / "album-0/0.png").write_bytes((source / "album-0/0.png").read_bytes())
    restore(source, tmp_path / "dest", reference=str(reference))
    found = rows(tmp_path / "dest")
    assert found["album-0/0.png"]["metrics"]["psnr_before"] is None  # they are equal
    assert 0 < found["album-0/0.png"]["metrics"]["psnr_after"] < 40
    assert found["album-0/0.png"]["metrics"]["ssim_after"] < 1
    assert found["album-1/1.png"]["metrics"]["psnr_after"] is None


def test_what_is_white_in_a_mask_stays_as_it_is(source: Path, tmp_path: Path) -> None:
    def pixels(path: Path) -> np.ndarray:
        with Image.open(path) as picture:
            return np.asarray(picture)

    masks, dest = tmp_path / "masks", tmp_path / "dest"
    for album in ("album-0", "album-1"):
        (masks / album).mkdir(parents=True)
    left = Image.new("L", (24, 24), 120)
    left.paste(255, (0, 0, 12, 24))
    left.save(masks / "album-0/0.png")
    Image.new("L", (24, 30), 255).save(masks / "album-0/2.png")
    (masks / "album-0/4.png").write_text("no image")

    first = restore(source, dest, protect=str(masks))
    assert (first.counts["restored"], first.counts["failed"]) == (4, 2)
    before, after = pixels(source / "album-0/0.png"), pixels(dest / "album-0/0.png")
    np.testing.assert_array_equal(after[:, :12], before[:, :12])
    assert (after[:, 12:] != before[:, 12:]).any()
    assert (pixels(dest / "album-1/1.png")[:, :12] != pixels(source / "album-1/1.png")[:, :12]).any()
    found = rows(dest)
    assert "album-0/2.png is 24 x 30 pixels, its image 24 x 24" in found["album-0/2.png"]["error_message"]
    assert found["album-0/4.png"]["error_message"].startswith("the mask file://")

    assert restore(source, dest, protect=str(masks)).counts["carried"] == 6
    (masks / "album-0/2.png").unlink()
    Image.new("L", (24, 24), 255).save(masks / "album-0/0.png")
    Image.new("L", (24, 24), 255).save(masks / "album-1/1.png")
    second = restore(source, dest, protect=str(masks))
    assert (second.counts["restored"], second.counts["carried"]) == (3, 3)
    assert (pixels(dest / "album-0/0.png") == before).all()
    third = restore(source, dest)
    assert (third.counts["restored"], third.counts["carried"]) == (3, 3)
    assert (pixels(dest / "album-0/0.png")[:, :12] != before[:, :12]).any()
    with pytest.raises(SettingsError, match="is no folder or prefix"):
        restore(source, dest, protect=str(masks / "album-0/0.png"))


def test_images_in_a_shard_are_restored_beside_each_other(source: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        archive.add(source, arcname=".")
    with pytest.raises(SettingsError, match="overlap"):
        restore(tmp_path / "shard.tar", tmp_path)
    restore(tmp_path / "shard.tar", tmp_path / "dest")
    expected = {f"shard.tar/{path.relative_to(source).as_posix()}" for path in source.rglob("*.png")}
    assert images(tmp_path / "dest") == set(rows(tmp_path / "dest")) == expected


def test_the_same_from_s3_to_s3(source: Path, bucket: str) -> None:
    from_store = open_store(f"{bucket}/source")
    for path in source.rglob("*.png"):
        from_store.write(path.relative_to(source).as_posix(), path.read_bytes())
    from_store.write("x.jpg", b"hello")
    summary = restore(f"{bucket}/source", f"{bucket}/dest")
    assert (summary.counts["restored"], summary.counts["failed"]) == (6, 1)
    again = restore(f"{bucket}/source", f"{bucket}/dest", StandIn("B"), max_redo=1)
    assert again.counts["restored"] == 6
    assert restore(f"{bucket}/source", f"{bucket}/dest", StandIn("B")).counts["carried"] == 7
    verification = verify_dataset(f"{bucket}/dest")
    assert (verification.checked, verification.faults) == (6, [])


def test_gpus_that_are_not_there_are_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="0 GPUs are there and 1 were asked for"):
        restore(source, tmp_path / "dest", gpus=1)
    assert not (tmp_path / "dest").exists()


def test_gpus_that_do_not_come_are_waited_for_so_long_and_nothing_is_left(
    source: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    with pytest.raises(SettingsError, match="0 GPUs are there and 1 were asked for"):
        restore(source, dest, gpus=1, gpu_minutes=0.02)
    assert all(path.startswith(f"{dest / FOLDER}/") for path in snapshot(dest))


def test_no_gpus_are_requested_before_there_is_work_for_them(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[list[dict[str, float]]] = []
    requesting = importlib.import_module("ray.util.placement_group")  # a function of this name hides it
    monkeypatch.setattr(requesting, "placement_group", requests.append)
    monkeypatch.setattr(requesting, "remove_placement_group", lambda group: None)
    (tmp_path / "empty").mkdir()
    restore(tmp_path / "empty", tmp_path / "nothing", gpus=2, gpu_minutes=5)
    assert requests == []
    stop, stages = threading.Event(), []

    def stop_when_it_waits(progress: Progress) -> None:
        stages.append(progress.stage)
        if stages[-1] == AWAITING_GPUS:
            assert requests == [[{"GPU": 1}] * 2]
            stop.set()

    summary = restore_dataset(
        str(source),
        str(tmp_path / "dest"),
        RunSettings(gpus=2, gpu_minutes=5),
        restorer_factory=StandIn(),
        on_progress=stop_when_it_waits,
        stop=stop,
    )
    assert stages[:3] == ["listing", STARTING, AWAITING_GPUS]
    assert summary.stopped == "it was asked to stop"
    assert summary.counts["left"] == 6

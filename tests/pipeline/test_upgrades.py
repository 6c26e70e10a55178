"""An archive that an older version finished, met by this one: it is not restored again without being told."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import fsspec
import pytest
from small_images import write_image
from standin import BROKEN, StandIn
from test_run import images, restore, rows, snapshot

from i2r.settings import METHOD_VERSION
from pipeline.errors import RedoError
from pipeline.records.lease import FOLDER
from pipeline.records.summary import ExitStatus, read_record, record_key
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.storage.store import open_store

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture(params=["folder", "s3"])
def archive(
    source: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str]:
    """Source and destination of an archive whose rows and record are as version 1 of the method left them."""
    inbox, dest = str(source), str(tmp_path / "dest")
    write_image(source / "broken.png", 50, mark=BROKEN)
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        inbox, dest = f"{bucket}/inbox", f"{bucket}/dest"
        fsspec.filesystem("s3").put(f"{source}/", f"{inbox}/", recursive=True)
    with monkeypatch.context() as then:
        then.setattr("pipeline.settings.METHOD_VERSION", 1)
        summary = restore(inbox, dest, method={"steps": 4})
    assert (summary.counts["restored"], summary.counts["failed"]) == (6, 1)
    store = open_store(dest)
    record = read_record(store, summary.run_id)
    assert record is not None
    assert record["details"].pop("method_version") == 1
    store.write(record_key(summary.run_id), json.dumps(record).encode())
    return inbox, dest


def contents(dest: str) -> dict[str, bytes]:
    """Everything at a destination but its lease."""
    store = open_store(dest)
    found = store.fs.find(store.root)
    return {path: store.fs.cat_file(path) for path in found if f"/{FOLDER}/" not in path}


def test_a_night_after_an_upgrade_refuses_until_it_is_told(archive: tuple[str, str]) -> None:
    inbox, dest = archive
    before = contents(dest)
    with pytest.raises(RedoError) as caught:
        restore(inbox, dest, retry_failed=True)
    said = str(caught.value)
    assert "6 of 6 finished images are to be restored again" in said
    assert f"version of the method 1 -> {METHOD_VERSION}, method.steps 4 -> 5 (0.00346 megapixels" in said
    assert "above --max-redo 5%: allow it once with --max-redo 100%" in said
    assert contents(dest) == before

    preview = restore_dataset(
        inbox, dest, RunSettings(retry_failed=True), restorer_factory=StandIn(), dry_run=True
    )
    assert (preview.counts["left"], preview.exit_status) == (7, ExitStatus.DONE)
    assert "; ".join(preview.outdated.lines()) in said
    assert contents(dest) == before

    told = restore(inbox, dest, max_redo="100%")
    assert (told.counts["restored"], told.counts["failed"]) == (6, 1)
    assert len(told.outdated.redone) == 1
    record = read_record(open_store(dest), told.run_id)
    assert record is not None
    assert record["details"]["method_version"] == METHOD_VERSION
    assert record["outdated"]["redone"][0]["inputs"] == 6
    assert restore(inbox, dest).counts["carried"] == 7


def test_what_came_since_is_restored_meanwhile(source: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    restore(source, dest, StandIn("A"))
    write_image(source / "new.png", 60)
    with pytest.raises(RedoError, match="weights or calibration of the prior"):
        restore(source, dest, StandIn("B"))
    assert "new.png" not in images(dest)
    assert restore(source, dest, StandIn("B"), only="new").counts["restored"] == 1
    with pytest.raises(RedoError, match="6 of 7 finished"):
        restore(source, dest, StandIn("B"))


def test_a_limit_does_not_creep_past_the_share(source: Path, tmp_path: Path) -> None:
    """A night with a limit would restore the whole archive again within some nights."""
    restore(source, tmp_path / "dest")
    before = snapshot(tmp_path / "dest/album-0")
    with pytest.raises(RedoError, match="6 of 6 finished"):
        restore(source, tmp_path / "dest", StandIn("B"), limit=1, max_redo=0.5)
    assert snapshot(tmp_path / "dest/album-0") == before
    assert restore(source, tmp_path / "dest", StandIn("B"), limit=1, max_redo=1).counts["restored"] == 1


def test_what_is_few_or_changed_is_restored_again_and_said(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dest = tmp_path / "dest"
    restore(source, dest, StandIn("A"))
    restore(source, dest, StandIn("B"), limit=5, max_redo=1)
    for number in range(2):
        write_image(source / f"album-{number}/{number}.png", 70 + number)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert restore(source, dest, StandIn("B"), max_redo=0.2).counts["restored"] == 3
    assert [record.message.split(" (")[0].rpartition(":")[0] for record in caplog.records] == [
        "1 of 6 finished images are to be restored again",
        "2 of 6 finished images are to be restored again",
    ]
    assert len({row["settings_sha256"] for row in rows(dest).values()}) == 1

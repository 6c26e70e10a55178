"""An archive that an older version finished, met by this one: it is not restored again without being told."""

from __future__ import annotations

import logging
from pathlib import Path

import fsspec
import pytest
from archives import contents, finish
from small_images import write_image
from standin import StandIn
from test_run import images, restore, rows

from i2r.settings import METHOD_VERSION
from pipeline.errors import RedoError
from pipeline.records.summary import ExitStatus, read_record
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.storage.store import open_store

OLDER = RunSettings.model_validate({"method": {"steps": 4}})
COST = "(12 megapixels, about 0:06:00 of one model)"


@pytest.fixture(params=["folder", "s3"])
def archive(source: Path, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Source and destination of six images that version 1 of the method has finished."""
    inbox, dest = str(source), str(tmp_path / "dest")
    if request.param == "s3":
        bucket = request.getfixturevalue("bucket")
        inbox, dest = f"{bucket}/inbox", f"{bucket}/dest"
        fsspec.filesystem("s3").put(f"{source}/", f"{inbox}/", recursive=True)
    finish(inbox, dest, OLDER, StandIn().identity().sha256)
    return inbox, dest


@pytest.fixture
def finished(source: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same in folders, where only the weights of the prior have changed since."""
    settings = RunSettings(batch=4, workers=1)
    finish(str(source), str(tmp_path / "dest"), settings, StandIn("A").identity().sha256)
    return source, tmp_path / "dest"


def test_a_night_after_an_upgrade_refuses_and_changes_nothing(archive: tuple[str, str]) -> None:
    inbox, dest = archive
    before = contents(dest)
    with pytest.raises(RedoError) as caught:
        restore(inbox, dest, retry_failed=True)
    why = f"version of the method 1 -> {METHOD_VERSION}, method.steps 4 -> 5"
    assert str(caught.value) == (
        f"nothing was done: 6 of 6 finished images are to be restored again: {why} {COST}; "
        "this is above --max-redo 5%: allow it once with --max-redo 100%, go back to what made them, "
        "or restore only what came since with --only new"
    )
    assert contents(dest) == before

    preview = restore_dataset(inbox, dest, RunSettings(), restorer_factory=StandIn(), dry_run=True)
    assert (preview.counts["left"], preview.exit_status) == (6, ExitStatus.DONE)
    assert next(preview.outdated.lines()).endswith(f"{why} {COST}")
    assert contents(dest) == before


@pytest.mark.usefixtures("ray_here")
def test_it_goes_on_once_it_is_told(archive: tuple[str, str]) -> None:
    inbox, dest = archive
    told = restore(inbox, dest, max_redo="100%")
    assert told.counts["restored"] == 6
    record = read_record(open_store(dest), told.run_id)
    assert record is not None
    assert record["details"]["method_version"] == METHOD_VERSION
    assert [cause["inputs"] for cause in record["outdated"]["redone"]] == [6]
    assert restore(inbox, dest).counts["carried"] == 6


def test_what_came_since_waits_too(finished: tuple[Path, Path]) -> None:
    source, dest = finished
    write_image(source / "new.png", 60)
    with pytest.raises(RedoError, match=r"6 of 6 finished .* weights or calibration of the prior"):
        restore(source, dest, StandIn("B"))
    assert "new.png" not in images(dest)


@pytest.mark.usefixtures("ray_here")
def test_what_came_since_is_restored_on_request(finished: tuple[Path, Path]) -> None:
    source, dest = finished
    write_image(source / "new.png", 60)
    assert restore(source, dest, StandIn("B"), only="new").counts["restored"] == 1
    with pytest.raises(RedoError, match="6 of 7 finished"):
        restore(source, dest, StandIn("B"))


def test_a_limit_does_not_creep_past_the_share(finished: tuple[Path, Path]) -> None:
    """Nights with a limit would restore the whole archive again one after the other."""
    source, dest = finished
    before = contents(dest)
    with pytest.raises(RedoError, match=r"6 of 6 finished .* above --max-redo 50%"):
        restore(source, dest, StandIn("B"), limit=1, max_redo="50%")
    assert contents(dest) == before


@pytest.mark.usefixtures("ray_here")
def test_what_is_few_or_changed_is_restored_again_and_said(
    finished: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    source, dest = finished
    assert restore(source, dest, StandIn("B"), limit=5, max_redo=1).counts["restored"] == 5
    for number in range(2):
        write_image(source / f"album-{number}/{number}.png", 70 + number)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        assert restore(source, dest, StandIn("B"), max_redo=0.2).counts["restored"] == 3
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "1 of 6 finished images are to be restored again",
        "2 of 6 finished images are to be restored again",
    ]
    assert len({row["settings_sha256"] for row in rows(dest).values()}) == 1

"""`i2r restore` and an archive that an older version finished: it refuses, or asks on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from archives import contents, finish
from click.testing import CliRunner
from pictures import png

from jobs.cli import main
from jobs.views.logs import configure_logs
from pipeline.records.lease import Lease
from pipeline.records.manifest import folder_of, to_parquet, to_table
from pipeline.records.summary import ExitStatus
from pipeline.settings import RunSettings
from pipeline.storage.store import open_store


@pytest.fixture
def archive(tmp_path: Path) -> list[str]:
    """Source and destination of two finished images, with weights of the prior that changed since."""
    (tmp_path / "in").mkdir()
    for number in range(2):
        png(number).save(tmp_path / "in" / f"{number}.png")
    places = [str(tmp_path / "in"), str(tmp_path / "out")]
    finish(*places, RunSettings(), "older weights")
    return places


def test_a_schedule_ends_with_a_status_of_its_own(archive: list[str]) -> None:
    before = contents(archive[1])
    result = CliRunner().invoke(main, ["restore", *archive, "--log-format", "json"])
    configure_logs()
    assert result.exit_code == ExitStatus.REFUSED == 6
    last = json.loads(result.stderr.splitlines()[-1])
    assert last["level"] == "error"
    assert "2 of 2 finished images are to be restored again" in last["message"]
    assert "--max-redo 100%" in last["message"]
    assert contents(archive[1]) == before


@pytest.mark.parametrize(("max_redo", "refused"), [("5%", True), ("100%", False)])
def test_a_dry_run_says_what_a_run_would_do(archive: list[str], max_redo: str, refused: bool) -> None:
    result = CliRunner().invoke(main, ["restore", *archive, "--dry-run", "--max-redo", max_redo])
    assert result.exit_code == ExitStatus.DONE
    assert "would handle 2 images" in result.stdout
    assert "weights or calibration of the prior older weight -> " in result.stdout
    assert "(4 megapixels, about 0:02:00 of one model)" in result.stdout
    assert ("this is above --max-redo 5%" in result.stdout) == refused


def test_a_run_that_would_prune_too_much_ends_with_the_same_status(archive: list[str]) -> None:
    (Path(archive[0]) / "0.png").unlink()
    before = contents(archive[1])
    wanted = ["restore", *archive, "--prune", "--max-redo", "100%"]
    told = CliRunner().invoke(main, [*wanted, "--dry-run"])
    assert "would prune: " in told.stdout
    assert "this is above --max-pruned 5%" in told.stdout
    result = CliRunner().invoke(main, wanted)
    configure_logs()
    assert result.exit_code == ExitStatus.REFUSED
    assert "1 of 2 restored images are to be removed: their source is gone" in result.stderr
    assert contents(archive[1]) == before


def test_a_plan_of_a_destination_says_it_too_and_measures_nothing_if_nothing_is_pending(
    archive: list[str], tmp_path: Path
) -> None:
    (tmp_path / "in" / "0.png").unlink()
    result = CliRunner().invoke(main, ["plan", *archive, "--exclude", "1.png"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "would handle 0 images" in result.stdout
    assert "measured" not in result.stdout


@pytest.mark.parametrize("retried", [True, False])
def test_what_another_attempt_would_not_change_is_done_for_whatever_retries(
    archive: list[str], retried: bool
) -> None:
    wanted = ["restore", *archive, *(["--retried"] if retried else [])]
    result = CliRunner().invoke(main, [*wanted, "--set", "max_hours=1e-9"])
    assert "stopped early: its 1e-09 hours are over" in result.stdout
    assert result.exit_code == (ExitStatus.DONE if retried else ExitStatus.STOPPED)
    with Lease(open_store(archive[1]), "other", 60.0):
        result = CliRunner().invoke(main, wanted)
    assert "is being written by run other" in result.stderr
    assert result.exit_code == (ExitStatus.DONE if retried else ExitStatus.LEASE_HELD)
    refused = CliRunner().invoke(main, wanted)
    wrong = CliRunner().invoke(main, [*wanted, "--set", "batchs=1"])
    configure_logs()
    assert (refused.exit_code, wrong.exit_code) == (ExitStatus.REFUSED, ExitStatus.BAD_SETTINGS)


def test_on_a_terminal_it_asks(archive: list[str]) -> None:
    before = contents(archive[1])
    ours, theirs = os.openpty()
    try:
        os.write(ours, b"n\n")
        done = subprocess.run(
            [sys.executable, "-m", "jobs.cli", "restore", *archive],
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert "Restore them again? [y/N]" in done.stdout + done.stderr
    assert done.returncode == ExitStatus.REFUSED
    assert contents(archive[1]) == before


def test_a_glob_that_matches_nothing_is_wrong(archive: list[str]) -> None:
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(main, ["restore", f"{archive[0]}/*.tif", archive[1], *more])
        assert result.exit_code == ExitStatus.BAD_SETTINGS
        assert "*.tif matches nothing: check it" in result.stderr


def test_the_name_of_an_image_is_no_destination(archive: list[str], tmp_path: Path) -> None:
    out = tmp_path / "better.png"
    result = CliRunner().invoke(main, ["restore", f"{archive[0]}/0.png", str(out)])
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert "looks like an image, and would become a folder" in result.stderr
    assert not out.exists()


def test_a_status_names_what_failed(tmp_path: Path) -> None:
    times = {"epoch": 1, "attempts": 1, "finished_at": datetime(2026, 1, 1, tzinfo=UTC), "prior": "p"}
    common = times | {"settings_sha256": "s", "status": "failed", "error_code": "truncated"}
    rows = [
        common | {"source_uri": f"u{number}", "source_key": f"{number:02}.jpg", "error_message": "breaks off"}
        for number in range(23)
    ]
    store = open_store(str(tmp_path))
    store.write(f"{folder_of('r')}/part-000000.parquet", to_parquet(to_table(rows)))
    said = CliRunner().invoke(main, ["status", str(tmp_path)]).stdout.splitlines()
    assert "failed, truncated: 23" in said
    assert "  00.jpg: breaks off" in said
    assert "  and 3 more: --json names them all" in said
    told = json.loads(CliRunner().invoke(main, ["status", str(tmp_path), "--json"]).stdout)
    assert [failure["key"] for failure in told["failures"]] == [f"{number:02}.jpg" for number in range(23)]
    assert told["groups"] == [{"settings_sha256": "s", "prior": "p", "status": "failed", "inputs": 23}]

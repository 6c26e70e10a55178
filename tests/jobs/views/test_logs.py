"""Logs: one JSON object a line that carries the run and the key, or lines for a person."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main
from jobs.views.logs import ProgressLog, configure_logs
from pipeline.records.failures import FailureLog
from pipeline.records.manifest import to_table
from pipeline.records.summary import ExitStatus, Progress


@pytest.fixture(autouse=True)
def text_again() -> Iterator[None]:
    yield
    configure_logs()


def entries(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def run(tmp_path: Path, *options: object) -> Result:
    """Restore a folder without images, which takes no Ray."""
    (tmp_path / "source").mkdir()
    line = ["restore", tmp_path / "source", tmp_path / "dest", "--log-format", "json", *options]
    return CliRunner().invoke(main, [str(each) for each in line])


def test_every_line_of_a_run_is_an_object_with_its_id(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert (result.exit_code, result.stdout) == (0, "")
    logged = entries(result.stderr)
    (record,) = (tmp_path / "dest" / "_i2r" / "runs").glob("*.json")
    assert {entry["run_id"] for entry in logged} == {record.stem}
    assert [entry["message"] for entry in logged] == ["listing", "recording", "ended"]
    assert logged[-1]["exit_status"] == 0
    for entry in logged:
        assert datetime.fromisoformat(str(entry["time"])).tzinfo is not None


def test_an_error_is_an_object_too(tmp_path: Path) -> None:
    result = run(tmp_path, "--prior", "no-such-prior")
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    (entry,) = entries(result.stderr)
    assert entry["level"] == "error"
    assert "no-such-prior" in str(entry["message"])


def test_failures_carry_run_and_key_and_are_bounded_per_kind(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    log = FailureLog("run-1", most=3)
    codes = ["truncated"] * 50 + ["timeout"]
    rows = [
        {"source_key": f"{number}\n.png", "status": "failed", "error_code": code, "error_message": "why"}
        for number, code in enumerate(codes)
    ]
    for start in range(0, len(rows), 5):
        log.add(to_table([*rows[start : start + 5], {"source_key": "good.png", "status": "restored"}]))
    log.close()
    logged = entries(capsys.readouterr().err)
    truncated = [entry for entry in logged if entry["error_code"] == "truncated"]
    assert [entry.get("key") for entry in truncated] == ["0\n.png", "1\n.png", "2\n.png", None, None]
    assert truncated[0]["message"] == "0 .png: why"
    assert truncated[-1]["message"] == "50 images failed with truncated"
    assert [entry["key"] for entry in logged if entry["error_code"] == "timeout"] == ["50\n.png"]
    assert {entry["run_id"] for entry in logged} == {"run-1"}


def test_lines_for_a_person_cannot_be_forged_by_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    row = {
        "source_key": "a\ni2r: all is well",
        "status": "failed",
        "error_code": "timeout",
        "error_message": "w",
    }
    FailureLog("run-1").add(to_table([row]))
    assert capsys.readouterr().err == "i2r: a i2r: all is well: w\n"


def test_progress_is_logged_at_each_new_stage_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json")
    log = ProgressLog()
    for done in range(100):
        log(Progress(done, 100, 1, seconds=10.0, stage="restoring", run_id="run-1"))
    log(Progress(100, 100, 1, seconds=10.0, stage="recording", run_id="run-1", megapixels=6.5))
    first, last = entries(capsys.readouterr().err)
    assert (first["message"], first["done"], last["message"]) == ("restoring", 0, "recording")
    assert (last["done"], last["total"], last["failed"], last["images_per_second"]) == (100, 100, 1, 10.0)
    assert (last["megapixels"], last["megapixels_per_second"]) == (6.5, 0.65)
    assert "megapixels" not in first


def test_a_library_has_no_say_on_the_standard_error() -> None:
    handlers = logging.getLogger("pipeline").handlers
    assert any(isinstance(handler, logging.NullHandler) for handler in handlers)

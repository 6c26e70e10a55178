"""Three nights on an S3 endpoint: what comes, changes, fails and goes, and a night with nothing to do."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
from small_images import write_image
from standin import BROKEN, StandIn

from pipeline.errors import LeaseHeldError
from pipeline.records.lease import Lease
from pipeline.records.summary import ExitStatus, RunSummary, read_records
from pipeline.runs.run import restore_dataset
from pipeline.settings import RunSettings
from pipeline.storage.store import open_store

pytestmark = pytest.mark.usefixtures("ray_here")
QUIET_NIGHT = 20.0
"""Seconds within which a night that finds nothing to do has to end."""


def test_three_nights(source: Path, bucket: str) -> None:
    store = fsspec.filesystem("s3")
    inbox, dest = f"{bucket}/inbox", f"{bucket}-restored/dest"
    store.mkdir(f"{bucket}-restored")
    night = RunSettings(batch=4, retry_failed=True)

    def put() -> None:
        store.put(f"{source}/", f"{inbox}/", recursive=True)

    def run() -> RunSummary:
        return restore_dataset(inbox, dest, night, restorer_factory=StandIn())

    def handled(summary: RunSummary) -> dict[str, int]:
        return {name: number for name, number in summary.counts.items() if number}

    write_image(source / "broken.png", 50, mark=BROKEN)
    (source / "cut.png").write_bytes((source / "broken.png").read_bytes()[:900])
    put()
    first = run()
    assert handled(first) == {"restored": 6, "failed": 2}
    assert (first.exit_status, first.new_failed) == (ExitStatus.SOME_FAILED, 2)

    write_image(source / "new.png", 60)  # came
    write_image(source / "album-0" / "0.png", 61)  # changed
    write_image(source / "broken.png", 62)  # mended
    put()
    store.rm(f"{inbox}/album-1/1.png")  # went
    second = run()  # what is cut is not tried again, and no news
    assert handled(second) == {"restored": 3, "carried": 5}
    assert (second.exit_status, second.carried_failed) == (ExitStatus.SOME_FAILED, 1)
    assert second.new_failed == 0
    write_image(source / "cut.png", 63)  # whole now
    store.put_file(str(source / "cut.png"), f"{inbox}/cut.png")
    assert handled(run()) == {"restored": 1, "carried": 7}
    assert store.exists(f"{dest}/album-1/1.png")  # what was restored stays

    start = time.monotonic()
    third = run()
    assert time.monotonic() - start < QUIET_NIGHT
    assert handled(third) == {"carried": 8}
    assert third.exit_status == ExitStatus.DONE
    records = [record["run_id"] for record in read_records(open_store(dest))]
    assert [run_id for run_id in records if run_id in {first.run_id, second.run_id, third.run_id}] == [
        first.run_id,
        second.run_id,
        third.run_id,
    ]
    assert len(records) == 4


QUIET = """
import sys
from standin import StandIn
from pipeline import restore_dataset

if __name__ == "__main__":
    summary = restore_dataset(sys.argv[1], sys.argv[2], restorer_factory=StandIn())
    print(summary.counts["carried"], *sorted({"diffusers", "ray", "torch"} & set(sys.modules)))
"""


def test_a_quiet_night_starts_no_ray(source: Path, tmp_path: Path) -> None:
    dest = str(tmp_path / "dest")
    assert restore_dataset(str(source), dest, restorer_factory=StandIn()).counts["restored"] == 6
    command = [sys.executable, "-c", QUIET, str(source), dest]
    quiet = subprocess.run(command, capture_output=True, text=True, check=True)
    assert quiet.stdout.split() == ["6"]


def test_a_night_that_comes_too_early_stands_back(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = str(tmp_path / "dest")
    monkeypatch.setenv("I2R_JOB", "archive/night-1")
    with Lease(open_store(dest), "last-night", 60.0):
        monkeypatch.setenv("I2R_JOB", "archive/night-2")
        with pytest.raises(LeaseHeldError, match="last-night"):
            restore_dataset(str(source), dest, RunSettings(), restorer_factory=StandIn())
    assert not list(Path(dest).glob("album-*"))

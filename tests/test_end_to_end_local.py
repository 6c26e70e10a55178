"""The command as a person runs it, on local folders: killed, stopped, run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.records.verify import newest_rows, verify_dataset
from pipeline.storage.store import open_store

ROOT = Path(__file__).parent.parent
IMAGES = 24
IN_FLIGHT = 12
"""Most images that a run of these can have under way: two batches at each stage, and what waits for its row.
"""

COMMAND = """
import sys
from standin import StandIn
from jobs.views.progress import show_progress, stop_on_signals
from pipeline import RunSettings, restore_dataset

if __name__ == "__main__":
    source, dest, seconds, log = sys.argv[1:]
    with stop_on_signals() as stop, show_progress() as on_progress:
        summary = restore_dataset(
            source, dest, RunSettings(batch=1, workers=1, flush_seconds=0.5), on_progress=on_progress,
            stop=stop, restorer_factory=StandIn(seconds=float(seconds), log=log),
        )
    print(dict(summary.counts))
    sys.exit(summary.exit_status)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(IMAGES):
        pixels = np.random.default_rng(number).integers(0, 200, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def start(source: Path, dest: Path, seconds: float, log: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(
        [*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(ROOT / "tests" / "pipeline")]
    )
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(source), str(dest), str(seconds), str(log)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def wait_for_objects(dest: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(list(dest.glob("*.png"))) < count:
        assert time.monotonic() < deadline, "the run stored nothing"
        time.sleep(0.05)


def test_a_killed_run_is_finished_by_the_same_command_at_once(source: Path, tmp_path: Path) -> None:
    dest, log = tmp_path / "dest", tmp_path / "log"
    first = start(source, dest, 0.3, log)
    wait_for_objects(dest, 8)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    for path in dest.glob("*"):
        if path.is_file():
            Image.open(path).load()  # whole, or it would raise
    second = start(source, dest, 0.0, log)
    out, err = second.communicate(timeout=200)
    assert second.returncode == 0, err
    assert f"'restored': {IMAGES}" not in out
    seen = Counter(log.read_text().split())
    assert len(seen) == IMAGES
    assert sum(seen.values()) <= IMAGES + IN_FLIGHT
    assert verify_dataset(str(dest)).faults == []
    rows = [row for batch in newest_rows(open_store(str(dest)), ("source_key",)) for row in batch.to_pylist()]
    assert sorted(row["source_key"] for row in rows) == sorted(path.name for path in source.iterdir())
    assert sorted(path.name for path in dest.iterdir()) == [
        *sorted(path.name for path in source.iterdir()),
        "_i2r",
    ]


def test_a_run_that_is_told_to_stop_ends_cleanly(source: Path, tmp_path: Path) -> None:
    dest, log = tmp_path / "dest", tmp_path / "log"
    command = start(source, dest, 0.3, log)
    wait_for_objects(dest, 3)
    command.send_signal(signal.SIGTERM)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 5, err
    assert "'left': 0" not in out
    assert "i2r: restoring" in err
    assert "Traceback" not in err
    assert verify_dataset(str(dest)).faults == []
    rows = [row for batch in newest_rows(open_store(str(dest)), ("source_key",)) for row in batch.to_pylist()]
    assert 0 < len(rows) < IMAGES

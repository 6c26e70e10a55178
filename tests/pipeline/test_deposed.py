"""A driver that is frozen past its lease, taken over and woken: neither it nor its stages write any more."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_images import write_image
from standin import StandIn
from test_run import restore

from pipeline.errors import LeaseHeldError
from pipeline.records.verify import verify_dataset

PATIENCE = 120.0
LEASE_SECONDS = 2
FROZEN = """
import sys
from standin import StandIn
from pipeline import RunSettings, restore_dataset
from pipeline.errors import LeaseLostError

if __name__ == "__main__":
    settings = RunSettings(lease_seconds=float(sys.argv[3]), flush_seconds=0.2, batch=2, max_redo=1)
    try:
        restore_dataset(*sys.argv[1:3], settings, restorer_factory=StandIn("2", seconds=0.3))
    except LeaseLostError as error:
        sys.exit(str(error))
"""


def state(dest: Path) -> dict[str, tuple[int, int]]:
    """Which file lies at each place of a destination, beside leases and what is half written."""
    found = {}
    for path in sorted(dest.rglob("*")):
        if path.is_file() and not {"lease", "tmp"}.intersection(path.relative_to(dest).parts):
            found[path.relative_to(dest).as_posix()] = (path.stat().st_ino, path.stat().st_mtime_ns)
    return found


def take_over(source: Path, dest: Path) -> None:
    """Restore everything again, as soon as the lease can be had."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(LeaseHeldError):
            assert restore(source, dest, StandIn("3"), max_redo=1).counts["restored"] == 40
            return
        time.sleep(0.2)
    raise AssertionError("the lease of a frozen driver never ends")


@pytest.mark.usefixtures("ray_here")
@pytest.mark.timeout(300)
def test_a_driver_that_was_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    for number in range(40):
        write_image(source / f"{number:02d}.png", seed=number, side=16)
    restore(source, dest)
    before = state(dest)
    frozen = subprocess.Popen(
        [sys.executable, "-c", FROZEN, source, dest, str(LEASE_SECONDS)],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while sum(before.get(key) != there for key, there in state(dest).items() if key[0] != "_") < 4:
            assert frozen.poll() is None, frozen.communicate()[1]
            assert time.monotonic() < deadline, "nothing is restored"
            time.sleep(0.05)
        frozen.send_signal(signal.SIGSTOP)
        take_over(source, dest)
        after = state(dest)
        frozen.send_signal(signal.SIGCONT)
        said = frozen.communicate(timeout=PATIENCE)[1]
    finally:
        frozen.kill()
        frozen.wait()
    assert frozen.returncode == 1, said
    assert f"another run took over file://{dest}, as this one gave no sign of life: this one stops" in said
    assert state(dest) == after
    assert verify_dataset(str(dest)).faults == []

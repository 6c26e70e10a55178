"""What is listed, and what a stored listing takes of the memory while it is written and read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.records.listing import Listing, is_input
from pipeline.settings import RunSettings
from pipeline.sources.walk import open_source
from pipeline.storage.store import open_store

MOST_MIB = 28
"""With ten batches held until their part is written 34 are measured, with Arrow's threads reading it 48."""
PROGRAM = """
import sys
from pathlib import Path

from pipeline.sources.containers import Found
from pipeline.records.listing import BATCHES_PER_PART, ROWS_PER_BATCH, Listing, to_batch
from pipeline.storage.store import open_store


def resident_mib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def batch(number):
    keys = [f"{number}/scan-{row:08}.jpg" for row in range(ROWS_PER_BATCH)]
    return to_batch([Found(key, f"/a/{key}", 1, f"{hash(key):032x}", f"file:///a/{key}") for key in keys])


listing = Listing(open_store(sys.argv[1]), "listing")
batch(0)
before = resident_mib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
listing.store_part(batch(number) for number in range(BATCHES_PER_PART))
assert sum(rows.num_rows for rows in listing.batches()) == BATCHES_PER_PART * ROWS_PER_BATCH
print(resident_mib("VmHWM") - before)
"""


def test_a_part_takes_little_more_memory_than_a_batch(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert float(run.stdout) < MOST_MIB


def test_the_companions_that_macos_leaves_are_counted_as_no_images(tmp_path: Path) -> None:
    for name in ("a.jpg", "._a.jpg", ".DS_Store", "b/._c.PNG", "__MACOSX/b/._c.png"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).touch()
    for include in ((), ("**/*.jpg", "*.png")):
        listing = Listing(open_store(str(tmp_path / "listed")), "listing")
        listing.fill(open_source(str(tmp_path / "source")), RunSettings(include=include))
        assert [key for batch in listing.batches() for key in batch["source_key"].to_pylist()] == ["a.jpg"]
        assert listing.ignored == {"._*": 3, "(none)": 1}
    assert is_input("._a.jpg", (), (), named=True)  # whoever names it, means it

"""`i2r demo`: degrades the sample photographs in six ways, restores them, and shows the results."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from rich import box
from rich.console import Console
from rich.table import Table

from i2r.metrics import noise_level, psnr, ssim
from i2r.training.degradation import DEGRADATIONS, FloatImage, encode_jpeg
from jobs.views.contact_sheet import Panel, Strip, contact_sheet
from jobs.views.progress import show_progress, stop_on_signals
from pipeline import SettingsError, restore_dataset
from pipeline.records.manifest import FOLDER

SAMPLES = Path(__file__).parent / "samples"

DEGRADATION_OF: Mapping[str, str] = {
    "honey-bee": "noise",
    "citrus-fruits": "jpeg",
    "dogs": "blur",
    "pagoda": "low-resolution",
    "mountains": "rain",
    "portrait": "dead-pixels",
}
"""Clean sample to the name of its degradation in `DEGRADATIONS`."""


@dataclass(frozen=True)
class Specimen:
    """One input of the demo."""

    title: str
    degraded: Path
    original: Path | None  # None where there is no better version


@dataclass(frozen=True)
class Result:
    """Result of a specimen: its status, and measurements before and after as text."""

    specimen: Specimen
    status: str
    restored: Path | None  # None when it failed
    before: str
    after: str
    seconds: float


def run_demo(destination: Path | None = None) -> int:
    """Restore the samples into a new folder, and print a table of the results.

    Args:
        destination: a folder that does not exist yet; by default `demo-output/<date and time>`.

    Returns:
        The exit status of the run.

    Raises:
        SettingsError: the destination exists.
        RunError: the run could not finish.
    """
    folder = destination or Path("demo-output") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    if folder.exists():
        raise SettingsError(f"{folder} exists: name a folder that does not exist yet")
    folder.mkdir(parents=True)
    restored = folder / "restored"
    specimens = prepare(folder / "degraded")
    print(f"Restoring {len(specimens)} photographs. Nobody says what is wrong with them.", flush=True)
    with stop_on_signals() as stop, show_progress() as on_progress:
        summary = restore_dataset(str(folder / "degraded"), str(restored), on_progress=on_progress, stop=stop)

    rows = {row["source_key"]: row for row in read_rows(restored)}
    done = [specimen for specimen in specimens if specimen.degraded.name in rows]
    results = [judge(specimen, rows[specimen.degraded.name], restored) for specimen in done]
    sheet = folder / "contact-sheet.png"
    draw_sheet(results).save(sheet)
    Console().print(as_table(results))
    print(f"restored files    {restored}/")
    print(f"manifest          {restored / FOLDER}/")
    print(f"before and after  {sheet}")
    return summary.exit_status


def prepare(folder: Path) -> list[Specimen]:
    """Write the demo's inputs into a new folder: degraded samples, and historical photographs as they are."""
    folder.mkdir()
    specimens = []
    for seed, (name, degradation) in enumerate(DEGRADATION_OF.items()):
        original = SAMPLES / "clean" / f"{name}.png"
        path = folder / f"{name}.{'jpg' if degradation == 'jpeg' else 'png'}"
        if degradation == "jpeg":
            path.write_bytes(encode_jpeg(read_image(original)))
        else:
            degraded = DEGRADATIONS[degradation](read_image(original), np.random.default_rng(seed))
            Image.fromarray(np.round(degraded * 255).astype(np.uint8)).save(path)
        specimens.append(Specimen(f"{name}, {degradation}", path, original))
    for found in sorted((SAMPLES / "historical").iterdir()):
        path = Path(shutil.copyfile(found, folder / found.name))
        specimens.append(Specimen(f"{found.stem}, as found", path, None))
    return specimens


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows that one run wrote to its destination `folder`; none if it ended before the first."""
    return [
        row
        for part in sorted((folder / FOLDER).glob("*/*.parquet"))
        for row in pq.read_table(part).to_pylist()
    ]


def judge(specimen: Specimen, row: Mapping[str, Any], folder: Path) -> Result:
    """Measure the output of a specimen in the destination `folder`; `row` is its row of the manifest."""
    seconds = sum(value for value in row["timings"].values() if value)
    restored = folder / specimen.degraded.name
    if row["status"] == "failed":
        before = measure(specimen.degraded, specimen.original)
        return Result(specimen, f"failed: {row['error_code']}", None, before, "", seconds)
    before, after = (measure(path, specimen.original) for path in (specimen.degraded, restored))
    return Result(specimen, row["status"], restored, before, after, seconds)


def measure(image: Path, original: Path | None) -> str:
    """PSNR and SSIM against the original or, without one, the standard deviation of the noise."""
    pixels = read_image(image)
    if original:
        reference = read_image(original)
        return f"{psnr(pixels, reference):.1f} dB SSIM {ssim(pixels, reference):.2f}"
    return f"noise {255 * noise_level(pixels):.1f}/255"


def as_table(results: Sequence[Result]) -> Table:
    """The table that the demo prints at its end."""
    table = Table(
        "image", "status", "before", "after", "sec", box=box.SIMPLE, pad_edge=False, collapse_padding=True
    )
    table.columns[-1].justify = "right"
    for result in results:
        cells = (result.specimen.title, result.status, result.before, result.after)
        table.add_row(*cells, f"{result.seconds:.1f}")
    return table


def draw_sheet(results: Sequence[Result]) -> Image.Image:
    """Degraded, restored and original side by side, with the measurements under them."""
    strips = []
    for result in results:
        degraded = _panel(result.specimen.degraded, result.before)
        restored = _panel(result.restored, result.after or "no result")
        original = _panel(
            result.specimen.original, "original" if result.specimen.original else "no original exists"
        )
        strips.append(Strip(f"{result.specimen.title}: {result.status}", (degraded, restored, original)))
    return contact_sheet(("degraded", "restored", "original"), strips)


def read_image(path: Path) -> FloatImage:
    """Read a photograph of 8 bits as (H, W, 3) in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)


def _panel(path: Path | None, caption: str) -> Panel:
    if path is None:
        return Panel(caption)
    with Image.open(path) as picture:
        return Panel(caption, picture.convert("RGB"))

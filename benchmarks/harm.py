"""What the method does to clean pictures, blind: all that it changes is harm.

    python -m benchmarks.harm --pictures PICTURES                  the set that is only measured
    python -m benchmarks.harm --pictures PICTURES --in-gray        the same without colours: harm-gray.*
    python -m benchmarks.harm --pictures PICTURES --role choose    the set that chooses

PICTURES is the folder that `python -m benchmarks.clean_pictures` builds; drawn pages are added to it. Writes
`harm.md` and `harm.json` beside this script, and the twenty worst as a sheet, `harm-worst.png`, which stays
out of the repository as the pictures do. Those of the other role go to `harm-choose.*`. Every picture is
written to the `.jsonl` when it is measured, and not measured again unless prior or settings have changed, or
`--anew` is given, as a change of the method itself asks for.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.util import view_as_windows

from benchmarks import harm_page
from benchmarks.cells import Cells, digest
from benchmarks.clean_pictures import CHOOSE, MEASURE, CleanPicture, clean_pictures
from benchmarks.commit import commit
from benchmarks.machine import in_words, machine
from benchmarks.scenes import CEILING, bounded_psnr, rounded
from i2r import Degraded, Restorer, RestoreSettings, load_prior
from i2r.training.degradation import FloatImage

HERE = Path(__file__).parent
COLUMN = "ours, blind"
WINDOW = 64
"""Side in pixels of the windows that are looked at one by one: a large picture hides a lost face."""
STEP = 16
QUALITY = HERE / "quality.json"
"""What `benchmarks.quality` measured of degraded photographs: clean pictures ought to be more typical."""


@dataclass(frozen=True)
class Harm:
    """What became of a clean picture.

    Attributes:
        outcome: as in `i2r.Restoration`.
        found: what was found wrong with it, and what came of that.
        psnr: of the result to the picture, in dB, at most `CEILING`.
        worst_window: that of the worst window of `WINDOW` pixels a side.
        changed: share of the pixels.
        typicality: of the picture as it was, see `i2r.Restoration`; None where it was not screened.
        nfe, seconds: what it took.
    """

    outcome: str
    found: tuple[str, ...]
    psnr: float
    worst_window: float
    changed: float
    typicality: float | None
    nfe: int
    seconds: float


def measure(restorer: Restorer, picture: CleanPicture) -> tuple[Harm, FloatImage]:
    """Restore a clean picture; returns what became of it, and the result (H, W, C) in [0, 1]."""
    clean = picture.pixels()
    started = time.process_time()
    [found] = restorer.restore([Degraded(clean)])
    seconds = time.process_time() - started
    result = rounded(found.image)
    error = np.square(result.astype(np.float64) - clean).mean(axis=-1)
    return Harm(
        str(found.outcome),
        tuple(f"{finding.what} {finding.action}" for finding in found.findings),
        bounded_psnr(result, clean),
        _worst_window(error),
        float((error > 0).mean()),
        None if math.isnan(found.typicality_before) else found.typicality_before,
        found.nfe,
        seconds,
    ), result


def _worst_window(error: np.ndarray) -> float:
    """PSNR in dB of the worst window of a squared error (H, W)."""
    sides = [min(WINDOW, side) for side in error.shape]
    worst = view_as_windows(error, sides, STEP).mean(axis=(-1, -2)).max()
    return min(float(-10 * np.log10(max(worst, 1e-12))), CEILING)


def fill(cells: Cells, restorer: Restorer, pictures: Sequence[CleanPicture]) -> None:
    """Measure the pictures that are missing."""
    for index, picture in enumerate(pictures, 1):
        key = picture.kind, picture.name, COLUMN
        if key not in cells:
            harm, _ = measure(restorer, picture)
            cells.add(key, asdict(harm))
            if harm.psnr < CEILING:
                print(f"{index}/{len(pictures)} {picture.kind} {picture.name}: {harm}", flush=True)


def sheet(restorer: Restorer, worst: Sequence[CleanPicture]) -> Image.Image:
    """A line a picture: as it was, as it is, and four times the difference; around its worst window."""
    tile = 256
    lines = Image.new("RGB", (3 * tile, tile * len(worst)), "gray")
    for row, picture in enumerate(worst):
        clean, (_, result) = picture.pixels(), measure(restorer, picture)
        error = np.square(result - clean).mean(axis=-1)
        top, left = (int(x) for x in np.unravel_index(error.argmax(), error.shape))
        box = tuple(
            slice(start := max(0, min(at - tile // 2, length - tile)), start + tile)
            for at, length in zip((top, left), error.shape, strict=True)
        )
        for column, shown in enumerate((clean, result, (result - clean) * 4 + 0.5)):
            levels = np.rint(np.clip(shown[box], 0, 1) * 255).astype(np.uint8).squeeze()
            lines.paste(Image.fromarray(levels).convert("RGB"), (column * tile, row * tile))
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="folder of clean pictures; drawn pages alone without")
    parser.add_argument("--role", choices=[CHOOSE, MEASURE], default=MEASURE)
    parser.add_argument("--in-gray", action="store_true", help="look at all pictures without their colours")
    parser.add_argument("--kinds", nargs="*", metavar="KIND", help="only these")
    parser.add_argument("--drawn", type=int, default=15, help="drawn pages of each kind")
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the method")
    parser.add_argument("--out", type=Path, help="beside this script by default")
    parser.add_argument("--anew", action="store_true", help="measure what is measured already again")
    options = parser.parse_args(arguments)
    parts = ["harm"] + ["gray"] * options.in_gray + [options.role] * (options.role != MEASURE)
    stem = "-".join(parts)
    out: Path = options.out or HERE / f"{stem}.json"

    settings = RestoreSettings.model_validate(dict(pair.split("=", 1) for pair in options.set))
    restorer = Restorer(load_prior(options.prior), settings)
    depends = digest(prior=restorer.prior.sha256, settings=settings.model_dump(mode="json"))
    pictures = clean_pictures(options.pictures, options.role, options.drawn, in_gray=options.in_gray)
    if options.kinds:
        pictures = [picture for picture in pictures if picture.kind in options.kinds]
    cells = Cells(out.with_suffix(".jsonl"), {COLUMN: depends})
    if options.anew:
        cells.forget({p.kind for p in pictures}, {p.name for p in pictures}, {COLUMN})
    fill(cells, restorer, pictures)

    measured = {picture: cells.get((picture.kind, picture.name, COLUMN)) or {} for picture in pictures}
    record = summarise(restorer, options.role, measured) | {"in_gray": options.in_gray}
    out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    degraded = json.loads(QUALITY.read_text())["all"]["rows"]
    out.with_suffix(".md").write_text(page := harm_page.page(record, degraded))
    print(page)
    named = {(picture.kind, picture.name): picture for picture in pictures}
    worst = [named[row["kind"], row["name"]] for row in harm_page.worst(record["pictures"])]
    if worst:
        sheet(restorer, worst).save(out.with_name(f"{out.stem}-worst.png"))


def summarise(
    restorer: Restorer, role: str, measured: Mapping[CleanPicture, Mapping[str, Any]]
) -> dict[str, Any]:
    """The record: every picture with what became of it, and what measured it."""
    return {
        "role": role,
        "prior": restorer.prior.name,
        "prior_sha256": restorer.prior.sha256,
        "settings": restorer.settings.model_dump(mode="json"),
        "machine": in_words(machine(restorer)),
        "commit": commit(),
        "pictures": [
            {"kind": picture.kind, "name": picture.name, "photograph": picture.photograph}
            | {name: harm.get(name) for name in Harm.__dataclass_fields__}
            for picture, harm in measured.items()
        ],
    }


if __name__ == "__main__":
    main()

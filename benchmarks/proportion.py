"""What screening in proportion sees of a large picture, against screening all of it, and in what time.

    python -m benchmarks.proportion --pictures PICTURES                  30 pictures in 20 cases: hours
    python -m benchmarks.proportion --pictures PICTURES --a-picture 2    each in two cases beside clean

PICTURES is the folder of `python -m benchmarks.clean_pictures` whose pictures choose. Its pictures of at
least two megapixels are screened clean and degraded, all over, in one corner or in the shadows. With
`--a-picture` the cases go round: every one is of as many pictures as any other, and all pictures are clean
once. Every screening is written to `proportion.jsonl` beside this script when it is made, and not made
again: a run that was stopped goes on, and one of more cases makes only those that lack. Then comes
`proportion.md`, of the cells that were made in both ways.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from benchmarks.cells import Cells, digest
from benchmarks.commit import commit
from benchmarks.machine import in_words, machine
from benchmarks.quality_page import auroc
from benchmarks.scenes import ROWS, SEED, rounded
from i2r import Restorer, load_prior
from i2r.diffusion.sampling import drive
from i2r.diffusion.tiling import TileGrid
from i2r.screening import spots
from i2r.screening.drawings import is_drawn
from i2r.screening.overlays import OverlayFinder
from i2r.screening.risk import RISK
from i2r.screening.screen import screen
from i2r.training.degradation import FloatImage

HERE = Path(__file__).parent
LEAST = 2_000_000
"""Pixels of the pictures."""
CORNER = 320
"""Side in pixels of the corner that is damaged."""
ALL_OVER = (
    *("noise 15/255", "noise 25/255", "JPEG quality 20", "JPEG quality 10", "blur sigma 1.5", "blur sigma 3"),
    *("low resolution 2x", "rain 2 %", "rain 5 %", "scratches 1 %", "dead pixels 1 %", "dust 0.5 %"),
    *("noisy shadows 15/255", "noisy shadows 25/255"),
)
IN_A_CORNER = ("dead pixels 1 %", "salt and pepper 2 %", "rain 5 %", "scratches 3 %", "noise 25/255")
CLEAN = "clean"
SAMPLED, IN_FULL = "in proportion", "in full"
_COLUMNS, _FIGURES = (SAMPLED, IN_FULL), ("AUROC", "recall", "seconds")


def cases() -> list[str]:
    return [CLEAN, *ALL_OVER, *(f"{row}, in a corner" for row in IN_A_CORNER)]


def degrade(image: FloatImage, case: str) -> FloatImage:
    """A picture (H, W, 3) in [0, 1] as a case has it."""
    row, in_a_corner = case.partition(",")[0], "corner" in case
    rng = np.random.default_rng(SEED)
    if not in_a_corner:
        return rounded(ROWS[row].degrade(image, rng))
    degraded = image.copy()
    corner = slice(-CORNER, None), slice(-CORNER, None)
    degraded[corner] = rounded(ROWS[row].degrade(image[corner].copy(), rng))
    return degraded


def shown(cases: Sequence[str], index: int, count: int) -> list[str]:
    """The cases of one picture of many: clean, and so many others, each as often as any other."""
    others = [case for case in cases if case != CLEAN]
    first, count = index * count, min(count, len(others))
    return [CLEAN, *(others[(first + step) % len(others)] for step in range(count))]


def screened(restorer: Restorer, image: FloatImage, *, in_full: bool) -> dict[str, Any]:
    """The first screening of a picture, and the seconds of a clock and of processors that it took."""
    prior, settings = restorer.prior, restorer.settings
    tuning = replace(spots.SPOTS, in_full=image.size) if in_full else spots.SPOTS
    started, busy = time.perf_counter(), time.process_time()
    x = torch.from_numpy(image).permute(2, 0, 1).contiguous() * 2 - 1
    height, width = x.shape[1:]
    grid = TileGrid.fitting(height, width, settings.tile, settings.overlap, prior.stride)
    with patch.object(spots, "SPOTS", tuning):
        process = screen(grid.pad(x), grid, prior.calibration, RISK.suspicion, drawn=is_drawn(x)[1])
        found = OverlayFinder.load(prior.device, prior.precision)
        [seen] = drive([process], [grid], restorer.evaluator, found)
    return {
        "typicality": seen.typicality,
        "p_values": dict(seen.p_values),
        "atypical": sorted(seen.atypical),
        "where": {name: len(where) for name, where in seen.where.items()},
        "seconds": time.perf_counter() - started,
        "busy": time.process_time() - busy,
    }


def page(cells: Cells, pictures: Sequence[str], restorer: Restorer) -> str:
    """The tables, of the pictures that were screened in both ways."""
    made = {case: _in_both(cells, case, pictures) for case in cases()}
    clean = made.pop(CLEAN)
    made = {case: both for case, both in made.items() if both[SAMPLED]}
    together = {column: [cell for both in made.values() for cell in both[column]] for column in _COLUMNS}
    lines = [
        "# Screening in proportion",
        "",
        f"`python -m benchmarks.proportion`, {in_words(machine(restorer))}, at {commit()}.",
        f"{len(clean[SAMPLED])} clean pictures, of at least {LEAST / 1e6:g} megapixels.",
        "Recall: the share of pictures in which something is atypical. Of clean ones it is false alarms.",
        "Seconds: of processors, on average.",
        "",
        f"| case | pictures | {' | '.join(f'{what} {column}' for what in _FIGURES for column in _COLUMNS)} |",
        "|---|---|---|---|---|---|---|---|",
        *(_line(case, both, clean) for case, both in [(CLEAN, clean), *made.items(), ("all", together)]),
    ]
    return "\n".join(lines) + "\n"


Both = Mapping[str, Sequence[Mapping[str, Any]]]
"""Cells by how they were screened, of the same pictures."""


def _in_both(cells: Cells, case: str, pictures: Sequence[str]) -> Both:
    pairs = [[cells.get((case, name, column)) for column in _COLUMNS] for name in pictures]
    sampled, in_full = [], []
    for one, other in pairs:
        if one is not None and other is not None:
            sampled.append(one)
            in_full.append(other)
    return {SAMPLED: sampled, IN_FULL: in_full}


def _line(case: str, both: Both, clean: Both) -> str:
    if not (both[SAMPLED] and clean[SAMPLED]):
        return f"| {case} | 0 | | | | | | |"
    areas = [auroc(_of(both[column], "typicality"), _of(clean[column], "typicality")) for column in _COLUMNS]
    recalls = [fmean(map(bool, _of(both[column], "atypical"))) for column in _COLUMNS]
    seconds = [fmean(_of(both[column], "busy")) for column in _COLUMNS]
    figures = [
        f"{figure:.{digits}f}" for row, digits in ((areas, 4), (recalls, 2), (seconds, 0)) for figure in row
    ]
    return f"| {case} | {len(both[SAMPLED])} | {' | '.join(figures)} |"


def _of(cells: Sequence[Mapping[str, Any]], what: str) -> list[Any]:
    return [cell[what] for cell in cells]


def _pixels(path: Path) -> int:
    with Image.open(path) as picture:
        return math.prod(picture.size)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=Path, required=True, help="the folder of those that choose")
    parser.add_argument("--cases", nargs="*", default=cases(), choices=cases(), metavar="CASE")
    parser.add_argument("--columns", nargs="*", default=[SAMPLED, IN_FULL], choices=[SAMPLED, IN_FULL])
    parser.add_argument("--a-picture", type=int, default=len(cases()), help="cases of each, beside clean")
    parser.add_argument("--most", type=int, default=30, help="pictures, the smallest first")
    parser.add_argument("--names", nargs="*", metavar="NAME", help="only these pictures, without .png")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=HERE / "proportion.md")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    restorer = Restorer(load_prior("photo-64"))
    sizes = {path: _pixels(path) for path in sorted(options.pictures.rglob("*.png"))}
    large = sorted((path for path, size in sizes.items() if size >= LEAST), key=lambda path: sizes[path])
    depends = digest(prior=restorer.prior.sha256, spots=asdict(spots.SPOTS), seed=SEED)
    cells = Cells(options.out.with_suffix(".jsonl"), dict.fromkeys((SAMPLED, IN_FULL), depends))
    for index, path in enumerate(large[: options.most]):
        if options.names and path.stem not in options.names:
            continue
        image = np.asarray(Image.open(path).convert("RGB"), np.float32) / np.float32(255)
        for case in shown(options.cases, index, options.a_picture):
            keys = [key for column in options.columns if (key := (case, path.stem, column)) not in cells]
            degraded = degrade(image, case) if keys else image
            for key in keys:
                cells.add(key, screened(restorer, degraded, in_full=key[-1] == IN_FULL))
                print(*key, flush=True)
    text = page(cells, [path.stem for path in large], restorer)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

"""What becomes of an image that is larger than a tile: seams, drift of brightness, memory.

    python -m benchmarks.canvas

restores noisy photographs in tiles and in one piece, flat areas, and scans of 24 Mpx, and writes
``canvas.md`` and ``canvas.json`` beside this script. ``--only memory`` measures that part anew and keeps the
others.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

import i2r.restorer
from benchmarks.machine import in_words, machine
from benchmarks.sweep import changed
from i2r import Degraded, Restorer, RestoreSettings, load_prior
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid
from i2r.form_names import AUTO
from i2r.prior.selftest import self_test
from i2r.screening.overlays import OverlayFinder
from i2r.screening.regions import regions
from i2r.training.degradation import (
    DEGRADATIONS,
    Degradation,
    FloatImage,
    drops,
    gaussian_noise,
    rain,
    stains,
)

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "jobs" / "samples" / "clean"
SEED = 7
TILES = ((64, 16), (128, 16), (208, 16))
"""Longest side and overlap."""
WHOLE = 320
"""Side of a tile that holds a sample photograph."""
BRIGHTNESSES = (0.1, 0.5, 0.9)
FLAT_SIDE, BLOCK = 400, 40
SCAN = (4000, 6000)
PIECE = 192
"""Side of the part of a photograph that is mirrored over and over; a multiple of any grid of JPEG blocks."""
PERIOD = 2 * PIECE
KINDS = (
    *("clean", "noise", "jpeg", "blur", "motion-blur", "low-resolution"),
    *("rain", "dead-pixels", "stains", "drops"),
)
SPECIFIED = {"low-resolution": ("downsampling",)}
"""What is specified where the photograph, which clips, does not show it."""
DRAWN: Mapping[str, Degradation] = {"rain": partial(rain, fraction=0.08), "stains": stains, "drops": drops}
"""What is drawn before the part is mirrored: marks are as large as the picture that they fall on.

Of rain there is as much as is seen in the photograph.
"""


def samples() -> Iterator[FloatImage]:
    """The clean sample photographs, (H, W, 3) in [0, 1]."""
    for path in sorted(SAMPLES.glob("*.png")):
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("RGB"), np.float32) / np.float32(255)


def restorer(prior: str, **settings: Any) -> Restorer:
    return Restorer(load_prior(prior), RestoreSettings(**settings))


def seams(prior: str) -> list[dict[str, Any]]:
    """Errors where tiles meet, over those of one tile in the same pixels, held against the same elsewhere."""
    images = list(samples())
    noisy = [gaussian_noise(image, np.random.default_rng([SEED, i])) for i, image in enumerate(images)]
    whole = errors(restorer(prior, tile=WHOLE, overlap=0), images, noisy)
    rows = []
    for tile, overlap in TILES:
        tiled = errors(restorer(prior, tile=tile, overlap=overlap), images, noisy)
        masks = [borders(TileGrid.fitting(image.shape[0], image.shape[1], tile, overlap)) for image in images]
        inside = [~mask for mask in masks]
        at, away = (mean(tiled, some) / mean(whole, some) for some in (masks, inside))
        rows.append(
            {"tile": tile, "overlap": overlap, "at_borders": decibels(at), "elsewhere": decibels(away)}
        )
        print(rows[-1], flush=True)
    return rows


def errors(restorer: Restorer, clean: list[FloatImage], noisy: list[FloatImage]) -> list[FloatImage]:
    """Squared error of every pixel, (H, W) an image."""
    results = [restorer.restore([Degraded(image)])[0].image for image in noisy]
    return [np.square(result - image).mean(axis=2) for result, image in zip(results, clean, strict=True)]


def borders(grid: TileGrid) -> np.ndarray:
    """The pixels (H, W) that two tiles or more share."""
    mask = np.zeros((grid.height, grid.width), bool)
    for start in grid.rows[1:]:
        mask[start : start + grid.overlap] = True
    for start in grid.columns[1:]:
        mask[:, start : start + grid.overlap] = True
    return mask


def mean(maps: list[FloatImage], masks: list[np.ndarray]) -> float:
    return statistics.fmean(float(each[mask].mean()) for each, mask in zip(maps, masks, strict=True))


def decibels(ratio: float) -> float:
    return 10 * math.log10(ratio)


def drift(prior: str) -> list[dict[str, Any]]:
    """How far the mean of a block of a flat area moves from that of its noisy input, in steps of 8 bits."""
    flat, rows = restorer(prior), []
    for brightness in BRIGHTNESSES:
        area = np.full((FLAT_SIDE, FLAT_SIDE, 3), brightness, np.float32)
        noise = np.random.default_rng(SEED).standard_normal(area.shape, np.float32) * np.float32(5 / 255)
        restored = flat.restore([Degraded(area + noise)])[0].image
        moved = 255 * (blocks(restored) - blocks(area + noise))
        rows.append(
            {
                "brightness": brightness,
                "mean": float(moved.mean()),
                "largest": float(np.abs(moved).max()),
                "rest": 255 * float((restored - area).std()),
            }
        )
        print(rows[-1], flush=True)
    return rows


def blocks(image: FloatImage) -> FloatImage:
    """Means of blocks, (H / BLOCK, W / BLOCK, C)."""
    height, width, channels = image.shape
    return image.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels).mean(axis=(1, 3))


class Hasty(FixedShapeEvaluator):
    """Asks the network for one period of a canvas, and repeats what it says.

    What is held at once is what every tile's evaluation would hold.
    """

    def noise(
        self,
        grids: Sequence[TileGrid],
        canvases: Sequence[torch.Tensor],
        sigmas: Sequence[float],
        wanted: Sequence[torch.Tensor | None] | None = None,
    ) -> list[torch.Tensor]:
        return [
            repeated(self.eps(canvas[None, :, :PERIOD, :PERIOD], torch.tensor([sigma]))[0], canvas.shape[1:])
            for canvas, sigma in zip(canvases, sigmas, strict=True)
        ]


class HastyFinder(OverlayFinder):
    """The same of what lies over an image, of which the network sees more than a period at once."""

    def covered(self, image: torch.Tensor) -> torch.Tensor:
        seen = super().covered(image[:, : 2 * PERIOD, : 2 * PERIOD])
        return repeated(seen[:PERIOD, :PERIOD], image.shape[1:])

    def judged(self, image: torch.Tensor) -> torch.Tensor:
        seen = super().judged(image[:, : 2 * PERIOD, : 2 * PERIOD])
        return seen.max().expand(len(regions(*image.shape[1:])))


def repeated(period: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A period (..., PERIOD, PERIOD) over and over, (..., *shape)."""
    height, width = shape
    canvas = period.new_empty(*period.shape[:-2], height, width)
    for top in range(0, height, PERIOD):
        for left in range(0, width, PERIOD):
            part = canvas[..., top : top + PERIOD, left : left + PERIOD]
            part.copy_(period[..., : part.shape[-2], : part.shape[-1]])
    return canvas


def memory(prior: str) -> list[dict[str, Any]]:
    """What a process that has a prior grows by while it restores a scan, of every kind in its own process."""
    rows = []
    for kind in KINDS:
        with multiprocessing.get_context("spawn").Pool(1) as one:
            rows.append(one.apply(growth, (prior, kind, *SCAN)))
        print(rows[-1], flush=True)
    return rows


def growth(prior: str, kind: str, height: int, width: int) -> dict[str, Any]:
    """Restore one canvas in haste: by how many bytes this process grew over what it held before."""
    torch.set_num_threads(1)
    with patch.object(i2r.restorer, "OverlayFinder", HastyFinder):
        hasty = restorer(prior, min_consistency=0, max_harm=0.5, forms=SPECIFIED.get(kind, AUTO))
    hasty.evaluator = Hasty(hasty.prior, lambda height, width: 1)
    self_test(hasty.prior)
    idle = resident()
    image = scan(kind, height, width)
    implausible = changed("correction.strategies.STRATEGY.implausible", 0.0)  # which what is repeated is
    with implausible, changed("forms.form.SOLVER.iterations", 2):  # which hold as much as all do
        (found,) = hasty.restore([Degraded(image)])
    return {
        "kind": kind,
        "seen": [finding.what for finding in found.findings],
        "forms": list(found.parameters),
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - idle,
    }


def scan(kind: str, height: int, width: int) -> FloatImage:
    """Part of a photograph, mirrored over and over, so that one period shows all of what there is."""
    part, rng = next(samples())[:PIECE, :PIECE], np.random.default_rng(SEED)
    if kind in DRAWN:
        part = DRAWN[kind](part, rng)
    around = np.pad(part, ((PIECE, 2 * PIECE), (PIECE, 2 * PIECE), (0, 0)), mode="symmetric")
    if kind != "clean" and kind not in DRAWN:
        around = DEGRADATIONS[kind](around, rng)
    period = around[PIECE : PIECE + PERIOD, PIECE : PIECE + PERIOD]
    return period[np.arange(height) % PERIOD][:, np.arange(width) % PERIOD]


def resident() -> int:
    """The bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def report(record: dict[str, Any]) -> str:
    def header(part: str) -> str:
        of = record[part]
        return f"Prior `{of['prior']}` ({of['prior_sha256'][:12]}), {of['machine']}."

    return "\n\n".join(
        [
            "# Canvases larger than a tile",
            "`python -m benchmarks.canvas`",
            "## Seams",
            header("seams"),
            "Noise of 25/255 on the sample photographs, restored in tiles and in one piece: the squared\n"
            "error in tiles over that in one piece, in dB, where tiles meet and elsewhere. A seam would\n"
            "show as a difference of the two.",
            table(
                ["tile", "overlap", "where tiles meet", "elsewhere", "difference"],
                [
                    [
                        row["tile"],
                        row["overlap"],
                        f"{row['at_borders']:+.2f}",
                        f"{row['elsewhere']:+.2f}",
                        f"{row['at_borders'] - row['elsewhere']:+.2f}",
                    ]
                    for row in record["seams"]["rows"]
                ],
            ),
            "## Drift",
            header("drift"),
            f"Flat areas of {FLAT_SIDE}x{FLAT_SIDE} px with noise of 5/255: how far the means of\nblocks of "
            f"{BLOCK}x{BLOCK} px move, in 255ths, and the standard deviation of what is left.",
            table(
                ["brightness", "mean move", "largest move", "left"],
                [
                    [row["brightness"], f"{row['mean']:+.3f}", f"{row['largest']:.3f}", f"{row['rest']:.2f}"]
                    for row in record["drift"]["rows"]
                ],
            ),
            "## Memory",
            header("memory"),
            "What a process that has loaded and tested a prior grows by while it restores an image of\n"
            f"{SCAN[1]}x{SCAN[0]} px in colour; the image itself and the result are a part of it. In haste:\n"
            "of every step the network is asked for one tile, which is repeated, as is what the image shows.",
            table(
                ["degradation", "seen", "undone as", "GiB", "bytes a pixel"],
                [
                    [
                        row["kind"],
                        ", ".join(row["seen"]),
                        ", ".join(row["forms"]),
                        f"{row['bytes'] / 2**30:.2f}",
                        f"{row['bytes'] / math.prod(SCAN):.0f}",
                    ]
                    for row in record["memory"]["rows"]
                ],
            ),
            "",
        ]
    )


def table(head: list[str], rows: list[list[Any]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows])


PARTS = {"seams": seams, "drift": drift, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS), metavar="PART")
    parser.add_argument("--out", type=Path, default=HERE / "canvas.json")
    options = parser.parse_args()
    prior = load_prior(options.prior)
    measured_on = in_words(machine(Restorer(prior)))
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    for part in options.only:
        record[part] = {
            "prior": prior.name,
            "prior_sha256": prior.sha256,
            "machine": measured_on,
            "rows": PARTS[part](options.prior),
        }
    options.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    if record.keys() >= PARTS.keys():
        options.out.with_suffix(".md").write_text(report(record))
        print(report(record))


if __name__ == "__main__":
    main()

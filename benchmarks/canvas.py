"""What becomes of an image that is larger than a tile: seams, drift of brightness, bytes a pixel.

    python benchmarks/canvas.py

restores noisy photographs in tiles and in one piece, flat areas, and growing canvases, and writes
``canvas.md`` and ``canvas.json`` beside this script.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from i2r import Restorer, RestoreSettings, load_prior
from i2r.degradation import DEGRADATIONS, FloatImage, gaussian_noise
from i2r.tiling import TileGrid

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "jobs" / "samples" / "clean"
SEED = 7
TILES = ((64, 16), (128, 16), (208, 16))
"""Side and overlap; the last is the default."""
WHOLE = 320
"""Side of a tile that holds a sample photograph."""
BRIGHTNESSES = (0.1, 0.5, 0.9)
FLAT_SIDE, BLOCK = 400, 40
SIDES = (512, 1024)
KINDS = ("clean", "noise", "jpeg", "blur", "rain")


def samples() -> Iterator[FloatImage]:
    """The clean sample photographs, (H, W, 3) in [0, 1]."""
    for path in sorted(SAMPLES.glob("*.png")):
        with Image.open(path) as picture:
            yield np.asarray(picture.convert("RGB"), np.float32) / 255


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
        masks = [borders(*image.shape[:2], tile, overlap) for image in images]
        inside = [~mask for mask in masks]
        at, away = (mean(tiled, some) / mean(whole, some) for some in (masks, inside))
        rows.append(
            {"tile": tile, "overlap": overlap, "at_borders": decibels(at), "elsewhere": decibels(away)}
        )
        print(rows[-1], flush=True)
    return rows


def errors(restorer: Restorer, clean: list[FloatImage], noisy: list[FloatImage]) -> list[FloatImage]:
    """Squared error of every pixel, (H, W) an image."""
    results = [restorer.restore([image], [0])[0].image for image in noisy]
    return [np.square(result - image).mean(axis=2) for result, image in zip(results, clean, strict=True)]


def borders(height: int, width: int, tile: int, overlap: int) -> np.ndarray:
    """The pixels (H, W) that two tiles or more share."""
    grid = TileGrid(height, width, tile, overlap)
    mask = np.zeros((height, width), bool)
    for start in grid.rows[1:]:
        mask[start : start + overlap] = True
    for start in grid.columns[1:]:
        mask[:, start : start + overlap] = True
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
        restored = flat.restore([area + noise], [0])[0].image
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


def memory(prior: str) -> list[dict[str, Any]]:
    """What the process grows by from one side of a canvas to the next, for every pixel more."""
    rows = []
    for kind in KINDS:
        peaks = []
        for side in SIDES:
            with multiprocessing.get_context("spawn").Pool(1) as one:
                peaks.append(one.apply(peak, (prior, kind, side)))
        pixels = SIDES[1] ** 2 - SIDES[0] ** 2
        small, large = peaks
        rows.append(
            {
                "kind": kind,
                "outcome": large["outcome"],
                "bytes": (large["bytes"] - small["bytes"]) / pixels,
                "nfe": large["nfe"],
                "seconds": large["seconds"],
            }
        )
        print(rows[-1], flush=True)
    return rows


def peak(prior: str, kind: str, side: int) -> dict[str, Any]:
    """Restore one square canvas: the most bytes that this process ever held, and what came of it."""
    torch.set_num_threads(1)
    photograph = next(samples())
    height, width, _ = photograph.shape
    image = np.pad(photograph, ((0, side - height), (0, side - width), (0, 0)), mode="symmetric")
    if kind != "clean":
        image = DEGRADATIONS[kind](image, np.random.default_rng(SEED))
    start = time.perf_counter()
    (found,) = restorer(prior).restore([image], [0])
    return {
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "outcome": str(found.outcome),
        "nfe": found.nfe,
        "seconds": time.perf_counter() - start,
    }


def report(record: dict[str, Any]) -> str:
    prior = f"`{record['prior']}` ({record['prior_sha256'][:12]})"
    return "\n\n".join(
        [
            "# Canvases larger than a tile",
            f"`python benchmarks/canvas.py`, prior {prior}, {record['machine']}.",
            "## Seams",
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
                    for row in record["seams"]
                ],
            ),
            "## Drift",
            f"Flat areas of {FLAT_SIDE}x{FLAT_SIDE} px with noise of 5/255: how far the means of\nblocks of "
            f"{BLOCK}x{BLOCK} px move, in 255ths, and the standard deviation of what is left.",
            table(
                ["brightness", "mean move", "largest move", "left"],
                [
                    [row["brightness"], f"{row['mean']:+.3f}", f"{row['largest']:.3f}", f"{row['rest']:.2f}"]
                    for row in record["drift"]
                ],
            ),
            "## Memory",
            f"Growth of the process's peak from {SIDES[0]}x{SIDES[0]} to {SIDES[1]}x{SIDES[1]} px, for every "
            "pixel of colour more.",
            table(
                ["degradation", "outcome", "bytes a pixel", "NFE", "seconds for the larger"],
                [
                    [row["kind"], row["outcome"], f"{row['bytes']:.0f}", row["nfe"], f"{row['seconds']:.0f}"]
                    for row in record["memory"]
                ],
            ),
            "",
        ]
    )


def table(head: list[str], rows: list[list[Any]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument("--out", type=Path, default=HERE / "canvas.json")
    options = parser.parse_args()
    prior, threads = load_prior(options.prior), torch.get_num_threads()
    record = {
        "prior": prior.name,
        "prior_sha256": prior.sha256,
        "machine": f"{platform.machine()} {prior.device.type}, {threads} threads, torch {torch.__version__}",
        "seams": seams(options.prior),
        "drift": drift(options.prior),
        "memory": memory(options.prior),
    }
    options.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    options.out.with_suffix(".md").write_text(report(record))
    print(report(record))


if __name__ == "__main__":
    main()

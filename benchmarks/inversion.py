"""How well images come back from their inverted noise, against the evaluations that finding it took.

    python -m benchmarks.inversion

inverts crops of ``benchmarks/photographs`` by every solver, regenerates them, and writes ``inversion.md`` and
``inversion.json`` beside this script. BIRD's optimiser, the baseline, is among them; it is also run as its
authors do, from fresh noise at full depth.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.bird import STEPS, bird
from benchmarks.machine import in_words, machine
from i2r import Prior, Restorer, load_prior
from i2r.diffusion.inversion import Inversion, Solver, invert
from i2r.diffusion.sampling import Process, drive, generate, levels
from i2r.diffusion.tiling import FixedShapeEvaluator, TileGrid

HERE = Path(__file__).parent
SIDE = 96
DEPTHS = (1.0, 5.0)
LEVELS = 8
ITERATIONS = (1, 2, 3, 5, 8)
BIRD_ITERATIONS = (10, 25, 50)


def crops(count: int) -> dict[str, Tensor]:
    """The middles of photographs, evenly spread over the set, (3, SIDE, SIDE) in [-1, 1]."""
    paths = sorted((HERE / "photographs").glob("*.png"))
    found = {}
    for path in paths[:: len(paths) // count][:count]:
        with Image.open(path) as picture:
            pixels = torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32))
        top, left = (pixels.shape[0] - SIDE) // 2, (pixels.shape[1] - SIDE) // 2
        found[path.stem] = pixels[top : top + SIDE, left : left + SIDE].permute(2, 0, 1) / 127.5 - 1
    return found


def decibels(rms: float) -> float:
    """Of the [-1, 1] range over an RMS."""
    return 20 * math.log10(2 / max(rms, 1e-9))


def round_trip(
    y: Tensor, sigmas: list[float], iterations: int, solver: Solver
) -> Process[tuple[Tensor, Inversion]]:
    inversion = yield from invert(y, sigmas, iterations, tolerance=0, solver=solver)
    return (yield from generate(inversion.z, sigmas)), inversion


def measure(prior: Prior, images: Mapping[str, Tensor]) -> list[dict[str, object]]:
    grid, evaluator = TileGrid.whole(SIDE, SIDE), FixedShapeEvaluator(prior, lambda *_: 1)
    rows: list[dict[str, object]] = []
    for depth in DEPTHS:
        sigmas = levels(0.02, depth, LEVELS - 1)
        for solver in Solver:
            for iterations in ITERATIONS:
                trips = drive(
                    [round_trip(y, sigmas, iterations, solver) for y in images.values()],
                    [grid] * len(images),
                    evaluator,
                )
                missed = [
                    (back - y).square().mean().sqrt().item()
                    for (back, _), y in zip(trips, images.values(), strict=True)
                ]
                rows.append(
                    {
                        "solver": str(solver),
                        "depth": depth,
                        "nfe": trips[0][1].nfe,
                        "residual": statistics.fmean(decibels(found.residual) for _, found in trips),
                        "round_trip": statistics.fmean(map(decibels, missed)),
                    }
                )
                print(rows[-1], flush=True)
    found = [list(bird(prior, y, max(BIRD_ITERATIONS))) for y in images.values()]
    for iterations in BIRD_ITERATIONS:
        missed = [
            (tries[iterations - 1] - y).square().mean().sqrt().item()
            for tries, y in zip(found, images.values(), strict=True)
        ]
        rows.append(
            {
                "solver": "bird, from fresh noise",
                "depth": "full",
                "nfe": STEPS * iterations,
                "residual": None,
                "round_trip": statistics.fmean(map(decibels, missed)),
            }
        )
        print(rows[-1], flush=True)
    return rows


def table(record: Mapping[str, object]) -> str:
    lines = [
        "# Inversion: residual against NFE",
        "",
        f"Averages over {record['photographs']} crops of {SIDE}x{SIDE} px. {LEVELS} levels from 0.02 to the "
        "depth, even in log sigma.",
        f"Prior `{record['prior']}` ({str(record['prior_sha256'])[:12]}), {record['machine']}.",
        "Residual: of the worst step's equation; round trip: of the regenerated image; both dB of the range.",
        "",
        "| solver | depth | NFE | residual | round trip |",
        "|---|---|---|---|---|",
    ]
    rows: list[dict[str, object]] = record["rows"]  # type: ignore[assignment]
    for row in rows:
        residual = "" if row["residual"] is None else f"{row['residual']:.1f}"
        lines.append(
            f"| {row['solver']} | {row['depth']} | {row['nfe']} | {residual} | {row['round_trip']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "inversion.json")
    options = parser.parse_args()
    prior, images = load_prior(options.prior), crops(options.images)
    record: dict[str, object] = {
        "prior": prior.name,
        "prior_sha256": prior.sha256,
        "photographs": len(images),
        "machine": in_words(machine(Restorer(prior))),
        "rows": measure(prior, images),
    }
    options.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    options.out.with_suffix(".md").write_text(table(record))
    print(table(record))


if __name__ == "__main__":
    main()

"""What a restoration takes: seconds against those of the network alone, and beside what a user would pick.

    python -m benchmarks.speed                   up to 2,048 px
    python -m benchmarks.speed --sizes 24mp      what takes hours

degrades one photograph at several sizes, restores it with one setting and by the methods of
``baselines.py``, and writes ``speed.md``, ``speed.json`` and ``speed.png`` beside this script. It looks at a
clock: run it alone on its machine. Every cell is written to ``speed.jsonl`` when it is measured, and not
measured again unless what it depends on (machine, threads, precision, prior, settings) has changed, or
``--anew`` is given, as a change of the method itself asks for. ``--columns`` without a name writes the page
of what there is.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch

from benchmarks import speed_page
from benchmarks.baselines import (
    FILTERS,
    Attempt,
    Method,
    OnPrior,
    fast_non_local_means,
    solve_bird,
    solve_dreamclean,
    untrained_network,
)
from benchmarks.cells import Cells, digest
from benchmarks.chart import degraded, draw
from benchmarks.commit import commit
from benchmarks.machine import machine
from benchmarks.pace import best_pace, watched
from benchmarks.scenes import SEED, Case, bounded_psnr, rounded
from i2r import Degraded, Restorer, RestoreSettings, load_prior
from i2r.settings import BY_DEVICE, PRECISIONS
from i2r.training.degradation import FloatImage

HERE = Path(__file__).parent
PHOTOGRAPH = "coffee"
"""Of scikit-image, 600x400 px, CC0: no training saw it."""
KINDS = (
    "clean",
    "noise 25/255",
    "JPEG quality 10",
    "blur sigma 1.5",
    "scratches 3 %",
    "dead pixels 2 %",
)
SIZES = {
    "128": (128, 128),
    "256": (256, 256),
    "512": (512, 512),
    "1024": (1024, 1024),
    "2048": (2048, 2048),
    "24mp": (4000, 6000),
}
"""Height and width, in pixels."""
LARGEST, OF_LARGEST = "24mp", KINDS[:3]
SMALL = ("128", "256")
"""What the slow methods are measured at."""
CHARTED = "256"
"""The size of the picture."""
REPEATS = {"128": 3, "256": 3, "512": 2}
"""The fewest seconds of so many times; elsewhere it is measured once, and so are the slow methods."""


@dataclass(frozen=True)
class Column:
    """A method, the digest of all that its time depends on, and whether only small images are given to it."""

    method: Method
    depends: str
    slow: bool = False

    def fits(self, size: str, kind: str) -> bool:
        return (size in SMALL or not self.slow) and (size != LARGEST or kind in OF_LARGEST)


@dataclass(frozen=True)
class Ours:
    """Our method, blind."""

    restorer: Restorer

    def __call__(self, case: Case) -> Attempt:
        with watched(self.restorer) as asked:
            [found] = self.restorer.restore([Degraded(case.degraded)])
        return Attempt([found.image], found.nfe, {"outcome": str(found.outcome), "evaluated": asked.pixels})


def photograph(height: int, width: int) -> FloatImage:
    """Its middle, (H, W, 3) in [0, 1]; where it is smaller, mirrored at its right and lower edge."""
    image = getattr(skimage.data, PHOTOGRAPH)().astype(np.float32) / np.float32(255)
    top, left = (max(0, image.shape[axis] - wanted) // 2 for axis, wanted in enumerate((height, width)))
    image = image[top : top + height, left : left + width]
    missing = ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))
    return np.pad(image, missing, mode="symmetric")


def columns(restorer: Restorer) -> dict[str, Column]:
    """In the order of the page."""
    prior = restorer.prior
    place = {"seed": SEED, "photograph": PHOTOGRAPH, "machine": machine(restorer)}
    plain, on_prior = digest(**place), digest(**place, prior=prior.sha256)
    ours = digest(**place, prior=prior.sha256, settings=restorer.settings.model_dump(mode="json"))
    filters = {**FILTERS, speed_page.FAST: fast_non_local_means}
    return {
        speed_page.OURS: Column(Ours(restorer), ours),
        **{name: Column(method, plain) for name, method in filters.items()},
        "Deep Image Prior": Column(untrained_network, plain, slow=True),
        "DreamClean": Column(OnPrior(prior, solve_dreamclean), on_prior, slow=True),
        "BIRD": Column(OnPrior(prior, solve_bird), on_prior, slow=True),
    }


def measure(method: Method, case: Case, repeats: int) -> dict[str, Any]:
    """Seconds of a clock, the fewest of so many times, and the PSNR; of several images, those of the best."""
    case.degraded  # noqa: B018 - made before the clock starts
    seconds = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        attempt = method(case)
        seconds = min(seconds, time.perf_counter() - started)
    quality = [bounded_psnr(rounded(image), case.clean) for image in attempt.images]
    best = max(range(len(quality)), key=quality.__getitem__)
    share = attempt.shares[best]
    return {
        "psnr": quality[best],
        "input": bounded_psnr(case.degraded, case.clean),
        "seconds": share * seconds,
        "nfe": share * attempt.nfe,
        "picked_of": len(quality),
        **attempt.seen,
    }


def fill(
    cells: Cells,
    chosen: Mapping[str, Column],
    restorer: Restorer,
    sizes: Collection[str],
    kinds: Collection[str],
) -> None:
    """Measure the cells that are missing, the small sizes first; beside each of ours the network alone."""
    for size in (size for size in SIZES if size in sizes):
        for kind in kinds:
            case = Case(kind, PHOTOGRAPH, photograph(*SIZES[size]))
            for name, column in chosen.items():
                key = kind, size, name
                if not column.fits(size, kind) or key in cells:
                    continue
                network = {"network": asdict(best_pace(restorer.prior))} if name == speed_page.OURS else {}
                repeats = 1 if column.slow else REPEATS.get(size, 1)
                cells.add(key, measure(column.method, case, repeats) | network)
                print(f"{size}, {kind}: {name}", flush=True)


def summarise(restorer: Restorer, cells: Cells, names: Collection[str]) -> dict[str, Any]:
    """The record: what was measured, by size, kind and column, beside the network's best of all times."""
    prior = restorer.prior
    found = {
        size: {
            kind: {name: dict(cell) for name in names if (cell := cells.get((kind, size, name)))}
            for kind in (OF_LARGEST if size == LARGEST else KINDS)
        }
        for size in SIZES
    }
    ours = {
        (size, kind): row[speed_page.OURS]
        for size, rows in found.items()
        for kind, row in rows.items()
        if speed_page.OURS in row
    }
    network = min((cell["network"] for cell in ours.values()), key=_seconds_a_pixel, default=None)
    for (size, _), cell in ours.items():
        pixels = cell["nfe"] * math.prod(SIZES[size])
        cell["evaluated_over_image"] = cell["evaluated"] / pixels
        cell["ratio"] = cell["seconds"] / (pixels * _seconds_a_pixel(network))
    return {
        "prior": prior.name,
        "prior_sha256": prior.sha256,
        "settings": restorer.settings.model_dump(mode="json"),
        "seed": SEED,
        "photograph": PHOTOGRAPH,
        "machine": machine(restorer),
        "commit": commit(),
        "network": network,
        "columns": list(names),
        "sizes": {size: list(shape) for size, shape in SIZES.items()},
        "measured": found,
    }


def _seconds_a_pixel(network: Mapping[str, float] | None) -> float:
    return network["seconds_a_pixel"] if network else math.nan


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="photo-64", help="one of pixels")
    soon = [size for size in SIZES if size != LARGEST]
    parser.add_argument("--sizes", nargs="*", default=soon, choices=list(SIZES), metavar="SIZE")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--columns", nargs="*", metavar="COLUMN", help="measure these; the page shows all")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="all cores by default")
    parser.add_argument("--precision", default=BY_DEVICE, choices=PRECISIONS, help="of the networks")
    parser.add_argument("--out", type=Path, default=HERE / "speed.json")
    parser.add_argument("--anew", action="store_true", help="measure what is measured already again")
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    prior = load_prior(options.prior, precision=options.precision)
    restorer = Restorer(prior, RestoreSettings(precision=options.precision))
    every = columns(restorer)
    names = every if options.columns is None else options.columns
    if unknown := set(names) - every.keys():
        parser.error(f"no column {', '.join(sorted(unknown))}: give some of {', '.join(every)}")
    chosen = {name: column for name, column in every.items() if name in names}
    cells = Cells(options.out.with_suffix(".jsonl"), {name: column.depends for name, column in every.items()})
    if options.anew:
        cells.forget(options.kinds, options.sizes, chosen)
    fill(cells, chosen, restorer, options.sizes, options.kinds)

    record = summarise(restorer, cells, every)
    page = speed_page.page(record)
    options.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    options.out.with_suffix(".md").write_text(page)
    print(page)
    if degraded(record, CHARTED):
        draw(record, CHARTED).save(options.out.with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()

"""What the partially blind setting is worth: the form of the degradation is told, its parameters are not.

    python benchmarks/forms.py

degrades photographs of ``benchmarks/photographs``, tells the restorer the form, and writes ``forms.md`` and
``forms.json`` beside this script. JPEG files are judged by their pixels alone; their tables say the same.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scenes import SEED, photographs, rounded

from i2r import Prior, Restorer, RestoreSettings, load_prior
from i2r.degradation import (
    Degradation,
    FloatImage,
    dead_pixels,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_resolution,
    motion_blur,
)
from i2r.metrics import psnr

HERE = Path(__file__).parent


def noisy_blur(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    return gaussian_noise(gaussian_blur(image, sigma=1.5), rng, sigma=5 / 255)


def small_jpeg(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    return jpeg(low_resolution(image, factor=2), quality=30)


ROWS: Mapping[str, tuple[Degradation, str]] = {
    "blur sigma 1.5": (partial(gaussian_blur, sigma=1.5), "gaussian_blur"),
    "blur sigma 3": (partial(gaussian_blur, sigma=3.0), "gaussian_blur"),
    "blur sigma 1.5, told less": (partial(gaussian_blur, sigma=1.5), "small_kernel"),
    "motion blur 9 px": (partial(motion_blur, length=9), "motion_blur"),
    "motion blur 9 px, told less": (partial(motion_blur, length=9), "small_kernel"),
    "low resolution 2x": (partial(low_resolution, factor=2), "downsampling"),
    "low resolution 4x": (partial(low_resolution, factor=4), "downsampling"),
    "JPEG quality 10": (partial(jpeg, quality=10), "jpeg"),
    "JPEG quality 20": (partial(jpeg, quality=20), "jpeg"),
    "JPEG quality 50": (partial(jpeg, quality=50), "jpeg"),
    "noise 25/255": (partial(gaussian_noise, sigma=25 / 255), "noise"),
    "dead pixels 2 %": (partial(dead_pixels, fraction=0.02), "mask"),
    "blur sigma 1.5, noise 5/255": (noisy_blur, "gaussian_blur,noise"),
    "low resolution 2x, JPEG quality 30": (small_jpeg, "downsampling,jpeg"),
}


def measure_row(prior: Prior, clean: Mapping[str, FloatImage], name: str) -> dict[str, object]:
    degrade, forms = ROWS[name]
    restorer = Restorer(prior, RestoreSettings.model_validate({"forms": forms}))
    row = list(ROWS).index(name)
    degraded = [
        rounded(degrade(x, np.random.default_rng([SEED, row, index])))
        for index, x in enumerate(clean.values())
    ]
    started = time.perf_counter()
    restorations = restorer.restore(degraded, [SEED] * len(degraded))
    seconds = (time.perf_counter() - started) / len(degraded)
    before = [psnr(y, x) for y, x in zip(degraded, clean.values(), strict=True)]
    after = [psnr(rounded(r.image), x) for r, x in zip(restorations, clean.values(), strict=True)]
    return {
        "told": restorer.settings.forms,
        "input": float(np.mean(before)),
        "ours": float(np.mean(after)),
        "worst_gain": float(np.min(np.subtract(after, before))),
        "nfe": float(np.mean([restoration.nfe for restoration in restorations])),
        "seconds": seconds,
        "parameters": [restoration.parameters for restoration in restorations],
    }


def table(record: Mapping[str, object]) -> str:
    rows: Mapping[str, dict] = record["rows"]  # type: ignore[assignment]
    lines = [
        "# Partially blind restoration",
        "",
        f"Averages of PSNR in dB over {record['photographs']} crops of 192x192 px, unseen in training. "
        "The form is told, its parameters are not.",
        f"Prior `{record['prior']}` ({str(record['prior_sha256'])[:12]}), {record['machine']}. "
        "NFE include those of the screenings before and after.",
        "",
        "| degradation | told | input | ours | gain | worst gain | NFE | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {', '.join(row['told'])} | {row['input']:.2f} | **{row['ours']:.2f}** "
            f"| {row['ours'] - row['input']:+.2f} | {row['worst_gain']:+.2f} "
            f"| {row['nfe']:.1f} | {row['seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument("--only", nargs="*", default=list(ROWS), choices=list(ROWS), metavar="NAME")
    parser.add_argument("--images", type=int, default=8, help="how many photographs, evenly spread")
    parser.add_argument("--out", type=Path, default=HERE / "forms.json")
    options = parser.parse_args()
    prior, clean = load_prior(options.prior), photographs()
    clean = dict(list(clean.items())[:: max(1, len(clean) // options.images)][: options.images])
    threads = torch.get_num_threads()
    record: dict[str, object] = {
        "prior": prior.name,
        "prior_sha256": prior.sha256,
        "seed": SEED,
        "photographs": len(clean),
        "machine": f"{platform.machine()} {prior.device.type}, {threads} threads, torch {torch.__version__}",
        "rows": {},
    }
    for name in options.only:
        row = measure_row(prior, clean, name)
        record["rows"][name] = row  # type: ignore[index]
        print(name, {key: value for key, value in row.items() if key != "parameters"}, flush=True)
        options.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    options.out.with_suffix(".md").write_text(table(record))
    print(table(record))


if __name__ == "__main__":
    main()

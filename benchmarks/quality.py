"""What the method is worth: blind restoration beside the filters a user would pick instead.

    python benchmarks/quality.py

degrades the photographs of ``benchmarks/photographs`` (no training saw them) in every way below, restores
them with one setting and writes ``quality.md`` and ``quality.json`` beside this script. The seed is fixed;
a run that was interrupted goes on where it stopped unless ``--anew`` is given.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, denoise_wavelet, estimate_sigma

from i2r import Restorer, RestoreSettings, load_prior
from i2r.degradation import (
    Degradation,
    FloatImage,
    dead_pixels,
    gaussian_blur,
    gaussian_noise,
    jpeg,
    low_resolution,
    motion_blur,
    rain,
    salt_and_pepper,
    scratches,
)
from i2r.metrics import psnr, ssim

HERE = Path(__file__).parent
SEED = 20250321
TV_WEIGHTS = (0.03, 0.06, 0.1, 0.15, 0.25)


def leave_alone(image: FloatImage, rng: np.random.Generator) -> FloatImage:
    return image


DEGRADATIONS: Mapping[str, Degradation] = {
    "clean": leave_alone,
    "noise 15/255": partial(gaussian_noise, sigma=15 / 255),
    "noise 25/255": partial(gaussian_noise, sigma=25 / 255),
    "noise 50/255": partial(gaussian_noise, sigma=50 / 255),
    "JPEG quality 10": partial(jpeg, quality=10),
    "JPEG quality 20": partial(jpeg, quality=20),
    "JPEG quality 50": partial(jpeg, quality=50),
    "blur sigma 1.5": partial(gaussian_blur, sigma=1.5),
    "blur sigma 3": partial(gaussian_blur, sigma=3.0),
    "motion blur 9 px": partial(motion_blur, length=9),
    "low resolution 2x": partial(low_resolution, factor=2),
    "low resolution 4x": partial(low_resolution, factor=4),
    "rain 5 %": partial(rain, fraction=0.05),
    "scratches 3 %": partial(scratches, fraction=0.03),
    "dead pixels 2 %": partial(dead_pixels, fraction=0.02),
    "salt and pepper 5 %": partial(salt_and_pepper, fraction=0.05),
}


def non_local_means(image: FloatImage) -> list[FloatImage]:
    sigma = float(np.mean(estimate_sigma(image, channel_axis=-1)))
    filtered = denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, fast_mode=True, channel_axis=-1
    )
    return [filtered]


def wavelet(image: FloatImage) -> list[FloatImage]:
    return [denoise_wavelet(image, channel_axis=-1, convert2ycbcr=True, rescale_sigma=True)]


def total_variation(image: FloatImage) -> list[FloatImage]:
    """One result per weight: the table takes the best of them, which nobody could pick blindly."""
    return [denoise_tv_chambolle(image, weight=weight, channel_axis=-1) for weight in TV_WEIGHTS]


BASELINES: Mapping[str, Callable[[FloatImage], list[FloatImage]]] = {
    "non-local means": non_local_means,
    "wavelet": wavelet,
    "total variation": total_variation,
}


HEADINGS = (
    "degradation",
    "input",
    *BASELINES,
    "ours, blind",
    "gain",
    "worst gain",
    "unchanged",
    "NFE",
    "s",
    "AUROC",
)


def photographs() -> dict[str, FloatImage]:
    images = {}
    for path in sorted((HERE / "photographs").glob("*.png")):
        with Image.open(path) as picture:
            images[path.stem] = np.asarray(picture.convert("RGB"), np.float32) / 255
    return images


def rounded(image: FloatImage) -> FloatImage:
    """As an 8-bit file would hold it."""
    return (np.rint(np.clip(image, 0, 1) * 255) / 255).astype(np.float32)


def score(result: FloatImage, clean: FloatImage, seconds: float) -> dict[str, float]:
    stored = rounded(result)
    return {"psnr": min(psnr(stored, clean), 99.0), "ssim": ssim(stored, clean), "seconds": seconds}


def best_score(
    filtering: Callable[[FloatImage], list[FloatImage]], y: FloatImage, clean: FloatImage
) -> dict[str, float]:
    started = time.perf_counter()
    results = filtering(y)
    seconds = (time.perf_counter() - started) / len(results)
    return max((score(result, clean, seconds) for result in results), key=lambda scores: scores["psnr"])


def measure_row(
    restorer: Restorer, clean: Mapping[str, FloatImage], degrade: Degradation, row: int
) -> dict[str, object]:
    """Scores of one degradation: per column, averages over the photographs."""
    columns: dict[str, list[dict[str, float]]] = {name: [] for name in ("input", *BASELINES, "ours")}
    degraded = [
        rounded(degrade(x, np.random.default_rng([SEED, row, index])))
        for index, x in enumerate(clean.values())
    ]
    started = time.perf_counter()
    restorations = restorer.restore(degraded, [SEED] * len(degraded))
    seconds = (time.perf_counter() - started) / len(degraded)
    for y, restoration, x in zip(degraded, restorations, clean.values(), strict=True):
        columns["input"].append(score(y, x, 0.0))
        columns["ours"].append(score(restoration.image, x, seconds) | {"nfe": restoration.nfe})
        for name, filtering in BASELINES.items():
            columns[name].append(best_score(filtering, y, x))
    outcomes = Counter(str(restoration.outcome) for restoration in restorations)
    averages = {
        name: {key: float(np.mean([scores[key] for scores in column])) for key in column[0]}
        for name, column in columns.items()
    }
    gains = [
        after["psnr"] - before["psnr"]
        for after, before in zip(columns["ours"], columns["input"], strict=True)
    ]
    return {
        "n": len(clean),
        "columns": averages,
        "outcomes": outcomes,
        "worst_gain": min(gains),
        "typicality": [restoration.typicality_before for restoration in restorations],
    }


def auroc(degraded: list[float], clean: list[float]) -> float:
    """Chance that a degraded image is judged less typical than a clean one; ties count half."""
    pairs = [(d < c) + 0.5 * (d == c) for d in degraded for c in clean]
    return sum(pairs) / len(pairs)


def table(record: Mapping[str, object]) -> str:
    rows: Mapping[str, dict] = record["rows"]  # type: ignore[assignment]
    lines = [
        "# Blind restoration, one setting",
        "",
        f"Averages of PSNR in dB (SSIM) of {record['photographs']} crops of 192x192 px, unseen in training.",
        f"Prior `{record['prior']}` ({str(record['prior_sha256'])[:12]}), {record['machine']}.",
        "The filters are given the noise level that scikit-image estimates; total variation the best of "
        f"{len(TV_WEIGHTS)} weights for each image, picked with the original at hand.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "|---" * len(HEADINGS) + "|",
    ]
    clean = rows.get("clean", {}).get("typicality", [])
    for name, row in rows.items():
        columns = row["columns"]
        cells = [name]
        for column in ("input", *BASELINES, "ours"):
            scores = columns[column]
            text = f"{scores['psnr']:.2f} ({scores['ssim']:.3f})"
            cells.append(f"**{text}**" if column == "ours" else text)
        cells.append(f"{columns['ours']['psnr'] - columns['input']['psnr']:+.2f}")
        cells.append(f"{row['worst_gain']:+.2f}")
        cells.append(f"{row['outcomes'].get('unchanged', 0)}/{row['n']}")
        cells.append(f"{columns['ours']['nfe']:.1f}")
        cells.append(f"{columns['ours']['seconds']:.2f}")
        cells.append("" if name == "clean" or not clean else f"{auroc(row['typicality'], clean):.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nPSNR of equal images counts as 99 dB.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prior", default="photo-64")
    parser.add_argument(
        "--only", nargs="*", default=list(DEGRADATIONS), choices=list(DEGRADATIONS), metavar="NAME"
    )
    parser.add_argument("--images", type=int, help="measure on so many of the photographs, evenly spread")
    parser.add_argument("--out", type=Path, default=HERE / "quality.json")
    parser.add_argument("--anew", action="store_true", help="forget what an earlier run measured")
    options = parser.parse_args()

    settings = RestoreSettings()
    prior = load_prior(options.prior)
    restorer = Restorer(prior, settings)
    clean = photographs()
    if options.images:
        clean = dict(list(clean.items())[:: max(1, len(clean) // options.images)][: options.images])
    threads = torch.get_num_threads()
    record: dict[str, object] = {
        "prior": prior.name,
        "prior_sha256": prior.sha256,
        "settings": settings.model_dump(mode="json"),
        "seed": SEED,
        "photographs": len(clean),
        "machine": f"{platform.machine()} {prior.device.type}, {threads} threads, torch {torch.__version__}",
        "rows": {},
    }
    if options.out.exists() and not options.anew:
        earlier = json.loads(options.out.read_text())
        if all(
            earlier.get(key) == record[key] for key in ("prior_sha256", "settings", "seed", "photographs")
        ):
            record["rows"] = earlier["rows"]
    rows: dict[str, dict[str, object]] = record["rows"]  # type: ignore[assignment]
    for index, name in enumerate(DEGRADATIONS):
        if name in options.only and name not in rows:
            rows[name] = measure_row(restorer, clean, DEGRADATIONS[name], index)
            record["rows"] = {known: rows[known] for known in DEGRADATIONS if known in rows}
            options.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
            print(name, rows[name]["columns"], flush=True)
    options.out.with_suffix(".md").write_text(table(record))
    print(table(record))


if __name__ == "__main__":
    main()

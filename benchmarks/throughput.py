"""What the pipeline costs beside the model, what it costs without one, and that memory stays flat.

python -m benchmarks.throughput --out benchmarks/throughput

model     the pipeline with the real prior against a bare loop over the same images in one process, with one
          thread each; the two take turns in one run
plumbing  the pipeline with a model that does nothing, over 256 px JPEGs on local disk, in batches of 128,
          against two threads that fetch, decode, encode and store with the same functions and nothing else
memory    peak of the resident memory of all processes over that of an idle Ray, for 2,000 and 20,000 images
finished  a run over 100,000 inputs that all have their rows, from start to end

Rates of the pipeline count from the end of its first batch on, so without the start of Ray and of models.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import ray
import torch
from PIL import Image, ImageFilter

from benchmarks.processes import family, proportional_mib
from i2r import Degraded, Outcome, Restoration, Restorer, RestoreSettings, load_prior
from i2r.training.degradation import gaussian_noise
from pipeline import PriorIdentity, RunSettings, restore_dataset
from pipeline.codecs.codec import decode, encode
from pipeline.codecs.depth import to_float
from pipeline.records.manifest import SCHEMA, folder_of, to_parquet
from pipeline.records.verify import newest_rows
from pipeline.sources.walk import open_source
from pipeline.storage.store import open_store

FLOORS = {"model": 0.92, "plumbing": 0.60, "memory": 1.10, "finished": 60.0}
"""The model's and the plumbing's ratios may not be below, the others' figures not above."""
PHOTOGRAPHS = Path(__file__).parent / "photographs"
MAX_PIXELS = 100_000_000
BATCH, SMALL_BATCH = 128, 4
"""Images in a batch of a model that takes no time for one, and of one that takes a second."""


@dataclass(frozen=True)
class NoOp:
    """Makes a restorer that hands back what it gets, as if it had restored it."""

    device = "cpu/none"

    def identity(self) -> PriorIdentity:
        """It has no weights."""
        return PriorIdentity("no-op", "0" * 64)

    def __call__(self) -> NoOp:
        """Nothing to load."""
        return self

    def restore(self, degraded: Sequence[Degraded]) -> list[Restoration]:
        """Every image as it is."""
        return [Restoration(Outcome.RESTORED, given.image) for given in degraded]

    def smaller(self) -> None:
        """There is none."""


def model(count: int, rounds: int, side: int) -> dict[str, Any]:
    """Images a second of the pipeline and of the bare loop, each round's one after the other."""
    pipeline, bare = [], []
    with tempfile.TemporaryDirectory(prefix="i2r-throughput-") as name:
        folder = Path(name)
        write_noisy(folder / "source", count, side)
        restorer = Restorer(load_prior("photo-64"), RestoreSettings())
        for number in range(rounds):
            bare.append(bare_loop(folder / "source", folder / f"bare-{number}", restorer))
            dest = folder / f"dest-{number}"
            settings = RunSettings(workers=1, threads=1, batch=SMALL_BATCH)
            restore_dataset(str(folder / "source"), str(dest), settings)
            pipeline.append(rate_of(dest, SMALL_BATCH))
            print(f"model: bare {bare[-1]:.3f}/s, pipeline {pipeline[-1]:.3f}/s", file=sys.stderr, flush=True)
    ratios = [one / other for one, other in zip(pipeline, bare, strict=True)]
    return {
        "images": count,
        "side_px": side,
        "bare_per_second": rounded(bare),
        "pipeline_per_second": rounded(pipeline),
        "figure": round(statistics.median(ratios), 3),
    }


def bare_loop(source: Path, dest: Path, restorer: Restorer) -> float:
    """Read, decode, restore, encode and write one image after the other: images a second."""
    dest.mkdir()
    start = time.perf_counter()
    paths = sorted(source.iterdir())
    for path in paths:
        data = path.read_bytes()
        picture = decode(data, max_pixels=MAX_PIXELS)
        (result,) = restorer.restore([Degraded(to_float(picture.pixels))])
        (dest / path.name).write_bytes(encode(picture, result.image).data)
    return len(paths) / (time.perf_counter() - start)


def plumbing(count: int, rounds: int) -> dict[str, Any]:
    """Images a second of the pipeline without a model and of two plain threads."""
    pipeline, plain = [], []
    with tempfile.TemporaryDirectory(prefix="i2r-throughput-") as name:
        folder = Path(name)
        write_jpegs(folder / "source", count)
        ray.init(
            "local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=1 << 30
        )
        for number in range(rounds):
            plain.append(plain_threads(folder / "source", folder / f"plain-{number}"))
            dest = folder / f"dest-{number}"
            settings = RunSettings(workers=1, batch=BATCH)
            restore_dataset(str(folder / "source"), str(dest), settings, restorer_factory=NoOp())
            pipeline.append(rate_of(dest, BATCH))
            print(
                f"plumbing: plain {plain[-1]:.0f}/s, pipeline {pipeline[-1]:.0f}/s",
                file=sys.stderr,
                flush=True,
            )
        ray.shutdown()
    ratios = [one / other for one, other in zip(pipeline, plain, strict=True)]
    return {
        "images": count,
        "batch": BATCH,
        "plain_per_second": rounded(plain),
        "pipeline_per_second": rounded(pipeline),
        "figure": round(statistics.median(ratios), 3),
    }


def plain_threads(source: Path, dest: Path) -> float:
    """What two threads move: images a second."""
    from_store, to_store = open_store(str(source)), open_store(str(dest))

    def move(key: str) -> None:
        picture = decode(from_store.read(key), max_pixels=MAX_PIXELS)
        to_store.create(key, encode(picture, picture.pixels).data)

    keys = sorted(path.name for path in source.iterdir())
    start = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        for _ in threads.map(move, keys):
            pass
    return len(keys) / (time.perf_counter() - start)


def memory(small: int, large: int) -> dict[str, Any]:
    """How far the memory of all processes rises over that of an idle Ray."""
    growth = {count: grown_mib(count) for count in (small, large)}
    return {
        "images": [small, large],
        "growth_mib": [round(growth[small]), round(growth[large])],
        "figure": round(growth[large] / growth[small], 3),
    }


def grown_mib(count: int) -> float:
    """Peak of the memory of this process and all below it, in a run over so many small images."""
    with tempfile.TemporaryDirectory(prefix="i2r-throughput-") as name:
        folder = Path(name)
        write_tiny(folder / "source", count)
        command = [sys.executable, "-m", "benchmarks.throughput", "--grow"]
        command += [str(folder / "source"), str(folder / "dest")]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        grown = float(run.stdout.splitlines()[-1])
    print(f"memory: {count} images {grown:.0f} MiB", file=sys.stderr, flush=True)
    return grown


def grow(source: str, dest: str) -> float:
    """One run, in MiB over the memory that there was before; for a process of its own."""
    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)
    time.sleep(5)
    before, peak, over = family_mib(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.5):
            peak[0] = max(peak[0], family_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    restore_dataset(source, dest, RunSettings(workers=1, batch=32), restorer_factory=NoOp())
    over.set()
    watcher.join()
    return peak[0] - before


def family_mib() -> float:
    """Proportional memory of this process and all that descend from it."""
    return sum(proportional_mib(pid) for pid in family(os.getpid()))


def finished(count: int) -> dict[str, Any]:
    """Seconds that a run over inputs takes which are all done: the whole command."""
    with tempfile.TemporaryDirectory(prefix="i2r-throughput-") as name:
        folder = Path(name)
        for number in range(count):
            path = folder / "source" / f"{number // 1000:03d}" / f"{number:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        write_finished(folder / "source", folder / "dest")
        start = time.perf_counter()
        summary = restore_dataset(str(folder / "source"), str(folder / "dest"), restorer_factory=NoOp())
        seconds = time.perf_counter() - start
        if summary.counts["carried"] != count:
            raise RuntimeError(f"not all was done: {summary.counts}")
    return {"images": count, "figure": round(seconds, 1)}


def write_finished(source: Path, dest: Path) -> None:
    """A manifest that says of every file that it is restored."""
    store, now = open_store(str(dest)), datetime.now(UTC)
    settings = RunSettings().digest(NoOp().identity().sha256)
    found = list(open_source(str(source)).inputs())
    for start in range(0, len(found), 50_000):
        some = found[start : start + 50_000]
        given: dict[str, Sequence[Any]] = {
            "source_uri": [one.uri for one in some],
            "source_key": [one.key for one in some],
            "source_version": [one.version for one in some],
            "output_uri": [store.uri(one.key) for one in some],
        }
        same: dict[str, Any] = {
            "settings_sha256": settings,
            "status": "restored",
            "epoch": 0,  # before that of any lease
            "attempts": 1,
            "finished_at": now,
        }
        columns = [
            pa.array(given.get(field.name) or [same.get(field.name)] * len(some), field.type)
            for field in SCHEMA
        ]
        part = f"{folder_of('earlier')}/part-{start:06d}.parquet"
        store.write(part, to_parquet(pa.table(columns, schema=SCHEMA)))


def rate_of(dest: Path, batch: int) -> float:
    """Images a second of a run, from the moment at which as many as a batch holds were done."""
    times = sorted(
        row["finished_at"].timestamp()
        for rows in newest_rows(open_store(str(dest)), ("finished_at",))
        for row in rows.to_pylist()
    )
    return (len(times) - batch) / (times[-1] - times[batch - 1])


def write_noisy(folder: Path, count: int, side: int) -> None:
    """Crops of photographs with noise, as PNG."""
    folder.mkdir()
    photographs = sorted(PHOTOGRAPHS.glob("*.png"))
    for number in range(count):
        with Image.open(photographs[number % len(photographs)]) as picture:
            crop = np.asarray(picture.convert("RGB"), np.float32)[:side, :side] / np.float32(255)
        noisy = gaussian_noise(crop, np.random.default_rng(number), sigma=0.1)
        Image.fromarray(np.round(noisy * 255).astype(np.uint8)).save(folder / f"{number:03d}.png")


def write_tiny(folder: Path, count: int) -> None:
    """Images of 16 px, each different, as PNG."""
    folder.mkdir()
    for number in range(count):
        pixels = np.full((16, 16, 3), number % 251, np.uint8)
        pixels[0, 0] = number % 256, number // 256 % 256, number // 65536
        Image.fromarray(pixels).save(folder / f"{number:06d}.png", compress_level=1)


def write_jpegs(folder: Path, count: int) -> None:
    """Soft noise of 256 x 256, as JPEG."""
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2))
        image.save(folder / f"{number:05d}.jpg", quality=85)


def rounded(values: Sequence[float]) -> list[float]:
    """For the record."""
    return [round(value, 3) for value in values]


def main() -> None:
    """Run the cases that are asked for and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(FLOORS), help="of model, plumbing, memory, finished")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the images, for a quick look")
    parser.add_argument("--rounds", type=int, default=3, help="turns of model and plumbing")
    parser.add_argument("--out", type=Path, help="results go to OUT.json and OUT.md")
    parser.add_argument("--grow", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.grow:
        print(grow(*arguments.grow))
        return

    def scaled(count: int, least: int = 8) -> int:
        return max(least, int(count * arguments.scale))

    cases: dict[str, Callable[[], dict[str, Any]]] = {
        "model": lambda: model(scaled(40), arguments.rounds, 96),
        "plumbing": lambda: plumbing(scaled(6000, 2 * BATCH), arguments.rounds),
        "memory": lambda: memory(scaled(2_000), scaled(20_000)),
        "finished": lambda: finished(scaled(100_000)),
    }
    results = {name: cases[name]() for name in arguments.cases}
    print(as_markdown(results))
    if arguments.out:
        arguments.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(as_markdown(results))


def as_markdown(results: dict[str, dict[str, Any]]) -> str:
    """The results as a table, beside what is wanted."""
    titles = {
        "model": "pipeline with the model, of the bare loop (median)",
        "plumbing": "pipeline without a model, of two plain threads (median)",
        "memory": "growth over ten times the images, of that over the fewer",
        "finished": "seconds of a run over finished inputs",
    }
    lines = [
        "# Throughput and memory",
        "",
        "`python -m benchmarks.throughput --out benchmarks/throughput`, "
        f"{os.cpu_count()} vCPU {platform.machine()}, {'with' if torch.cuda.is_available() else 'no'} GPU.",
        "",
        "| | images | wanted | measured |",
        "|---|---|---|---|",
    ]
    for name, result in results.items():
        sign = ">=" if name in ("model", "plumbing") else "<="
        lines.append(
            f"| {titles[name]} | {result['images']} | {sign} {FLOORS[name]:g} | {result['figure']:g} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()

"""What a run takes besides its images: memory of each process, objects and time, for up to ten million keys.

    python -m benchmarks.fleet --out benchmarks/fleet
    python -m benchmarks.fleet 10000000 --no-head --out benchmarks/fleet
    python -m benchmarks.fleet 10000000 --no-head --without-ray --out benchmarks/fleet

keys   a run over so many keys, and a second one that finds them done. Listing, anti-join, scatter over Ray
       Data's actors, manifest and compaction are the program's own; the stages read and store no image
       (`synthetic.py`), so the objects of images are counted and not written. Ray has one node; without Ray,
       the driver makes the rows itself, which shows what it takes alone.
head   a run over 20,000 images of 16 px on a head without CPUs and two workers, all on this machine. Every
       stage is the program's own; the model hands back what it gets.

Memory is sampled every second: of a process, what is no file's and not shared; of the head, all of its
processes together, each with its share of what they share. Each case has a process of its own, and is written
down when it has ended; other cases in OUT.json stay.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.commit import commit
from benchmarks.machine import processor
from benchmarks.processes import family, own_mib, proportional_mib, role

BATCH = 32
OBJECT_STORE = 200 << 20
HEAD_IMAGES, HEAD_MOST_MIB = 20_000, 300
IDLE_SECONDS = 10.0
STEPS = {
    "listing": "Listing.fill",
    "join": "Selection.store",
    "scatter": "Attempts.make",
    "compaction": "compact",
}
"""What of a run is timed, and the function that does it."""


class Watch:
    """Calls a function every second until it is left; a context manager."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look, self._over = look, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(1.0):
            self._look()

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def measure_keys(keys: int, folder: Path, *, with_ray: bool) -> dict[str, Any]:
    """Run over so many keys that are nowhere, twice; for a process of its own."""
    from benchmarks.synthetic import PROTOCOL, stand_in, stand_in_for_ray
    from benchmarks.throughput import NoOp
    from pipeline import RunSettings, restore_dataset

    if with_ray:
        stand_in()
        start_ray()
    else:
        stand_in_for_ray()
    before, peaks, stored = own_mib(os.getpid()), Counter[str](), [0.0]

    def look() -> None:
        for pid in family(os.getpid()):
            name = "driver" if pid == os.getpid() else role(pid)
            peaks[name] = max(peaks[name], round(own_mib(pid)))
        if with_ray:
            stored[0] = max(stored[0], stored_mib())

    # No object is stored, so none can be looked for.
    settings, dest = RunSettings(workers=2, batch=BATCH, check_outputs=False), folder / "dest"

    def run() -> tuple[float, Any]:
        start = time.perf_counter()
        summary = restore_dataset(f"{PROTOCOL}://{keys}", str(dest), settings, restorer_factory=NoOp())
        return time.perf_counter() - start, summary

    with Watch(look), counted() as (seconds, requests):
        whole, summary = run()
        if summary.counts["restored"] != keys:
            raise RuntimeError(f"not all were handled: {summary.counts}")
        first = dict(seconds) | {"whole": whole}
        written, deleted = requests["write"] + requests["create"], requests["delete"]
        again, summary = run()
        if summary.counts["carried"] != keys:
            raise RuntimeError(f"not all were found done: {summary.counts}")
    files = [path for path in dest.rglob("*") if path.is_file()]
    return {
        "keys": keys,
        "with_ray": with_ray,
        "seconds": {name: round(value, 1) for name, value in first.items()} | {"again": round(again, 1)},
        "driver_growth_mib": round(peaks["driver"] - before),
        "peak_mib": dict(sorted(peaks.items())),
        "object_store_mib": round(stored[0]),
        "objects": {"written": written, "deleted": deleted, "left": len(files)},
        "left_mib": round(sum(path.stat().st_size for path in files) / 2**20, 1),
        **place(),
    }


def start_ray() -> None:
    """Start the Ray of this process, and wait until it idles."""
    import ray

    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": OBJECT_STORE}
    ray.init("local", num_cpus=4, **options)
    time.sleep(IDLE_SECONDS)


def stored_mib() -> float:
    """What Ray's object store holds now."""
    import ray

    name = "object_store_memory"
    return float(ray.cluster_resources()[name] - ray.available_resources().get(name, 0)) / 2**20


@contextmanager
def counted() -> Iterator[tuple[dict[str, float], Counter[str]]]:
    """Time the steps of runs in this process, and count their requests that write or delete objects."""
    from pipeline.records import manifest
    from pipeline.records.listing import Listing
    from pipeline.runs.attempts import Attempts
    from pipeline.runs.selection import Selection
    from pipeline.storage.store import Store

    seconds, requests = defaultdict[str, float](float), Counter[str]()

    def watch(owner: Any, name: str, note: Callable[[float], None]) -> None:
        function = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                note(time.perf_counter() - start)

        setattr(owner, name, watched)

    def timed(step: str) -> Callable[[float], None]:
        def note(passed: float) -> None:
            seconds[step] += passed

        return note

    def called(name: str) -> Callable[[float], None]:
        return lambda passed: requests.update([name])

    owners = {"Listing": Listing, "Selection": Selection, "Attempts": Attempts}
    for step, place in STEPS.items():
        owner, _, name = place.rpartition(".")
        watch(owners.get(owner, manifest), name, timed(step))
    for name in ("write", "create", "delete"):
        watch(Store, name, called(name))
    yield seconds, requests


def measure_head(images: int, folder: Path) -> dict[str, Any]:
    """Run over so many small images on a head and two workers; for a process of its own."""
    import ray
    from ray.cluster_utils import Cluster

    from benchmarks.throughput import NoOp, write_tiny
    from pipeline import RunSettings, restore_dataset

    write_tiny(folder / "source", images)
    options = {"object_store_memory": OBJECT_STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **options})
    workers = [cluster.add_node(num_cpus=2, **options) for _ in range(2)]
    elsewhere = [node.all_processes["raylet"][0].process.pid for node in workers]
    ray.init(cluster.address, log_to_driver=False)
    time.sleep(IDLE_SECONDS)
    peak, stages, decoders = [0.0], set[str](), [0]

    def look() -> None:
        pids = family(os.getpid(), without=elsewhere)
        peak[0] = max(peak[0], sum(map(proportional_mib, pids)))
        roles = [role(pid) for pid in pids]
        stages.update(name for name in roles if name.startswith("MapWorker"))
        decoders[0] = max(decoders[0], roles.count("decoder"))

    look()
    before, start = peak[0], time.perf_counter()
    with Watch(look):
        summary = restore_dataset(
            str(folder / "source"),
            str(folder / "dest"),
            RunSettings(workers=2, batch=BATCH),
            restorer_factory=NoOp(),
        )
    seconds = time.perf_counter() - start
    if summary.counts["restored"] != images:
        raise RuntimeError(f"not all were restored: {summary.counts}")
    ray.shutdown()
    cluster.shutdown()
    return {
        "images": images,
        "seconds": round(seconds, 1),
        "growth_mib": round(peak[0] - before),
        "decoders": decoders[0],
        "stages": sorted(stages),
        **place(),
    }


def place() -> dict[str, Any]:
    """Where and what was measured."""
    import ray

    cpu = f"{os.cpu_count()} x {processor()['cpu']}, {platform.machine()}"
    return {"machine": f"{cpu}, Ray {ray.__version__}", "at": commit()}


def in_fresh_process(*case: str) -> dict[str, Any]:
    """Measure a case in a process of its own, with a folder that is removed afterwards."""
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory(prefix="i2r-fleet-") as folder:
        command = [sys.executable, "-m", "benchmarks.fleet", "--measure", *case, folder]
        run = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, cwd=root, env=environment
        )
    print(f"{' '.join(case)}: done", file=sys.stderr, flush=True)
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


INTRODUCTION = f"""# Ten million inputs

`python -m benchmarks.fleet --out benchmarks/fleet`; a number of keys, such as 10000000, measures these.
A run over keys without images: what it takes besides them. Memory is the peak of a process's own, in
MiB, the driver's over that before the run. Batches have {BATCH} images. An image is one object more, and a
batch a note, which is deleted when its rows are recorded: neither is in the table.

| keys | listing, s | join, s | scatter, s | compaction, s | a second run, s | s a million |
|---|---|---|---|---|---|---|
"""
MEMORY = """
| keys | driver | GCS | raylet | largest stage | object store | objects written | deleted | left | left, MiB |
|---|---|---|---|---|---|---|---|---|---|
"""


def as_markdown(results: dict[str, Any]) -> str:
    """The results as tables, and what is wanted of them."""
    times, memory, places = "", "", ""
    for case in sorted(results["keys"], key=which):
        seconds, peaks = case["seconds"], case["peak_mib"]
        row = [f"{seconds.get(name, 0):g}" for name in (*STEPS, "again")]
        what = f"{case['keys']:,}{'' if case['with_ray'] else ', without Ray'}"
        times += f"| {what} | {' | '.join(row)} | {seconds['whole'] / case['keys'] * 1e6:.0f} |\n"
        largest = max((size for name, size in peaks.items() if name.startswith("MapWorker")), default=0)
        sizes = [case["driver_growth_mib"], peaks.get("gcs_server", 0), peaks.get("raylet", 0), largest]
        sizes += [case["object_store_mib"], *case["objects"].values(), case["left_mib"]]
        memory += f"| {what} | {' | '.join(f'{size:,}' for size in sizes)} |\n"
        places += f"\n{what}: {case['machine']}, at {case['at']}.\n"
    page = INTRODUCTION + times + MEMORY + memory + places
    if head := results.get("head"):
        page += head_in_words(head)
    return page


def which(case: dict[str, Any]) -> tuple[int, bool]:
    """The number of keys, and whether Ray was there."""
    return case["keys"], case["with_ray"]


def head_in_words(head: dict[str, Any]) -> str:
    """What the head's case came to, and whether it is as wanted."""
    within = head["growth_mib"] < HEAD_MOST_MIB and not head["decoders"]
    return f"""
## The head

A head without CPUs and two workers, {head["images"]:,} images of 16 px, {head["seconds"]:g} s.
All processes of the head together grew by {head["growth_mib"]} MiB (below {HEAD_MOST_MIB} is wanted).
Decoders that ran there at once: {head["decoders"]} at most (none is wanted); stages: {len(head["stages"])}.
That is {"as wanted" if within else "not as wanted"}. {head["machine"]}, at {head["at"]}.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the cases that are asked for, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("keys", type=int, nargs="*", default=[100_000, 1_000_000], help="numbers of keys")
    parser.add_argument("--head", type=int, default=HEAD_IMAGES, help="images of the head's case")
    parser.add_argument("--no-head", action="store_true", help="leave out the head's case")
    parser.add_argument("--no-keys", action="store_true", help="leave out the cases of keys")
    parser.add_argument("--without-ray", action="store_true", help="make the rows in the driver")
    parser.add_argument("--out", type=Path, help="results go to OUT.json and OUT.md")
    parser.add_argument("--measure", nargs=3, metavar=("CASE", "COUNT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        case, count, where = given.measure[0], int(given.measure[1]), Path(given.measure[2])
        with_ray = case == "keys"
        head = case == "head"
        result = measure_head(count, where) if head else measure_keys(count, where, with_ray=with_ray)
        print(json.dumps(result))
        return
    file = given.out.with_suffix(".json") if given.out else None
    results: dict[str, Any] = json.loads(file.read_text()) if file and file.exists() else {"keys": []}

    def keep() -> None:
        if file:
            file.write_text(json.dumps(results, indent=1) + "\n")
            file.with_suffix(".md").write_text(as_markdown(results))

    for keys in () if given.no_keys else given.keys:
        others = [case for case in results["keys"] if which(case) != (keys, not given.without_ray)]
        case = "keys-without-ray" if given.without_ray else "keys"
        results["keys"] = [*others, in_fresh_process(case, str(keys))]
        keep()
    if not given.no_head:
        results["head"] = in_fresh_process("head", str(given.head))
        keep()
    print(as_markdown(results))


if __name__ == "__main__":
    main()

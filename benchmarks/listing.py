"""Memory and time of listing a source and leaving out what is done.

    python -m benchmarks.listing --out benchmarks/listing

Each case runs in a fresh process that has an idle Ray and everything imported: it reports how far its
resident memory rose above that, at its peak. Nine tenths of the keys have rows in the manifest, so the
anti-join has to find the rest. The local keys are empty files in a temporary folder, the others small images
on an S3 endpoint (moto's server) on this machine, in folders of a thousand or in none (`flat`). Of those in
none it also measures how soon after its start a run into an empty destination has restored its first image,
with a model that does nothing. `--local`, `--s3` or `--flat` without a number leaves those out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from PIL import Image

FOLDER_KEYS = 1000
DONE_SHARE = 10
"""One key in so many has no row yet."""
LIMIT_MIB, LIMIT_FIRST = 300, 60
MOTO_ACCOUNT = "123456789012"
MYSELF = [sys.executable, "-m", "benchmarks.listing"]
ACCESS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass(frozen=True)
class Result:
    """One case.

    Attributes:
        source: `local`, `s3` or `flat`.
        keys: that were listed.
        pending: of them, those that the anti-join found undone.
        listing_seconds, join_seconds: wall-clock time.
        growth_mib: peak of the resident memory over that before, with an idle Ray.
        first_seconds: from the start of a run to its first restored image, None where it was not measured.
    """

    source: str
    keys: int
    pending: int
    listing_seconds: float
    join_seconds: float
    growth_mib: float
    first_seconds: float | None = None


def main() -> None:
    """Run every case and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--local", type=int, nargs="*", default=[100_000, 1_000_000], help="keys on local disk"
    )
    parser.add_argument(
        "--s3", type=int, nargs="*", default=[5_000, 50_000, 200_000], help="keys on the S3 endpoint"
    )
    parser.add_argument("--flat", type=int, nargs="*", default=[200_000], help="keys there, in no folders")
    parser.add_argument("--out", type=Path, help="results go to OUT.json and OUT.md")
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, metavar=("SOURCE", "DEST", "KIND"), help=argparse.SUPPRESS)
    parser.add_argument("--first", nargs=2, metavar=("SOURCE", "DEST"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(asdict(measure(*arguments.measure))))
        return
    if arguments.first:
        first(*arguments.first)
        return
    if arguments.serve:
        port, *buckets = arguments.serve
        serve(int(port), buckets)
        return
    results = read_results(arguments.out) if arguments.out else {}

    def keep(result: Result) -> None:
        """Written down at once: a large case takes minutes."""
        results[result.source, result.keys] = result
        if arguments.out:
            written = [results[case] for case in sorted(results)]
            content = json.dumps([asdict(case) for case in written], indent=1)
            arguments.out.with_suffix(".json").write_text(content + "\n")
            arguments.out.with_suffix(".md").write_text(as_markdown(written))

    for keys in arguments.local:
        keep(run_local(keys))
    cases = [("s3", keys) for keys in arguments.s3] + [("flat", keys) for keys in arguments.flat]
    for kind, keys in cases:
        with s3_endpoint(bucket_of(kind, keys)):
            keep(run_s3(kind, keys))
    print(as_markdown([results[case] for case in sorted(results)]))


def read_results(out: Path) -> dict[tuple[str, int], Result]:
    """What was written down earlier, by source and keys."""
    file = out.with_suffix(".json")
    earlier = [Result(**entry) for entry in json.loads(file.read_text())] if file.exists() else []
    return {(result.source, result.keys): result for result in earlier}


def run_local(keys: int) -> Result:
    """List and join so many empty files."""
    folder = Path(tempfile.mkdtemp(prefix="i2r-listing-"))
    try:
        for number in range(keys):
            path = folder / "source" / f"{number // FOLDER_KEYS:04d}" / f"scan-{number:08d}.jpg"
            if number % FOLDER_KEYS == 0:
                path.parent.mkdir(parents=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        return in_fresh_process(str(folder / "source"), str(folder / "dest"), "local")
    finally:
        shutil.rmtree(folder)


def run_s3(kind: str, keys: int) -> Result:
    """List and join the bucket of so many objects; if it is flat, also restore its first image."""
    source = f"s3://{bucket_of(kind, keys)}/source"
    with tempfile.TemporaryDirectory(prefix="i2r-listing-") as folder:
        result = in_fresh_process(source, f"{folder}/dest", kind)
        if kind == "flat":
            start = time.perf_counter()
            command = [*MYSELF, "--first", source, f"{folder}/restored"]
            subprocess.run(command, check=True)
            result = replace(result, first_seconds=round(time.perf_counter() - start, 1))
    return result


def first(source: str, dest: str) -> None:
    """Restore SOURCE until the first image is restored, and end this process at once."""
    from benchmarks.throughput import NoOp
    from pipeline import Progress, RunSettings, restore_dataset

    def end(progress: Progress) -> None:
        if progress.counts.get("restored"):
            os._exit(0)

    restore_dataset(source, dest, RunSettings(workers=1), restorer_factory=NoOp(), on_progress=end)
    raise RuntimeError("the run ended before it had restored an image")


def bucket_of(kind: str, keys: int) -> str:
    """The name of the bucket with so many objects."""
    return f"{kind}-{keys}"


def in_fresh_process(source: str, dest: str, kind: str) -> Result:
    """Measure a case in a process of its own, once its manifest is there."""
    command = [*MYSELF, "--measure", source, dest]
    subprocess.run([*command, "prepare"], check=True, stdout=subprocess.DEVNULL)
    run = subprocess.run([*command, kind], check=True, capture_output=True, text=True)
    result = Result(**json.loads(run.stdout.splitlines()[-1]))
    print(f"{result.source} {result.keys}: {result.growth_mib:.0f} MiB", file=sys.stderr, flush=True)
    return result


def measure(source: str, dest: str, kind: str) -> Result:
    """List SOURCE and join it with the manifest at DEST; `prepare` writes that manifest instead."""
    import ray
    import ray.data

    from pipeline.records.listing import Listing
    from pipeline.records.manifest import manifest_files
    from pipeline.records.pending import Tally, Wanted, pending_batches
    from pipeline.settings import RunSettings
    from pipeline.sources.walk import open_source
    from pipeline.storage.store import open_store

    store = open_store(dest)
    listing = Listing(store, f"_i2r/runs/{kind}/listing")
    if kind == "prepare":
        listing.fill(open_source(source), RunSettings())
        write_manifest(dest, listing.batches())
        return Result(kind, listing.count, 0, 0, 0, 0)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
    before = resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    start = time.perf_counter()
    listing.fill(open_source(source), RunSettings())
    listed = time.perf_counter()
    tally = Tally()
    pending = sum(
        batch.num_rows
        for batch in pending_batches(
            store, listing, manifest_files(store), Wanted("A"), tally=tally, extension=None
        )
    )
    joined = time.perf_counter()
    growth = resident_mib("VmHWM") - before
    ray.shutdown()
    return Result(
        kind, listing.count, pending, round(listed - start, 1), round(joined - listed, 1), round(growth, 1)
    )


def write_manifest(dest: str, batches: Iterator[pa.RecordBatch]) -> None:
    """Rows that say of all keys but one in `DONE_SHARE` that they are done."""
    from pipeline.records.manifest import SCHEMA, folder_of, to_parquet
    from pipeline.storage.store import open_store

    store, now = open_store(dest), datetime.now(UTC)
    for number, batch in enumerate(batches):
        done = batch.take(pa.array([n for n in range(batch.num_rows) if n % DONE_SHARE]))
        given = {
            name: done[name] for name in ("source_uri", "source_key", "source_size", "source_version")
        } | {"output_uri": pa.array([store.uri(key) for key in done["source_key"].to_pylist()])}
        same = {"settings_sha256": "A", "status": "restored", "epoch": 1, "attempts": 1, "finished_at": now}
        columns = [
            given.get(field.name, pa.array([same.get(field.name)] * done.num_rows, field.type))
            for field in SCHEMA
        ]
        part = f"{folder_of('earlier')}/part-{number:06d}.parquet"
        store.write(part, to_parquet(pa.table(columns, schema=SCHEMA)))


def resident_mib(name: str) -> float:
    """A line of this process's status: `VmRSS` now, `VmHWM` at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


@contextlib.contextmanager
def s3_endpoint(*buckets: str) -> Iterator[None]:
    """An S3 endpoint on this machine with these buckets, as `bucket_of` names them, for child processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    os.environ.update(ACCESS | {"AWS_ENDPOINT_URL": address})
    command = [*MYSELF, "--serve", str(port), *buckets]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while server.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=1).close()
                break
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait()


def serve(port: int, buckets: Sequence[str]) -> None:
    """Be that endpoint; the buckets are filled before it answers, as 50,000 requests would take minutes."""
    from moto.s3.models import s3_backends
    from moto.server import main as answer

    backend, stream = s3_backends[MOTO_ACCOUNT]["aws"], io.BytesIO()
    Image.new("RGB", (16, 16), "gray").save(stream, "PNG")
    for bucket in buckets:
        kind, _, keys = bucket.rpartition("-")
        backend.create_bucket(bucket, ACCESS["AWS_DEFAULT_REGION"])
        for number in range(int(keys)):
            folder = f"{number // FOLDER_KEYS:04d}/" if kind == "s3" else ""
            backend.put_object(bucket, f"source/{folder}scan-{number:08d}.png", stream.getvalue())
    answer(["-H", "127.0.0.1", "-p", str(port)])


def as_markdown(results: Sequence[Result]) -> str:
    """The results as a table, and whether they keep the limits."""
    lines = [
        "# Listing and anti-join",
        "",
        "`python -m benchmarks.listing --out benchmarks/listing`, 2 vCPU x86_64. Growth is the peak of the",
        "resident memory of the driver over that with an idle Ray; the limit is 300 MiB. Nine tenths of the",
        "keys have rows. On S3 some 24 MiB are its client, which is loaded after that.",
        "",
        "What is held at once has bounds: a batch of 5,000 keys that are listed, a part of 50,000 as it is",
        "compressed, a batch of 16,384 rows that are read, and the buffers of DuckDB, of 128 MB, with some",
        "120 MiB beside them. Growth rises until a case fills them, and ten times the keys take no more from",
        "there on.",
        "",
        "`first image` is the time from the start of a run to its first restored image, with a model that",
        f"does nothing: below {LIMIT_FIRST} s is wanted for 200,000 keys. The endpoint is one process of",
        "Python, which takes a quarter of a second or more for a page.",
        "",
        "| source | keys | undone | listing, s | anti-join, s | growth, MiB | first image, s |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {case.source} | {case.keys:,} | {case.pending:,} | {case.listing_seconds:g} "
        f"| {case.join_seconds:g} | {case.growth_mib:.0f} | {case.first_seconds or ''} |"
        for case in results
    ]
    within = all(result.growth_mib < LIMIT_MIB for result in results)
    return "\n".join([*lines, "", f"Every case below {LIMIT_MIB} MiB: {'yes' if within else 'no'}.", ""])


if __name__ == "__main__":
    main()

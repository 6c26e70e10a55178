"""Storage on a bad day, full disks, and a dataset with every kind of broken image in it."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from broken_images import BROKEN, endless_jpeg, saved
from faulty_proxy import Fault, FaultyProxy, faulty_proxy, first, no_fault
from PIL import Image
from small_images import write_image
from standin import BROKEN as DIVIDES_BY_ZERO
from standin import DEADLY
from test_run import images, restore, rows

from pipeline.errors import ErrorCode, ItemError, RunError, SettingsError
from pipeline.records.lease import Lease
from pipeline.records.summary import read_records
from pipeline.records.verify import verify_dataset
from pipeline.storage import retries
from pipeline.storage.store import open_store

MOST_REQUESTS = 40
MOST_SECONDS = 60
"""What one object may cost before it is given up."""
BAD_DAY = (Fault.UNAVAILABLE, Fault.INTERNAL, Fault.THROTTLED, Fault.HALF, Fault.DROPPED)


@pytest.fixture
def proxy(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before the S3 endpoint, which every S3 client made in this test goes through."""
    with faulty_proxy(s3_endpoint) as proxy:
        # part of a client's own arguments, so that it goes with it into Ray's workers
        monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": proxy.address})
        yield proxy
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.parametrize("fault", BAD_DAY)
def test_a_request_that_failed_is_repeated(
    proxy: FaultyProxy, bucket: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault is not Fault.UNAVAILABLE:
        monkeypatch.setattr(retries, "FIRST_PAUSE", 0.01)
    store = open_store(f"{bucket}/dest")
    content = random.Random(0).randbytes(5000)
    if fault is not Fault.HALF:
        proxy.plan = first(2, fault, "PUT")
        store.write("a.bin", content)
        proxy.plan = first(2, fault, "PUT")
        assert store.create("b.bin", content)
        proxy.plan = first(2, fault, "HEAD")
        assert store.exists("a.bin")
        assert proxy.seen[fault] >= 5
    store.write("a.bin", content)
    proxy.plan = first(2, fault, "GET")
    assert store.read("a.bin") == content
    proxy.plan = first(1, fault, "GET")
    assert store.names("") == ["a.bin"] if fault is Fault.HALF else ["a.bin", "b.bin"]


@pytest.mark.parametrize("name", ["probe-", "0000000001"])
def test_a_lease_whose_answer_was_lost_is_held(proxy: FaultyProxy, bucket: str, name: str) -> None:
    store, left = open_store(f"{bucket}/dest"), [Fault.LOST]
    proxy.plan = lambda method, path: left.pop() if method == "PUT" and name in path and left else Fault.NONE
    with Lease(store, "first", 60) as lease:
        assert (lease.epoch, proxy.seen[Fault.LOST]) == (1, 1)
    proxy.plan = first(1, Fault.UNAVAILABLE, "POST")
    store.delete_folder("_i2r")
    assert (store.names("_i2r"), proxy.seen[Fault.UNAVAILABLE]) == ([], 1)


def test_a_store_that_ignores_conditions_is_refused(source: Path, proxy: FaultyProxy, bucket: str) -> None:
    proxy.plan = lambda method, path: Fault.UNCONDITIONAL if method == "PUT" else Fault.NONE
    dest = open_store(f"{bucket}/dest")
    with pytest.raises(SettingsError, match=f"DEST {dest.uri()} cannot be written: .* heeds If-None-Match"):
        restore(source, dest.uri())
    assert dest.names("_i2r/lease") == []


def test_a_slow_answer_is_waited_for(proxy: FaultyProxy, bucket: str) -> None:
    store = open_store(f"{bucket}/dest")
    proxy.plan, proxy.seconds = first(1, Fault.SLOW), 2.0
    store.write("a.bin", b"content")
    assert store.read("a.bin") == b"content"
    assert proxy.seen[Fault.SLOW] == 1


def test_a_store_that_stays_away_is_given_up_within_bounds(proxy: FaultyProxy, bucket: str) -> None:
    """In each of three ways, all at once: most of the time is spent waiting."""
    faults = [Fault.UNAVAILABLE, Fault.THROTTLED, Fault.HALF]
    store = open_store(f"{bucket}/dest")
    for fault in faults:
        store.write(f"{fault.name}.bin", b"content" * 100)
    proxy.plan = lambda method, path: (
        next(fault for fault in faults if fault.name in path) if method == "GET" else Fault.NONE
    )

    def give_up(fault: Fault) -> tuple[ItemError, float]:
        start = time.monotonic()
        with pytest.raises(ItemError, match="given up after") as caught:
            store.read(f"{fault.name}.bin")
        return caught.value, time.monotonic() - start

    with ThreadPoolExecutor(len(faults)) as threads:
        for fault, (error, seconds) in zip(faults, threads.map(give_up, faults), strict=True):
            assert error.code is ErrorCode.STORAGE
            assert seconds < MOST_SECONDS
            assert 3 <= proxy.seen[fault] <= MOST_REQUESTS


@pytest.mark.usefixtures("ray_here")
def test_a_run_on_a_bad_day_loses_nothing(proxy: FaultyProxy, source: Path, bucket: str) -> None:
    from_store = open_store(f"{bucket}/source")
    for path in source.rglob("*.png"):
        from_store.write(path.relative_to(source).as_posix(), path.read_bytes())
    chance = random.Random(0)

    def plan(method: str, _path: str) -> Fault:
        if chance.random() > 0.1:
            return Fault.NONE
        return chance.choice([fault for fault in BAD_DAY if method == "GET" or fault is not Fault.HALF])

    proxy.plan = plan
    summary = restore(f"{bucket}/source", f"{bucket}/dest")
    assert summary.counts["restored"] == 6
    faults = sum(number for fault, number in proxy.seen.items() if fault is not Fault.NONE)
    assert faults > 3
    assert 0 < summary.repeated_requests <= faults
    assert read_records(open_store(f"{bucket}/dest"))[0]["repeated_requests"] == summary.repeated_requests
    assert verify_dataset(f"{bucket}/dest").faults == []


@pytest.mark.usefixtures("ray_here")
def test_an_object_that_is_never_served_is_one_failed_row(
    proxy: FaultyProxy, source: Path, bucket: str
) -> None:
    from_store = open_store(f"{bucket}/source")
    for path in source.rglob("*.png"):
        from_store.write(path.relative_to(source).as_posix(), path.read_bytes())
    proxy.plan = lambda method, path: (
        Fault.UNAVAILABLE if method == "GET" and path.endswith("source/album-0/2.png") else Fault.NONE
    )
    summary = restore(f"{bucket}/source", f"{bucket}/dest")
    assert (summary.counts["restored"], summary.counts["failed"], summary.exit_status) == (5, 1, 3)
    row = rows(f"{bucket}/dest")["album-0/2.png"]
    assert (row["error_code"], "given up after" in row["error_message"]) == ("storage", True)
    assert summary.repeated_requests == retries.ATTEMPTS - 1
    proxy.plan = no_fault
    assert restore(f"{bucket}/source", f"{bucket}/dest").counts["restored"] == 1


@pytest.mark.usefixtures("ray_here")
def test_a_bucket_that_denies_in_mid_run_stops_it_and_costs_no_image(
    proxy: FaultyProxy, tmp_path: Path, bucket: str
) -> None:
    from_store = open_store(f"{bucket}/source")
    for number in range(60):
        write_image(tmp_path / "one.png", seed=number, side=16)
        from_store.write(f"{number:02d}.png", (tmp_path / "one.png").read_bytes())
    served = Counter[str]()

    def plan(method: str, path: str) -> Fault:
        served["images"] += method == "GET" and "/source/" in path and path.endswith(".png")
        return Fault.DENIED if served["images"] > 10 and "/source/" in path else Fault.NONE

    proxy.plan = plan
    with pytest.raises(RunError) as caught:
        restore(f"{bucket}/source", f"{bucket}/dest", max_errors_in_a_row=8)
    said = str(caught.value)
    assert said.startswith(f"8 errors in a row on node {socket.gethostname()}, the last (forbidden): s3://")
    assert said.endswith(
        "renew the credentials, or give them the right; then run again: it goes on from here"
    )
    assert "\n" not in said
    assert proxy.seen[Fault.DENIED] >= 8
    assert {row["status"] for row in rows(f"{bucket}/dest").values()} <= {"restored"}
    proxy.plan = no_fault
    summary = restore(f"{bucket}/source", f"{bucket}/dest")
    assert (summary.counts["restored"] + summary.counts["carried"], summary.exit_status) == (60, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one and a half megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.usefixtures("ray_here")
def test_a_full_disk_stops_the_run_and_the_next_one_resumes(tmp_path: Path, small_disk: Path) -> None:
    source, dest = tmp_path / "source", small_disk / "dest"
    for number in range(60):
        write_image(source / f"{number:02d}.png", seed=number, side=128)
    with pytest.raises(RunError, match=r"takes no more \(No space left on device\): make room and run again"):
        restore(source, dest, lease_seconds=1, flush_rows=4)
    done = images(dest)
    assert 0 < len(done) < 60
    assert not list(dest.glob("_i2r/runs/*.json"))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    time.sleep(2.5)  # this process lives on, and had no room to say that it let go
    summary = restore(source, dest)
    assert summary.counts["restored"] + summary.counts["carried"] == 60
    assert summary.counts["carried"] > 0
    assert verify_dataset(str(dest)).faults == []
    assert images(dest) == {path.name for path in source.iterdir()}


@pytest.mark.usefixtures("ray_here")
def test_a_hang_and_a_memory_bomb_are_one_failed_row_each(tmp_path: Path) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    for number in range(6):
        write_image(source / f"good-{number}.png", seed=number, side=16)
    (source / "bomb.png").write_bytes(saved("PNG", Image.new("RGB", (6000, 6000))))
    (source / "endless.jpg").write_bytes(endless_jpeg())
    counts = restore(source, dest, decode_seconds=2, decode_memory_mib=64).counts
    assert (counts["restored"], counts["failed"]) == (6, 2)
    codes = {key: row["error_code"] for key, row in rows(dest).items() if row["error_code"]}
    assert codes == {"bomb.png": "too_large", "endless.jpg": "timeout"}


@pytest.mark.usefixtures("ray_here")
@pytest.mark.timeout(600)
def test_a_tenth_of_a_dataset_is_broken_in_twenty_ways(tmp_path: Path) -> None:
    source, dest = tmp_path / "source", tmp_path / "dest"
    for number in range(900):
        write_image(source / f"{number % 9}" / f"good-{number:03d}.png", seed=number, side=16)
    expected: dict[str, str] = {}
    ways = sorted(BROKEN)[:: len(BROKEN) // 17][:17]
    for way in ways:
        make, extension, code = BROKEN[way]
        for number in range(5):
            key = f"{number}/{way}{extension}"
            expected[key] = code.value
            (source / key).write_bytes(make())
    for number in range(5):
        write_image(source / f"{number}/deadly.png", seed=number, mark=DEADLY)
        write_image(source / f"{number}/zero.png", seed=number, mark=DIVIDES_BY_ZERO)
        write_image(source / f"{number}/back\\slash.png", seed=number)
        expected |= {
            f"{number}/deadly.png": "crashed",
            f"{number}/zero.png": "numerical",
            f"{number}/back\\slash.png": "bad_key",
        }
    assert (len(ways) + 3, len(expected)) == (20, 100)
    summary = restore(source, dest, batch=16)
    assert (summary.counts["restored"], summary.counts["failed"], summary.exit_status) == (900, 100, 3)
    found = rows(dest)
    assert len(found) == 1000
    assert {key: row["error_code"] for key, row in found.items() if row["error_code"]} == expected
    assert len(images(dest)) == 900
    assert len(Counter(expected.values())) >= 6
    assert verify_dataset(str(dest)).faults == []

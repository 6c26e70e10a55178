"""Jobs on a real cluster, over HTTP: three nights, a job watched and stopped, a head that is killed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from clusters import LocalCluster
from pictures import png

from jobs.cli import main
from pipeline.records.summary import ExitStatus, read_records
from pipeline.records.verify import newest_rows, verify_dataset
from pipeline.storage.store import Store, open_store

pytestmark = pytest.mark.timeout(600)  # beside other work, a minute here and there

IMAGES = 150
PATIENCE = 120.0


@pytest.fixture(scope="module")
def cluster(s3_endpoint: str) -> Iterator[LocalCluster]:
    """A head and two workers that know the S3 endpoint."""
    started = LocalCluster()
    try:
        started.start()
        yield started
    finally:
        started.close()


def i2r(cluster: LocalCluster, *arguments: object) -> Result:
    """The outcome of a command of this very process, for that cluster."""
    environment = {"RAY_API_SERVER_ADDRESS": cluster.address}
    return CliRunner(env=environment).invoke(main, [str(argument) for argument in arguments])


def put(store: Store, key: str, seed: int) -> None:
    """Store an image."""
    stream = io.BytesIO()
    png(seed).save(stream, "PNG")
    store.write(key, stream.getvalue())


def rows(dest: str) -> dict[str, dict[str, Any]]:
    """The newest rows of a destination by key."""
    columns = ("source_key", "status", "run_id")
    found = (row for batch in newest_rows(open_store(dest), columns) for row in batch.to_pylist())
    return {row["source_key"]: row for row in found}


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def heed_interrupts() -> None:
    """As in a terminal: what a shell has put into the background ignores them, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_three_nights(cluster: LocalCluster, bucket: str, flags: list[str]) -> None:
    source, dest = f"{bucket}/in", f"{bucket}/out"
    store = open_store(source)
    for number in range(4):
        put(store, f"{number}.png", number)

    def night(number: int) -> Result:
        return i2r(cluster, "submit", source, dest, *flags, f"--name=night-{number}", "--wait")

    first = night(1)
    assert first.exit_code == 0, first.stderr
    job = first.stdout.splitlines()[0]
    assert re.fullmatch("i2r-night-1-[0-9a-f]{12}", job)
    again = night(1)
    assert again.exit_code == ExitStatus.BAD_SETTINGS
    assert f"was done as {job}" in again.stderr
    assert again.stderr.count("\n") == 1

    put(store, "1.png", 11)
    put(store, "new.png", 12)
    store.delete("3.png")
    store.write("broken.png", b"hello")
    second = night(2)
    assert second.exit_code == ExitStatus.SOME_FAILED, second.stderr
    assert "1 failed" in second.stdout

    third = night(3)
    assert third.exit_code == ExitStatus.SOME_FAILED, third.stderr

    records = read_records(open_store(dest))
    assert records[-1]["seconds"] < 20
    counts = [record["counts"] for record in records]
    assert [count["restored"] + count["failed"] for count in counts] == [4, 3, 0]
    assert [count["carried"] for count in counts] == [0, 2, 5]
    assert set(rows(dest)) == {"0.png", "1.png", "2.png", "3.png", "new.png", "broken.png"}
    assert open_store(dest).exists("3.png")
    assert verify_dataset(dest).faults == []

    listed = i2r(cluster, "jobs", "list").stdout
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [
        [job, "succeeded"],
        [second.stdout.splitlines()[0], "failed"],
        [third.stdout.splitlines()[0], "failed"],
    ]
    assert "run " in i2r(cluster, "jobs", "logs", job).stdout
    assert "4 restored" in i2r(cluster, "jobs", "status", job).stdout
    assert i2r(cluster, "jobs", "wait", third.stdout.splitlines()[0]).exit_code == ExitStatus.SOME_FAILED

    nights = i2r(cluster, "history", dest).stdout.splitlines()
    assert len(nights) == 4
    assert [line.split()[0] for line in nights[1:]] == [record["run_id"] for record in records]


def test_what_the_cluster_lacks_is_said_before_anything_is_sent(
    cluster: LocalCluster, tmp_path: Path, flags: list[str]
) -> None:
    png(1).save(tmp_path / "a.png")
    for place in (["submit"], ["restore", "--address", cluster.ray_address]):
        result = i2r(cluster, *place, tmp_path, f"{tmp_path}-out", *flags, "--gpus=1")
        assert result.exit_code == ExitStatus.BAD_SETTINGS, result.stderr
        assert "0 GPUs" in result.stderr
        assert result.stderr.count("\n") == 1
    result = i2r(cluster, "jobs", "status", "nobody")
    assert result.exit_code == ExitStatus.BAD_SETTINGS
    assert "knows no job of ours called 'nobody'" in result.stderr
    assert not Path(f"{tmp_path}-out").exists()


def test_a_job_is_stopped_and_resumed_and_survives_the_head(
    cluster: LocalCluster, tmp_path: Path, flags: list[str]
) -> None:
    source, dest = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(IMAGES):
        png(number).save(source / f"{number:03d}.png")
    work = ["submit", source, dest, *flags, "--batch=2", "--set=flush_seconds=0.5", "--name=archive"]

    def recorded() -> int:
        return len(rows(str(dest)))

    job = i2r(cluster, *work).stdout.strip()
    log = tmp_path / "followed.log"
    with log.open("w") as followed:
        follower = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", "jobs", "logs", job, "--follow"],
            env={**os.environ, "RAY_API_SERVER_ADDRESS": cluster.address},
            stdout=followed,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
    wait_for(recorded, "the first job recorded nothing")
    wait_for(lambda: "i2r: restoring" in log.read_text(), "the log was not followed")
    status = i2r(cluster, "jobs", "status", job).stdout
    assert "running" in status
    assert re.search(r"restoring: \d+ restored, \d+ still to do", status)
    follower.send_signal(signal.SIGINT)
    _, err = follower.communicate(timeout=30)
    assert f"{job} goes on" in err
    assert follower.returncode == 0
    assert f"under way as {job}" in i2r(cluster, *work).stderr
    overlapping = i2r(cluster, "restore", source, dest, *flags)
    assert overlapping.exit_code == ExitStatus.LEASE_HELD
    assert job in overlapping.stderr
    beside = i2r(cluster, *work, "--again", "--wait")
    assert beside.exit_code == ExitStatus.LEASE_HELD, beside.stderr

    stopped = i2r(cluster, "jobs", "stop", job)
    assert stopped.exit_code == 0, stopped.stderr
    assert i2r(cluster, "jobs", "wait", job).exit_code == ExitStatus.STOPPED
    (record,) = read_records(open_store(str(dest)))
    done = record["counts"]["restored"]
    assert done == recorded()
    assert (record["counts"]["left"], record["stopped"]) == (IMAGES - done, "it was asked to stop")

    second = i2r(cluster, *work).stdout.strip()
    assert second == f"{job}-3"
    wait_for(lambda: recorded() > done, "the second job recorded nothing")
    cluster.kill()
    done = recorded()
    assert done < IMAGES

    cluster.start()
    start = time.monotonic()
    third = i2r(cluster, *work, "--wait")
    assert third.exit_code == 0, third.stderr
    assert third.stdout.splitlines()[0] == job  # the new head remembers nothing, the destination does
    (record,) = [one for one in read_records(open_store(str(dest))) if one["counts"]["left"] == 0]
    assert done <= record["counts"]["carried"] < IMAGES
    assert recorded() == IMAGES
    assert verify_dataset(str(dest)).faults == []
    epochs = [json.loads(path.read_text()) for path in sorted((dest / "_i2r/lease").iterdir())]
    assert [epoch["released"] for epoch in epochs] == [True, False, True]
    assert time.monotonic() - start < PATIENCE

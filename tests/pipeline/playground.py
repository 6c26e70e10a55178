"""Where game days are played: small images, runs over them on a cluster here, and what must hold."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ailing import Ailment, fall_ill
from faulty_proxy import FaultyProxy, faulty_proxy
from kills import PATIENCE, ThreeNodes
from PIL import Image
from servers import answers, free_ports
from small_images import write_image

from pipeline.records.manifest import manifest_files, read_batches
from pipeline.records.verify import newest_rows, verify_dataset
from pipeline.storage.store import Store, open_store

HERE = Path(__file__).parent
MODULES = (HERE.parent.parent, HERE.parent, HERE)
IMAGES = 240
PAUSE = 5.0
"""Seconds between a run that fails and the next."""

DRIVER = """
import json, logging, sys
from ailing import Ailing
from pipeline import RunSettings, restore_dataset
from pipeline.errors import PipelineError

if __name__ == "__main__":
    source, dest, address, settings, model = json.loads(sys.argv[1])
    logging.basicConfig(format="%(message)s")
    try:
        summary = restore_dataset(
            source, dest, RunSettings(**settings), address=address, restorer_factory=Ailing(**model)
        )
    except PipelineError as error:
        sys.exit(str(error))
    print(json.dumps([summary.counts["restored"], summary.repeated_requests]))
    sys.exit(summary.exit_status)
"""


@dataclass
class Run:
    """A run under way, or ended.

    Attributes:
        process: of its driver.
        errors: a file with what it says.
    """

    process: subprocess.Popen[str]
    errors: Path

    def wait(self, look: Callable[[], None] = lambda: None) -> int:
        """Its exit status; meanwhile it looks again and again. Raises AssertionError if the run hangs."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"the run still hangs after {PATIENCE:.0f} seconds"
            look()
            time.sleep(0.05)
        look()
        return self.process.returncode

    @property
    def said(self) -> str:
        """What it has said so far."""
        return self.errors.read_text()

    @property
    def counts(self) -> list[int]:
        """Images that it restored, and requests that it repeated; after its end."""
        assert self.process.stdout is not None
        return list(json.loads(self.process.stdout.read().splitlines()[-1]))


@dataclass
class Playground:
    """One game.

    Attributes:
        nodes: the cluster.
        folder: of its files.
        chance: from its seed.
        scale: of all durations that the game waits for.
        settings: of the runs.
        seconds: that the stand-in takes for an image.
        proxy: before the store; None if the images lie on a disk.
        address: that the source and the destination are in.
        struck: time of the misfortune, on this process's monotonic clock.
        run: that it hits.
    """

    nodes: ThreeNodes
    folder: Path
    chance: random.Random
    scale: float
    settings: dict[str, Any]
    seconds: float
    proxy: FaultyProxy | None = None
    address: str = ""
    struck: float = 0.0
    run: Run | None = None
    _started: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("source", "dest", "disk", "log", "vain"):
            (self.folder / name).touch() if name in ("log", "vain") else (self.folder / name).mkdir()

    @property
    def source(self) -> Store:
        """Of the images, reached without the proxy."""
        return open_store(f"{self.address or self.folder}/source")

    @property
    def dest(self) -> Store:
        """Of the restored images, reached without the proxy."""
        return open_store(f"{self.address or self.folder}/dest")

    @property
    def store(self) -> FaultyProxy:
        """The proxy of a game that has one."""
        assert self.proxy is not None
        return self.proxy

    def fill(self, seed: int) -> None:
        """Make the source."""
        for number in range(IMAGES):
            self.source.write(key_of(number), self.image(1000 * seed + number))

    def image(self, seed: int) -> bytes:
        """The file of an image of noise."""
        write_image(self.folder / "image.png", seed=seed, side=16)
        return (self.folder / "image.png").read_bytes()

    def start(self) -> Run:
        """Start a run."""
        model = {name: str(self.folder / name) for name in ("log", "vain", "chart", "disk")}
        ends = [f"{self.address or self.folder}/{name}" for name in ("source", "dest")]
        task = [*ends, self.nodes.address, self.settings, model | {"seconds": self.seconds}]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, MODULES))}
        if self.proxy:
            options = {"endpoint_url": self.proxy.address, "key": "testing", "secret": "testing"}
            environment |= {"FSSPEC_S3": json.dumps(options)}  # goes with the clients to the nodes
        errors = self.folder / f"run-{len(self._started)}.log"
        with errors.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, json.dumps(task)],
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=environment,
            )
        self._started.append(Run(process, errors))
        return self._started[-1]

    def wait_for_images(self, run: Run, count: int) -> None:
        """Wait until the models have restored so many."""
        deadline = time.monotonic() + PATIENCE
        while len((self.folder / "log").read_text().split()) < count:
            assert run.process.poll() is None, f"the run ended by itself: {run.said}"
            assert time.monotonic() < deadline, "the run restores nothing"
            time.sleep(0.02)

    def fall_ill(self, ailment: Ailment) -> None:
        """Let the model of the last node fall ill."""
        fall_ill(self.folder / "chart", self.nodes.node_ids[-1], ailment)

    def recover(self) -> None:
        """Let it be well again."""
        (self.folder / "chart").unlink(missing_ok=True)

    @property
    def done_twice(self) -> int:
        """Images that the models restored more than once."""
        restored = (self.folder / "log").read_text().split()
        return len(restored) - len(set(restored))

    @property
    def in_vain(self) -> int:
        """Images that were given to a model that was ill."""
        return len(set((self.folder / "vain").read_text().split()))

    def newest(self, *columns: str) -> list[dict[str, Any]]:
        """The newest row of each input."""
        return [row for batch in newest_rows(self.dest, columns) for row in batch.to_pylist()]

    def check(self) -> None:
        """Every input has one newest row, which is restored, and an object that is what its source gives."""
        source, dest = self.source, self.dest
        keys = sorted(key.removeprefix(f"{source.root}/") for key in source.fs.find(source.root))
        rows = self.newest("source_key", "status")
        lost = set(keys) - {row["source_key"] for row in rows if row["status"] == "restored"}
        assert not lost, f"{len(lost)} images were lost, such as {min(lost)}"
        assert len(rows) == len(keys), "an input has two newest rows"
        verification = verify_dataset(dest.uri())
        assert (verification.checked, verification.faults) == (len(keys), [])
        wrong = [key for key in keys if not _is_blurred(source.read(key), dest.read(key))]
        assert not wrong, f"{len(wrong)} objects are not what their sources give, such as {wrong[0]}"
        pairs = [
            (file.run_id, row["source_key"])
            for file in manifest_files(dest)
            for batch in read_batches(dest, file.key, ["source_key"])
            for row in batch.to_pylist()
        ]
        assert len(set(pairs)) == len(pairs), "two rows of one input in one run"

    def close(self) -> None:
        """End what still runs."""
        for run in self._started:
            if run.process.poll() is None:
                run.process.send_signal(signal.SIGCONT)
                run.process.kill()
                run.process.wait()


def key_of(number: int) -> str:
    """The key of an image of the source."""
    return f"{number % 7}/{number:03d}.png"


def _is_blurred(source: bytes, restored: bytes) -> bool:
    """Whether pixels are the averages that the stand-in makes, up to rounding."""
    before, after = (np.asarray(Image.open(io.BytesIO(data)), np.float32) for data in (source, restored))
    shifted = np.concatenate([before[:, 1:], before[:, -1:]], axis=1)
    return after.shape == before.shape and bool(np.abs((before + shifted) / 2 - after).max() <= 1)


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3 endpoint that ends with the block; this process's clients use it, too."""
    [port] = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    names = {"ENDPOINT_URL": address, "ACCESS_KEY_ID": "testing", "SECRET_ACCESS_KEY": "testing"}
    names |= {"DEFAULT_REGION": "us-east-1"}
    os.environ.update({f"AWS_{name}": value for name, value in names.items()})
    command = [
        sys.executable,
        "-c",
        "from moto.server import main; main()",
        "-H",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert answers(port, server, PATIENCE)
        yield address
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def bucket_behind_a_proxy(endpoint: str) -> Iterator[tuple[str, FaultyProxy]]:
    """A new bucket of an S3 endpoint, and a proxy that runs reach it through."""
    address = f"s3://bucket-{secrets.token_hex(8)}"
    open_store(address).fs.mkdir(address)
    with faulty_proxy(endpoint) as proxy:
        yield address, proxy


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of its own at a folder, with so many bytes of room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)

"""What the tests of the pipeline share: folders of small images, one Ray, and an S3 endpoint of their own."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
# Ray's workers and the tests' own commands find the packages and the stand-in there.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(HERE)]
)

MakeImages = Callable[..., Path]


def write_image(path: Path, seed: int, mark: int = 100, side: int = 24) -> None:
    """A small image of noise, whose first pixel tells the stand-in what to do with it."""
    pixels = np.random.default_rng(seed).integers(0, 200, (side, side, 3), dtype=np.uint8)
    pixels[0, 0] = mark
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of six small images in two folders."""
    for number in range(6):
        write_image(tmp_path / "source" / f"album-{number % 2}" / f"{number}.png", seed=number)
    return tmp_path / "source"


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 endpoint over HTTP that runs for the session."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    environment = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        environment.setenv(name, value)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(address, timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        environment.undo()
        server.terminate()
        server.wait()


@pytest.fixture
def bucket(s3_endpoint: str) -> Iterator[str]:
    """The address of a fresh bucket."""
    import fsspec

    fs = fsspec.filesystem("s3")
    name = f"bucket-{secrets.token_hex(8)}"
    fs.mkdir(name)
    yield f"s3://{name}"
    fs.clear_instance_cache()


@pytest.fixture(scope="session")
def ray_here(s3_endpoint: str) -> Iterator[None]:
    """A small Ray for the whole session, whose workers know the S3 endpoint."""
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)
    yield
    ray.shutdown()

"""What the tests of the pipeline share: folders of small images, one Ray, and an S3 endpoint of their own."""

from __future__ import annotations

import os
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
    [str(ROOT), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
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
def ray_here() -> Iterator[None]:
    """A small Ray for the whole session."""
    import ray

    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)
    yield
    ray.shutdown()


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
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(address, timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def bucket(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The address of a fresh bucket, reached with credentials from the environment."""
    import fsspec

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    name = f"bucket-{abs(hash(request.node.nodeid)) % 10**8}"
    fs.mkdir(name)
    yield f"s3://{name}"
    fs.clear_instance_cache()


def pytest_configure(config: pytest.Config) -> None:
    """Let Ray warn itself of its own coming changes."""
    for category in ("DeprecationWarning", "ray.util.annotations.RayDeprecationWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::{category}:ray")

"""What every test shares. Ray and the hub read their switches when imported, so these are set first."""

from __future__ import annotations

import os

# Without it, Ray writes an authentication token into the home directory and asks later clusters for it.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
# As in an actor. With more threads, a batch that they cannot share evenly gives an image other bits in its
# second place than in its first.
os.environ["OMP_NUM_THREADS"] = "1"

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings
from PIL import Image
from servers import answers, free_ports, fresh_bucket

import jobs

PATIENCE = 60.0
"""Seconds in which a server may start."""

# Deadlines measure the machine, not the code; derandomised runs fail for everybody or for nobody.
settings.register_profile("i2r", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("i2r")


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample photographs that the package ships."""
    return Path(jobs.__file__).parent / "samples"


@pytest.fixture(scope="session")
def photograph(samples: Path) -> npt.NDArray[np.float32]:
    """A clean colour photograph, (128, 128, 3) in [0, 1]."""
    with Image.open(samples / "clean" / "honey-bee.png") as picture:
        image = np.asarray(picture.convert("RGB"), dtype=np.float32) / np.float32(255)
    return image[40:168, 60:188].copy()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 endpoint over HTTP that runs for the session."""
    [port] = free_ports(1)
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
        assert answers(port, server, PATIENCE)
        yield address
    finally:
        environment.undo()
        server.terminate()
        server.wait()


@pytest.fixture
def bucket(s3_endpoint: str) -> Iterator[str]:
    """The address of a fresh bucket."""
    with fresh_bucket("s3") as address:
        yield address

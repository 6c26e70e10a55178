"""What the tests of the pipeline share: folders of small images, and one Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from endless import Endless
from small_images import write_image

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE))
# Ray's workers and the tests' own commands find the packages and the stand-in there.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT), str(HERE)]
)
# Read when gcsfs is imported, here and in Ray's workers: it would ask by gRPC what kind of bucket it has.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of six small images in two folders."""
    for number in range(6):
        write_image(tmp_path / "source" / f"album-{number % 2}" / f"{number}.png", seed=number)
    return tmp_path / "source"


@pytest.fixture
def endless() -> Iterator[Endless]:
    """A web server that sends one object without end."""
    with Endless() as server:
        yield server


@pytest.fixture(scope="session")
def ray_here(s3_endpoint: str) -> Iterator[None]:
    """A small Ray for the whole session, whose workers know the S3 endpoint."""
    import ray

    ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)
    yield
    ray.shutdown()
